"""``/healthz``, ``/readyz`` and ``/metrics``: for load balancers and Prometheus."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from typing import Final

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from prepaid.errors import RouteNotFound
from prepaid.gateway.asgi import Request
from prepaid.gateway.parts import Parts, Routes

__all__ = ["ROUTES"]

_METRICS_TYPE: Final = (b"content-type", CONTENT_TYPE_PLAIN_0_0_4.encode())


async def _alive(request: Request, _: Parts) -> None:
    """The event loop turns; nothing else is asked."""
    await request.reply_json(200, {"status": "ok"})


async def _ready(request: Request, parts: Parts) -> None:
    """The database answers, and can be written.

    Raises:
        StoreError: it does not, or cannot; a load balancer then sends requests elsewhere.
    """
    await parts.readiness.check()
    await request.reply_json(200, {"status": "ready"})


async def _metrics(request: Request, parts: Parts) -> None:
    """All workers' numbers.

    Raises:
        RouteNotFound: they are nobody's business, or not this client's.
        AuthenticationError, PermissionDenied: they are for the operator's key.
    """
    await _READERS[parts.settings.gateway.metrics](request, parts)
    body = await asyncio.to_thread(parts.metrics.told)
    await request.reply(200, [_METRICS_TYPE], body)


async def _check_operator(request: Request, parts: Parts) -> None:
    await parts.callers.operator(request)


async def _check_loopback(request: Request, _: Parts) -> None:
    if not ipaddress.ip_address(request.client).is_loopback:
        raise RouteNotFound(request.path)


async def _check_nothing(_: Request, __: Parts) -> None:
    pass


async def _refuse(request: Request, _: Parts) -> None:
    raise RouteNotFound(request.path)


_READERS: Final[dict[str, Callable[[Request, Parts], Awaitable[None]]]] = {
    "operator": _check_operator,
    "loopback": _check_loopback,
    "anyone": _check_nothing,
    "nobody": _refuse,
}

ROUTES: Final[Routes] = {
    "/healthz": {"GET": _alive},
    "/readyz": {"GET": _ready},
    "/metrics": {"GET": _metrics},
}
