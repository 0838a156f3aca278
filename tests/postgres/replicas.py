"""A primary and its replica, which hears from it through a proxy, and so as late as a test wants."""

from __future__ import annotations

import socket
import time
from typing import Self
from urllib.parse import urlsplit

from postgres_server import QUICK, Databases, OwnServer, ask, execute

from .cutting import Proxy

__all__ = ["Pair"]

_SECONDS_MAX = 30


class Pair:
    """Two servers on ports of this machine. A context manager; what it had to lose is lost when it ends.

    ``databases`` are two empty ones of ours, on both servers, each with a URL that names both hosts.
    """

    def __init__(self, *, synchronous: bool) -> None:
        self._ports = [_free_port(), _free_port()]
        self._synchronous = synchronous

    def __enter__(self) -> Self:
        self.primary = OwnServer(**QUICK, port=str(self._ports[0]))
        made = Databases(self.primary.url)
        self.databases = [self._on_both(made.new()) for _ in range(2)]
        folder = self.primary.folder / "link"
        folder.mkdir()
        self.link = Proxy(self.primary.url, folder)
        self.link.__enter__()
        self.replica = OwnServer(
            **QUICK,
            port=str(self._ports[1]),
            copy_of=self.primary,
            primary_conninfo=f"{self.link.url}&application_name=replica",
        )
        if self._synchronous:
            execute(self.primary.url, "ALTER SYSTEM SET synchronous_standby_names = 'replica'")
            execute(self.primary.url, "SELECT pg_reload_conf()")
        wanted = "sync" if self._synchronous else "async"
        self.wait_until(f"SELECT 1 FROM pg_stat_replication WHERE sync_state = '{wanted}'")
        return self

    def __exit__(self, *_: object) -> None:
        self.replica.stop()
        self.link.__exit__()
        self.primary.stop()

    def fail_over(self) -> None:
        """The primary dies, and whatever its replica has not heard dies with it."""
        self.primary.kill()
        execute(self.replica.url, "SELECT pg_promote()")

    def wait_until(self, question: str) -> None:
        """The primary answers a question with at least a row."""
        deadline = time.monotonic() + _SECONDS_MAX
        while not ask(self.primary.url, question):
            assert time.monotonic() < deadline, question
            time.sleep(0.01)

    def _on_both(self, url: str) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        return f"postgresql://postgres@{hosts}{urlsplit(url).path}?target_session_attrs=read-write"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
