"""Runs the gateway under uvicorn: one process, or several on one port."""

from __future__ import annotations

import logging
import socket
from typing import Final

import uvicorn
from uvicorn.supervisors import Multiprocess

from prepaid.config import Settings
from prepaid.errors import ConfigError
from prepaid.gateway import logs
from prepaid.gateway.app import Gateway

__all__ = ["application", "serve"]

_BACKLOG: Final = 2048
_logger = logging.getLogger("prepaid.gateway")


def application() -> Gateway:
    """The application of a worker process, which reads its settings where its parent read them."""
    settings = Settings()
    logs.configure(settings.gateway.log_level)
    return Gateway(settings)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Workers read their settings from environment and file, so ``settings`` must be what these say.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    logs.configure(settings.gateway.log_level)
    listener = _listener(settings.gateway.host, settings.gateway.port)
    host, port = listener.getsockname()[:2]
    _logger.info("listening", extra={"host": host, "port": port, "workers": settings.gateway.workers})
    config = _config(settings)
    if settings.gateway.workers == 1:
        uvicorn.Server(config).run(sockets=[listener])
    else:
        Multiprocess(config, sockets=[listener]).run()


def _config(settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        "prepaid.gateway.server:application",
        factory=True,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        workers=settings.gateway.workers,
        backlog=_BACKLOG,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.gateway.grace_seconds),
    )


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {host} port {port}: {error.strerror or error}.",
            remedy="Choose another --host or --port, or stop what listens there.",
        ) from None
