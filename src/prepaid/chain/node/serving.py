"""What a node serves over HTTP, at one address: what it signed to its peers, and content to everybody."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from aiohttp import web

from prepaid.errors import ConfigError

__all__ = ["NodeServer"]

_BODY_BYTES_MAX: Final = 1_024
"""Nothing is taken in."""

_logger = logging.getLogger("prepaid.node")


class NodeServer:
    """The server; what it serves are its routes."""

    def __init__(self, routes: Iterable[web.RouteDef]) -> None:
        application = web.Application(client_max_size=_BODY_BYTES_MAX)
        application.router.add_routes(routes)
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self, host: str, port: int) -> int:
        """Listen; the port, for 0 a free one.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise ConfigError(
                f"The node cannot serve at {host}:{port}: {error.strerror}.",
                remedy="Choose another node.serve_host or node.serve_port.",
            ) from None
        listening: int = self._runner.addresses[0][1]
        _logger.info("serving", extra={"host": host, "port": listening})
        return listening

    async def aclose(self) -> None:
        """Stop."""
        await self._runner.cleanup()
