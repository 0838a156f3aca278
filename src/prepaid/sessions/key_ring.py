"""API keys of sessions, users and the operator: made, listed, rotated, revoked, and recognised."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Final

from prepaid.errors import (
    AuthenticationError,
    InvalidRequestError,
    KeyNotFound,
    KeyTooNarrow,
    LeaseNotFound,
    SessionNotFound,
    ValueTooLarge,
)
from prepaid.ledger import fingerprint
from prepaid.meter import Payer
from prepaid.money import Currency, parse_amount
from prepaid.records import OPERATOR, ApiKeyRecord, KeyKind, KeyLimits, holder_of_user
from prepaid.sessions.api_keys import invalid_key, matches, new_secret, parse_key, parse_key_id
from prepaid.sessions.finding import Finding
from prepaid.sessions.leased import LeasedSession
from prepaid.sessions.session import Session
from prepaid.sessions.values import as_expiry, as_milliseconds, check_count, check_id, check_name, check_user
from prepaid.store.operations import IssueFirstKey, IssueKey, RevokeKey, RotateKey

__all__ = ["KEYS_MAX", "IssuedKey", "KeyRing", "payer_of"]

Amount = int | Decimal | str
KEYS_MAX: Final = 1_000
"""How many keys that work one session, one user or the operator may have."""

_MODELS_MAX: Final = 64
_PAGE_MAX: Final = 1_000
_GRACE_MS_MAX: Final = 30 * 24 * 3_600_000
_NUMBER_MAX: Final = 999_999_999


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key as it is now. ``api_key`` is there once: where the same idempotency key asks again, it is not."""

    record: ApiKeyRecord
    api_key: str | None = field(default=None, repr=False)


