"""``/healthz`` and ``/readyz``: whether the process lives, and whether it can take money."""

from __future__ import annotations

from typing import Final

from prepaid.gateway.asgi import Request
from prepaid.gateway.parts import Parts, Routes

__all__ = ["ROUTES"]


async def _alive(request: Request, _: Parts) -> None:
    """The event loop turns; nothing else is asked."""
    await request.reply_json(200, {"status": "ok"})


async def _ready(request: Request, parts: Parts) -> None:
    """The database answers, and its queue of writes has room.

    Raises:
        StoreError: it does not; a load balancer then sends requests elsewhere.
    """
    parts.workspace.store.reads.settings()
    await request.reply_json(200, {"status": "ready"})


ROUTES: Final[Routes] = {"/healthz": {"GET": _alive}, "/readyz": {"GET": _ready}}
