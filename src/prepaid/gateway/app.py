"""The gateway as one ASGI application: each request to its handler, each error to its reply."""

from __future__ import annotations

import asyncio
import gc
import logging
from time import perf_counter
from typing import Final

from prepaid.config import Settings
from prepaid.errors import GatewayStopping, PrepaidError
from prepaid.gateway import health, openai, rest
from prepaid.gateway.asgi import CLIENT_GONE, Application, ClientGone, Receive, Request, Scope, Send
from prepaid.gateway.failures import defect, send_failure
from prepaid.gateway.parts import Parts
from prepaid.gateway.protocol import Watch
from prepaid.gateway.routes import Router
from prepaid.models.failures import request_id

__all__ = ["Gateway"]

_REST: Final = "/api/v1"
_SAMPLE_SECONDS: Final = 1.0
_YOUNG_OBJECTS: Final = 10_000
_SETTLING_SECONDS: Final = 10.0
"""How long requests that were cut off at shutdown have to settle; each takes a commit."""

_logger = logging.getLogger("prepaid.gateway")


class Gateway:
    """Give it to uvicorn, with ``GuardedProtocol`` as its HTTP protocol."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._router = Router(health.ROUTES, openai.ROUTES)
        self._running: dict[Request, asyncio.Task[None]] = {}
        self._parts: Parts
        self._rest: Application
        self._watch: Watch
        self._sampling: asyncio.Task[None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection scope: the process's lifespan, or a request."""
        if scope["type"] == "http":
            await self._serve(Request(scope, receive, send))
        elif scope["type"] == "lifespan":
            await self._live(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._start()
        except PrepaidError as error:
            _logger.critical("%s", error)
            await send({"type": "lifespan.startup.failed", "message": ""})
            return
        scope["state"]["watch"] = self._watch
        _leave_to_live_long()
        await send({"type": "lifespan.startup.complete"})
        _logger.info("ready")
        await receive()
        await self._stop()
        await send({"type": "lifespan.shutdown.complete"})
        _logger.info("stopped")

    async def _start(self) -> None:
        self._parts = Parts.open(self._settings)
        self._rest = rest.create(self._parts)
        self._watch = Watch(self._settings.gateway)
        self._watch.start()
        self._sampling = asyncio.get_running_loop().create_task(self._sample())

    async def _stop(self) -> None:
        """Wait for requests that were cut off to settle, then close. What stays open is left to the sweep."""
        if self._running:
            await asyncio.wait(self._running.values(), timeout=_SETTLING_SECONDS)
        self._sampling.cancel()
        await asyncio.gather(self._sampling, return_exceptions=True)
        await self._watch.aclose()
        await self._parts.aclose()

    async def _sample(self) -> None:
        while True:
            try:
                self._parts.metrics.sample(self._parts, self._running.keys(), self._watch.connections)
            except Exception:
                _logger.exception("reading off metrics failed and will be tried again")
            await asyncio.sleep(_SAMPLE_SECONDS)

    async def _serve(self, request: Request) -> None:
        task = asyncio.current_task()
        assert task is not None
        began = perf_counter()
        self._running[request] = task
        request_id.set(request.id)  # of this task, and of those that it makes
        try:
            await self._parts.workspace.store.aside(self._answer(request))
        except ClientGone:
            request.status = CLIENT_GONE
        except asyncio.CancelledError:  # the server stops, and this request has had its time to end
            if not request.status:
                await send_failure(request, GatewayStopping())
        finally:
            del self._running[request]
            self._parts.note(request, perf_counter() - began)

    async def _answer(self, request: Request) -> None:
        try:
            request.check_head()
            if request.path.startswith(_REST):
                await self._rest(*request.hand_over())
                request.route = request.route or _template(request.scope)
            else:
                await self._router.find(request)(request, self._parts)
        except PrepaidError as error:
            if not request.status:
                await request.discard(self._settings.gateway.body_bytes_max)
                await send_failure(request, error)
        except ClientGone:
            raise
        except Exception:
            _logger.exception("a request failed unexpectedly", extra={"request_id": request.id})
            if not request.status:
                await send_failure(request, defect(request))


def _template(scope: Scope) -> str:
    """The path that FastAPI matched, as it is written in the route."""
    return getattr(scope.get("route"), "path", "")


def _leave_to_live_long() -> None:
    """Take what a worker has loaded out of the garbage collector's sight, and let it look less often.

    Each of its looks at everything stops all requests; a third of the p99 at 64 clients was that.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)