class KeyRing(Finding):
    """The part of ``SessionManager`` that keeps API keys."""

    async def create_api_key(
        self,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        name: str = "",
        cap: Amount | None = None,
        models: Iterable[str] | None = None,
        expires_at: datetime | timedelta | None = None,
        key: str | None = None,
        issuer: ApiKeyRecord | None = None,
    ) -> IssuedKey:
        """A new key: of a session, of a user, or, with neither, of the operator.

        With ``session_id``, ``user_id`` says whose the session has to be. ``cap`` is what a session's key may
        spend in all; ``models`` are those it may ask. ``issuer`` is the API key that asks for it, if one
        does: what was asked for is cut to that key's limits (spec M1).

        Raises:
            KeyTooNarrow: the issuer has none of the models, or a cap.
            SessionNotFound, SessionAlreadyClosed, SessionExpired: there is no such session to spend from.
            KeyLimitReached: ``KEYS_MAX`` keys work.
        """
        holder, owner, asset = self._holder(user_id, session_id)
        if cap is not None and asset is None:
            raise InvalidRequestError("Only a session's key can have a cap.", remedy="Name the session.")
        secret, digest = new_secret()
        wanted = KeyLimits(
            _check_models(models),
            as_expiry(expires_at, self._workspace.store.clock()),
            None if cap is None or asset is None else parse_amount(cap, asset),
        )
        limits = wanted if issuer is None else wanted.narrowed(issuer.limits)
        work = IssueKey(
            holder,
            owner,
            digest,
            KEYS_MAX,
            name=check_name(name, "name"),
            cap=limits.cap,
            models=limits.models,
            expires_ms=limits.expires_ms,
        )
        content = fingerprint("key", owner, work.name, wanted.cap, wanted.models, expires_at)
        done = await self._workspace.submit_once(work, key, content)
        return self._issued(holder, done.value, None if done.replayed else secret)

    async def first_operator_key(self) -> str | None:
        """The operator's first key, shown this once; ``None`` where there has been one before."""
        secret, digest = new_secret()
        number = await self._workspace.store.submit(IssueFirstKey(OPERATOR, "", digest, KEYS_MAX, "first"))
        return None if number is None else self._issued(OPERATOR, number, secret).api_key

    def get_api_keys(
        self,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        after: int = 0,
        limit: int = 100,
    ) -> list[ApiKeyRecord]:
        """A page of keys, oldest first: of a session, of a user, or, with neither, of the operator.

        ``after`` is the last number of the page before. Keys that have ended are listed too.
        """
        holder, _, _ = self._holder(user_id, session_id)
        check_count(after, "after", 0, _NUMBER_MAX)
        check_count(limit, "limit", 1, _PAGE_MAX)
        return self._workspace.store.reads.api_keys(holder, after=after, limit=limit)

    def get_api_key(self, key_id: str, user_id: str | None = None) -> ApiKeyRecord:
        """A key by its id, which is the key without its secret.

        Raises:
            KeyNotFound: unknown, or not this user's.
        """
        holder, number = parse_key_id(key_id)
        record = self._workspace.store.reads.api_key(holder, number)
        if record is None or (user_id is not None and record.owner != user_id):
            raise KeyNotFound(key_id)
        return record

    async def rotate_api_key(
        self,
        key_id: str,
        user_id: str | None = None,
        *,
        grace: timedelta | float | None = None,
        key: str | None = None,
        issuer: ApiKeyRecord | None = None,
    ) -> IssuedKey:
        """Give a key another secret. The one before stops working at once, or after ``grace``.

        Cap, what was spent of it, expiry and models stay. ``issuer`` is the API key that asks for it.

        Raises:
            KeyNotFound: unknown, or not this user's.
            KeyTooNarrow: it can do more than the key that asks.
            KeyEnded: it was revoked or has expired.
        """
        record = self.get_api_key(key_id, user_id)
        _check_covered(record, issuer, "rotate")
        grace_ms = 0 if grace is None else as_milliseconds(grace, "grace", _GRACE_MS_MAX)
        secret, digest = new_secret()
        work = RotateKey(record.holder, record.owner, record.number, digest, grace_ms)
        content = fingerprint("rotate", record.number, grace_ms)
        done = await self._workspace.submit_once(work, key, content)
        return self._issued(record.holder, record.number, None if done.replayed else secret)

    async def revoke_api_key(
        self,
        key_id: str,
        user_id: str | None = None,
        *,
        key: str | None = None,
        issuer: ApiKeyRecord | None = None,
    ) -> ApiKeyRecord:
        """End a key for good, at once; what it has in flight settles. Again does nothing.

        Keys and sessions that were made with it go on, within the limits that it had: revoke them, too.

        Raises:
            KeyNotFound: unknown, or not this user's.
            KeyTooNarrow: it can do more than ``issuer``, the key that asks.
        """
        record = self.get_api_key(key_id, user_id)
        _check_covered(record, issuer, "revoke")
        work = RevokeKey(record.holder, record.owner, record.number)
        await self._workspace.submit_once(work, key, fingerprint("revoke", record.number))
        return self.get_api_key(key_id)

    async def identify(self, api_key: str) -> ApiKeyRecord:
        """The key that this is: one indexed read, nothing cached, so that a revocation holds at once.

        Raises:
            AuthenticationError: unknown, wrong, revoked, expired or malformed.
        """
        holder, number, digest = parse_key(api_key)
        record = await self._workspace.store.ask(lambda reads: reads.api_key(holder, number))
        now_ms = self._workspace.store.clock()
        if not matches(digest, record, now_ms) or record is None or record.revoked_ms is not None:
            raise invalid_key()
        if record.expires_ms is not None and record.expires_ms <= now_ms:
            raise AuthenticationError("This API key has expired.", remedy="Ask for another.")
        return record

    async def authenticate(self, api_key: str) -> Session:
        """The session that its API key opens; what is spent there counts against the key's cap.

        Raises:
            AuthenticationError: as ``identify``, or it is a key of no session.
        """
        record = await self.identify(api_key)
        if record.kind is not KeyKind.SESSION:
            raise AuthenticationError("This API key opens no session.", remedy="Use a session's key.")
        return self.session_of(record, record.holder)

    def session_of(self, record: ApiKeyRecord, session_id: str) -> Session:
        """A session as the holder of a key has it: what is spent there is bound by the key's cap and models.

        Raises:
            SessionNotFound: unknown, or not this key's to see (spec A5).
        """
        if record.kind is KeyKind.OPERATOR:
            return self.get_session(session_id)
        if record.kind is KeyKind.USER:
            payer = self.get_session(session_id, record.owner).payer
            return Session(self._workspace, replace(payer, models=record.models))
        if record.holder != session_id:
            raise SessionNotFound(session_id)
        return Session(self._workspace, payer_of(record))

    def lease_of(self, record: ApiKeyRecord, session_id: str, lease_id: str) -> LeasedSession:
        """A lease as its taker's key has it.

        Raises:
            LeaseNotFound: unknown, not this taker's, or run out.
        """
        found = self._workspace.store.reads.lease(session_id, lease_id) if check_id(lease_id) else None
        now_ms = self._workspace.store.clock()
        if found is None or found[0].taker != record.owner or found[0].expires_ms <= now_ms:
            raise LeaseNotFound(lease_id)
        account = self._workspace.store.reads.account(session_id)
        assert account is not None, "nothing ever deletes an account"
        return LeasedSession(self._workspace, found[0], account.asset, record.models)

    def _holder(self, user_id: str | None, session_id: str | None) -> tuple[str, str, Currency | None]:
        """Whose keys are meant: the holder, its owner, and a session's currency."""
        if session_id is not None:
            session = self.get_session(session_id, user_id)
            return session.session_id, session.user_id, session.asset
        if user_id is not None:
            return holder_of_user(check_user(user_id)), user_id, None
        return OPERATOR, "", None

    def _issued(self, holder: str, number: int, secret: str | None) -> IssuedKey:
        record = self._workspace.store.reads.api_key(holder, number)
        assert record is not None, "nothing ever deletes a key"
        return IssuedKey(record, None if secret is None else f"{record.key_id}_{secret}")


def payer_of(record: ApiKeyRecord) -> Payer:
    """Who pays where a session's key is used."""
    assert record.asset is not None, "a session has an account"
    key_no = None if record.cap is None else record.number
    return Payer(record.holder, record.owner, record.asset, key_no=key_no, models=record.models)


def _check_covered(record: ApiKeyRecord, issuer: ApiKeyRecord | None, act: str) -> None:
    """A key with limits has itself in its hands, and keys that can do nothing more.

    Raises:
        KeyTooNarrow: ``record`` can.
    """
    if issuer is None or issuer.key_id == record.key_id or issuer.limits.covers(record.limits):
        return
    raise KeyTooNarrow(f"{act} {record.key_id}, which is limited to {record.limits}", str(issuer.limits))


def _check_models(models: Iterable[str] | None) -> tuple[str, ...] | None:
    """At most 64 names, each once.

    Raises:
        InvalidRequestError: it is no list, or empty, which would be a key for nothing.
    """
    if models is None:
        return None
    if isinstance(models, str | bytes) or not isinstance(models, Iterable):
        raise InvalidRequestError("models is no list of names.", remedy='Pass a list: ["offline"].')
    names = tuple(dict.fromkeys(check_name(each, "models") for each in islice(models, _MODELS_MAX + 1)))
    if len(names) > _MODELS_MAX:
        raise ValueTooLarge("models", len(names), _MODELS_MAX, "entries or more")
    if not all(names) or not names:
        raise InvalidRequestError("models names nothing.", remedy="Leave it out, or name a model.")
    return names
