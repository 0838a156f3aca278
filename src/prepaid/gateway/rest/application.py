"""The REST API as one ASGI application."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from fastapi import FastAPI

from prepaid.errors import ReportLimitReached
from prepaid.gateway.asgi import REQUEST, Application, Message, Receive, Request, Scope, Send
from prepaid.gateway.heavy import announces_much
from prepaid.gateway.limits import Slot, Slots
from prepaid.gateway.parts import Parts
from prepaid.gateway.rest import chats, keys, money, pool, reports, requests, sessions
from prepaid.gateway.rest.access import PREFIX, REPORTS_MAX
from prepaid.gateway.rest.bodies import SENDER, Sender
from prepaid.gateway.rest.problems import PROBLEM_RESPONSES, add_handlers

__all__ = ["PREFIX", "create"]

_ABOUT: Final = """
AI sessions that are paid before they are used. Amounts that you send are text such as "10 USD", or integers
of base units (of USD, millionths); amounts that you get are integers of base units. Send your key as
`Authorization: Bearer pp_…`, and with every write an `Idempotency-Key` of your own, so that a retry does
nothing twice. Lists have a `next_cursor` where they go on. Errors are problem details (RFC 9457).
"""


def create(parts: Parts) -> Application:
    """The application for these parts. It is given paths that begin with ``/api/v1``, prefix included."""
    app = FastAPI(
        title="prepaid",
        version=version("prepaid"),
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{PREFIX}/openapi.json",
        responses=PROBLEM_RESPONSES,
        redirect_slashes=False,
    )
    app.state.parts = parts
    app.state.reports = Slots(REPORTS_MAX, "reports_per_owner_max", ReportLimitReached)
    for module in (sessions, money, chats, requests, pool, keys, reports):
        app.include_router(module.router, prefix=PREFIX)
    add_handlers(app)
    return _Bounded(app, parts)


class _Bounded:
    """Reads a request's body before anything else does, within the limits that hold for every body.

    FastAPI reads a body before it asks whose it is, so that is asked here: a stranger's is not read.
    """

    def __init__(self, app: FastAPI, parts: Parts) -> None:
        self._app = app
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request: Request = scope[REQUEST]
        if not request.announces_body:
            await self._app(scope, receive, send)
            return
        record = await self._parts.callers.key(request)
        if not announces_much(request):
            scope[SENDER] = Sender(record, None)
            await self._answer(request, scope, receive, send, None)
            return
        with self._parts.slots.taken(record.key_id) as slot:
            scope[SENDER] = Sender(record, slot)
            slot.owner = record.owner
            self._parts.heavy.make_room(request, slot)
            await self._answer(request, scope, receive, send, slot)

    async def _answer(
        self, request: Request, scope: Scope, receive: Receive, send: Send, slot: Slot | None
    ) -> None:
        limit = self._parts.settings.gateway.rest_body_bytes_max
        body = await self._parts.heavy.body(request, slot, limit)
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_read() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(scope, receive_read, send)
