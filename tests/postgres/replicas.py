"""A primary and its replica, which hears from it through a proxy, and so as late as a test wants."""

from __future__ import annotations

import time
from typing import Self
from urllib.parse import urlsplit

from postgres_server import QUICK, Databases, OwnServer, ask, execute

from .cutting import Proxy

__all__ = ["Pair"]

_SECONDS_MAX = 120


class Pair:
    """Two servers, each behind a socket in its folder. A context manager; what it had to lose is lost when it ends.

    ``databases`` are two empty ones of ours, on both servers, each with a URL that names both hosts.
    """

    def __init__(self, *, synchronous: bool) -> None:
        self._synchronous = synchronous

    def __enter__(self) -> Self:
        self.primary = OwnServer(**QUICK)
        empty = Databases(self.primary.url)
        made = [empty.new() for _ in range(2)]
        folder = self.primary.folder / "link"
        folder.mkdir()
        self.link = Proxy(self.primary.url, folder)
        self.link.__enter__()
        self.replica = OwnServer(
            **QUICK,
            copy_of=self.primary,
            primary_conninfo=f"{self.link.url}&application_name=replica",
        )
        self.databases = [self._on_both(url) for url in made]
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
        hosts = f"{self.primary.folder},{self.replica.folder}"
        return f"postgresql://postgres@{urlsplit(url).path}?host={hosts}&target_session_attrs=read-write"
