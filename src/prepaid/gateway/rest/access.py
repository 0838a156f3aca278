"""Who may do what over REST (docs/security.md): every operation asks here, and nowhere else.

What is not the caller's does not exist for them; what is theirs, but not with this kind of key, is forbidden.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Annotated, Final, cast

from fastapi import Depends, Header
from fastapi import Request as HttpRequest
from fastapi.security import HTTPBearer

from prepaid.errors import InvalidRequestError, KeyTooNarrow, PermissionDenied
from prepaid.gateway.asgi import REQUEST, Request
from prepaid.gateway.callers import KINDS_TOLD
from prepaid.gateway.limits import Slot, Slots
from prepaid.gateway.parts import Parts
from prepaid.gateway.rest.bodies import SENDER, Sender
from prepaid.records import NO_LIMITS, OPERATOR, ApiKeyRecord, KeyKind
from prepaid.sessions.leased import LeasedSession
from prepaid.sessions.manager import SessionManager
from prepaid.sessions.session import Session

__all__ = ["PREFIX", "REPORTS_MAX", "Access", "Caller", "IdempotencyKey", "IfMatch", "Lease", "unquoted"]

PREFIX: Final = "/api/v1"
REPORTS_MAX: Final = 2
"""How many reports one owner's keys may have in the making, in one process. The store makes three at once."""

_bearer = HTTPBearer(auto_error=False, description="An API key: `Authorization: Bearer pp_…`.")


class Access:
    """One request's caller."""

    def __init__(self, http: HttpRequest, parts: Parts, record: ApiKeyRecord) -> None:
        self._http = http
        self.parts = parts
        self.record = record

    @property
    def manager(self) -> SessionManager:
        """What does the work."""
        return self.parts.manager

    def session(self, session_id: str) -> Session:
        """A session that the caller may see.

        Raises:
            SessionNotFound: unknown, or somebody else's.
        """
        found = self.manager.session_of(self.record, session_id)
        _request(self._http).session_id = found.session_id
        return found

    def spending(self, session_id: str) -> Session:
        """A session that the caller may spend.

        Raises:
            PermissionDenied: the operator spends nobody's money.
        """
        found = self.session(session_id)
        self.require(KeyKind.USER, KeyKind.SESSION)
        return found

    def talking(self, session_id: str, lease_id: str | None) -> Session | LeasedSession:
        """A session in which the caller has chats: as ``spending``, or under a lease of theirs."""
        if lease_id is None:
            return self.spending(session_id)
        self.require(KeyKind.USER)
        leased = self.manager.lease_of(self.record, session_id, lease_id)
        _request(self._http).session_id = leased.session_id
        return leased

    def owned(self, session_id: str) -> Session:
        """A session that the caller may change: its owner's, or anybody's for the operator.

        Raises:
            PermissionDenied: a session's own key spends it, and no more.
        """
        found = self.session(session_id)
        self.require(KeyKind.USER, KeyKind.OPERATOR)
        return found

    def sharing(self, session_id: str) -> Session:
        """A session that the caller may lend to others.

        Raises:
            KeyTooNarrow: takers ask whatever models they like, for as long as they like: a key with limits
                of its own cannot give that.
        """
        found = self.owned(session_id)
        limits = self.record.limits
        if limits != NO_LIMITS:
            raise KeyTooNarrow("share a session", str(limits))
        return found

    def user(self, user_id: str | None) -> str:
        """Who is meant: the caller, or whom the operator names.

        Raises:
            PermissionDenied: a user names somebody else.
            InvalidRequestError: the operator names nobody.
        """
        self.require(KeyKind.USER, KeyKind.OPERATOR)
        if self.record.kind is KeyKind.OPERATOR:
            if user_id is None:
                raise InvalidRequestError(
                    "The operator has nothing of its own.", remedy="Name the user_id, or use a user's key."
                )
            return user_id
        if user_id not in {None, self.record.owner}:
            raise PermissionDenied(KINDS_TOLD[KeyKind.USER], "the operator")
        return self.record.owner

    def anybody(self, user_id: str | None) -> str | None:
        """As ``user``; but the operator who names nobody means all."""
        is_all = user_id is None and self.record.kind is KeyKind.OPERATOR
        return None if is_all else self.user(user_id)

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """A slot for a report, of the key's own and of its owner's, who may have many keys.

        Raises:
            ReportLimitReached: ``REPORTS_MAX`` are in the making.
            ConcurrencyLimitReached: the key has no slot left.
        """
        reports: Slots = self._http.app.state.reports
        owner = self.record.owner or OPERATOR
        with self.slot(), reports.taken(owner):
            yield

    def slot(self) -> AbstractContextManager[Slot]:
        """One of the key's slots.

        Raises:
            ConcurrencyLimitReached: it has none left.
        """
        return self.parts.slots.taken(self.record.key_id)

    def hand_over(self, slot: Slot) -> None:
        """Let the room that the request's body takes be given back with ``slot``, not with the reply."""
        sender: Sender | None = self._http.scope.get(SENDER)
        if sender is not None and sender.slot is not None:
            sender.slot.hand_over(slot)

    def paid(self, model: str, cost: int) -> None:
        """Say in the log what was asked and paid."""
        request = _request(self._http)
        request.model, request.cost = model, cost

    def require(self, *kinds: KeyKind) -> None:
        """Refuse other kinds of keys.

        Raises:
            PermissionDenied: the caller's is of another.
        """
        if self.record.kind not in kinds:
            raise PermissionDenied(
                KINDS_TOLD[self.record.kind], " or ".join(KINDS_TOLD[each] for each in kinds)
            )


async def _caller(http: HttpRequest, _: Annotated[object, Depends(_bearer)]) -> Access:
    """The caller, recognised by the key. The scheme is there for the OpenAPI document."""
    parts: Parts = http.app.state.parts
    request = _request(http)
    request.route = PREFIX + http.scope["route"].path
    sender: Sender | None = http.scope.get(SENDER)
    return Access(http, parts, await parts.callers.key(request) if sender is None else sender.record)


def _request(http: HttpRequest) -> Request:
    return cast("Request", http.scope[REQUEST])


def unquoted(tag: str | None) -> str | None:
    """The version in an ``If-Match``; ``*`` matches all."""
    return None if tag is None or tag == "*" else tag.removeprefix("W/").strip('"')


Caller = Annotated[Access, Depends(_caller)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Yours: the same key and content do it once, with one answer; other content is a 409.",
        max_length=255,
        examples=["order-4711"],
    ),
]
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description="The ETag that you read: refused with 412 if it has changed since.",
        max_length=64,
        examples=['"1f0e3dad99908345"'],
    ),
]
Lease = Annotated[
    str | None,
    Header(alias="X-Prepaid-Lease", description="A lease of yours on this session.", max_length=256),
]
