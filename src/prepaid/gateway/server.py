"""Runs the gateway under uvicorn: one process, or several on one port."""

from __future__ import annotations

import contextlib
import logging
import math
import multiprocessing
import os
import resource
import signal
import socket
import tempfile
from collections.abc import Iterator
from typing import Final

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from prepaid.config import Settings
from prepaid.errors import ConfigError
from prepaid.gateway import logs
from prepaid.gateway.app import Gateway
from prepaid.gateway.metrics import FOLDER_VARIABLE
from prepaid.gateway.protocol import GuardedProtocol

__all__ = ["application", "serve"]

_BACKLOG: Final = 2048
_KEEP_ALIVE_NEVER: Final = 2**31
"""Seconds after which uvicorn would close an idle connection: ``GuardedProtocol`` does."""

_WORKER_SILENT_SECONDS: Final = 30
"""After which a worker is taken for stuck, and replaced. It is silent while it imports: uvicorn's own five
seconds kill every worker of a busy machine before it can begin, again and again."""

_logger = logging.getLogger("prepaid.gateway")


def application() -> Gateway:
    """The application of a worker process, which reads its settings where its parent read them."""
    settings = Settings()
    logs.configure(settings.gateway.log_level)
    return Gateway(settings)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. A worker that dies is replaced; if we die, workers end by themselves.

    Workers read their settings from environment and file, so ``settings`` must be what these say.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    logs.configure(settings.gateway.log_level)
    _raise_limit_of_files()
    listener = _listener(settings.gateway.host, settings.gateway.port)
    host, port = listener.getsockname()[:2]
    _logger.info("listening", extra={"host": host, "port": port, "workers": settings.gateway.workers})
    config = _config(settings)
    if settings.gateway.workers == 1:
        uvicorn.Server(config).run(sockets=[listener])
        return
    with tempfile.TemporaryDirectory(prefix="prepaid-metrics-") as folder:
        os.environ[FOLDER_VARIABLE] = folder
        logging.getLogger("uvicorn").setLevel(logging.INFO)  # here it tells of workers that died
        supervisor = _Supervisor(config, sockets=[listener])
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise SystemExit(STARTUP_FAILURE)  # a worker has logged why; uvicorn itself would report success


class _Supervisor(Multiprocess):
    """uvicorn's, whose workers do not hear Ctrl-C: a terminal sends it to all, and the parent ends them."""

    def init_processes(self) -> None:
        with _deaf_to_interrupts():
            super().init_processes()

    def keep_subprocess_alive(self) -> None:
        with _deaf_to_interrupts():
            super().keep_subprocess_alive()

    def restart_all(self) -> None:
        with _deaf_to_interrupts():
            super().restart_all()


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Block SIGINT; processes that are started meanwhile never get it, we get it afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def leave_with_parent() -> None:
    """Called every second in a worker: one whose parent was killed must not go on alone."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        signal.raise_signal(signal.SIGTERM)


def _config(settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        "prepaid.gateway.server:application",
        factory=True,
        loop="uvloop",
        http=GuardedProtocol,
        ws="none",
        lifespan="on",
        workers=settings.gateway.workers,
        backlog=_BACKLOG,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_NEVER,
        timeout_graceful_shutdown=math.ceil(settings.gateway.grace_seconds),
        timeout_worker_healthcheck=_WORKER_SILENT_SECONDS,
        callback_notify=leave_with_parent,
        timeout_notify=1,
    )


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}.",
            remedy="Choose another --host or --port, or stop what listens there.",
        ) from None


def _raise_limit_of_files() -> None:
    """Each connection is an open file, and the usual soft limit of 1,024 is below ``connections_max``."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems say "unlimited" and refuse it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
