"""The gateway as one ASGI application: each request to its handler, each error to its reply."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from prepaid.config import Settings
from prepaid.errors import PrepaidError
from prepaid.gateway import health, openai, rest
from prepaid.gateway.asgi import Application, ClientGone, Receive, Request, Scope, Send
from prepaid.gateway.failures import send_failure
from prepaid.gateway.parts import Parts
from prepaid.gateway.routes import Router

__all__ = ["Gateway"]

_REST: Final = "/api/v1"
_SETTLING_SECONDS: Final = 10.0
"""How long requests that were cut off at shutdown have to settle; each takes a commit."""

_logger = logging.getLogger("prepaid.gateway")


class Gateway:
    """Give it to an ASGI server that runs the lifespan protocol."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._router = Router(health.ROUTES, openai.ROUTES)
        self._running: set[asyncio.Task[None]] = set()
        self._parts: Parts
        self._rest: Application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection scope: the process's lifespan, or a request."""
        if scope["type"] == "http":
            await self._serve(Request(scope, receive, send))
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._start()
        except PrepaidError as error:
            _logger.critical("%s", error)
            await send({"type": "lifespan.startup.failed", "message": ""})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _start(self) -> None:
        self._parts = Parts.open(self._settings)
        self._rest = rest.create(self._parts)

    async def _stop(self) -> None:
        """Wait for requests that were cut off to settle, then close. What stays open is left to the sweep."""
        if self._running:
            await asyncio.wait(self._running, timeout=_SETTLING_SECONDS)
        await self._parts.aclose()

    async def _serve(self, request: Request) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await self._answer(request)
        except ClientGone:
            pass
        finally:
            self._running.discard(task)

    async def _answer(self, request: Request) -> None:
        try:
            if request.path.startswith(_REST):
                await self._rest(*request.hand_over())
            else:
                await self._router.find(request)(request, self._parts)
        except PrepaidError as error:
            if not request.status:
                await send_failure(request, error)
        except ClientGone:
            raise
        except Exception:
            _logger.exception("a request failed unexpectedly", extra={"request_id": request.id})
            if not request.status:
                await send_failure(request, PrepaidError("The gateway failed.", remedy=f"Tell {request.id}."))
