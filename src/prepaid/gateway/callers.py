"""Who sends a request, by the API key in it, and whose money it may spend.

Read from the database at every request: a key that was revoked, in whatever process, does not work again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from prepaid.errors import AuthenticationError, InvalidRequestError, PermissionDenied
from prepaid.gateway.asgi import Request
from prepaid.gateway.guesses import Guesses
from prepaid.meter import Payer
from prepaid.records import ApiKeyRecord, KeyKind, KeyLimits
from prepaid.sessions.key_ring import payer_of
from prepaid.sessions.leased import LeasedSession
from prepaid.sessions.manager import SessionManager
from prepaid.sessions.session import Session

__all__ = ["KINDS_TOLD", "Callers", "SessionCaller"]

_BEARER: Final = b"bearer "
KINDS_TOLD: Final = {
    KeyKind.OPERATOR: "the operator",
    KeyKind.USER: "a user",
    KeyKind.SESSION: "a session",
}
"""How errors name kinds of keys."""


@dataclass(frozen=True, slots=True)
class SessionCaller:
    """A request that spends a session's money: by its own key, or by a user's key and its id."""

    key_id: str
    payer: Payer

    @property
    def session_id(self) -> str:
        """The session that pays."""
        return self.payer.session_id

    @property
    def owner(self) -> str:
        """Who spends: the session's owner, or the taker of a lease on it."""
        return self.payer.owner

    def check_model(self, name: str) -> None:
        """Refuse a model that the key is not for. ``Meter.open`` does so too, after the request was read.

        Raises:
            ModelNotAllowed: it has a list of models without this one.
        """
        KeyLimits(self.payer.models).check_models((name,))


class Callers:
    """Recognises callers; remembers who guessed."""

    def __init__(self, manager: SessionManager, failed_per_minute: int = 0) -> None:
        self._manager = manager
        self._guesses = Guesses(failed_per_minute)

    async def payer(self, request: Request) -> SessionCaller:
        """The session that pays for this request.

        A user's key goes with ``X-Prepaid-Session``, and with ``X-Prepaid-Lease`` where it is a lease's.

        Raises:
            AuthenticationError: there is no valid key.
            PermissionDenied: it is the operator's, who spends nobody's money.
            InvalidRequestError: a user's key without a session.
            SessionNotFound, LeaseNotFound: not this user's.
        """
        record = await self.key(request)
        request.session_id = record.holder if record.kind is KeyKind.SESSION else None
        if record.kind is KeyKind.SESSION:
            return SessionCaller(record.key_id, payer_of(record))
        self._require(record, KeyKind.USER, "a session, or a user")
        session_id = _text(request, b"x-prepaid-session")
        if session_id is None:
            raise InvalidRequestError(
                "A user's key does not say which session pays.",
                remedy="Send its id as X-Prepaid-Session, or use the session's key.",
            )
        lease_id = _text(request, b"x-prepaid-lease")
        spent: Session | LeasedSession = (
            self._manager.session_of(record, session_id)
            if lease_id is None
            else self._manager.lease_of(record, session_id, lease_id)
        )
        request.session_id = spent.session_id
        return SessionCaller(record.key_id, spent.payer)

    async def key(self, request: Request) -> ApiKeyRecord:
        """The key that the request was sent with, of whatever kind.

        Raises:
            AuthenticationError: none, or not a valid one.
            TooManyFailedKeys: too many of those came from the same address.
        """
        given = request.header(b"authorization")
        if given is None or given[: len(_BEARER)].lower() != _BEARER:
            raise AuthenticationError(
                "The request has no API key.", remedy="Send it as Authorization: Bearer pp_…"
            )
        api_key = given[len(_BEARER) :].strip().decode("latin-1")
        self._guesses.check(request.client, api_key)
        try:
            record = await self._manager.identify(api_key)
        except AuthenticationError:
            self._guesses.failed(request.client, api_key)
            raise
        self._guesses.worked(api_key)
        return record

    async def user(self, request: Request) -> ApiKeyRecord:
        """The key of a user; ``owner`` is who.

        Raises:
            AuthenticationError: there is no valid key.
            PermissionDenied: it is of another kind.
        """
        record = await self.key(request)
        self._require(record, KeyKind.USER, "a user")
        return record

    async def operator(self, request: Request) -> ApiKeyRecord:
        """A key of the operator's.

        Raises:
            AuthenticationError: there is no valid key.
            PermissionDenied: it is of another kind.
        """
        record = await self.key(request)
        self._require(record, KeyKind.OPERATOR, "the operator")
        return record

    @staticmethod
    def _require(record: ApiKeyRecord, kind: KeyKind, required: str) -> None:
        if record.kind is not kind:
            raise PermissionDenied(KINDS_TOLD[record.kind], required)


def _text(request: Request, name: bytes) -> str | None:
    given = request.header(name)
    return None if given is None else given.decode("latin-1")
