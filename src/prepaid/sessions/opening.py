"""Opening sessions: with money from outside, from a deposit, or from the session before (spec A2, B1)."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from prepaid.errors import SessionAlreadyClosed, SessionExpired
from prepaid.ledger import check_key, deposit_id, fingerprint, key_or_new, new_id
from prepaid.money import parse_amount
from prepaid.records import NO_LIMITS, ApiKeyRecord, SessionState
from prepaid.sessions.api_keys import new_secret
from prepaid.sessions.cleanup import SESSIONS_MAX, close_due_sessions
from prepaid.sessions.events import SessionCreated
from prepaid.sessions.finding import Finding
from prepaid.sessions.session import Session
from prepaid.sessions.values import as_expiry, check_flag, check_name, check_tags, check_user, to_json
from prepaid.store.operations import (
    ChooseSession,
    Closed,
    Created,
    CreateSession,
    Funded,
    GetOrCreate,
    Operation,
)

__all__ = ["Opening"]

Amount = int | Decimal | str
_LIVE: Final = (SessionState.ACTIVE, SessionState.PAUSED)


class Opening(Finding):
    """The part of ``SessionManager`` that opens, funds and closes sessions."""

    async def create_session(
        self,
        user_id: str,
        fund: Amount | None = None,
        *,
        session_name: str = "",
        metadata: Mapping[str, Any] | None = None,
        preferences: Mapping[str, Any] | None = None,
        tags: Iterable[str] = (),
        expires_at: datetime | timedelta | None = None,
        auto_save: bool = True,
        key: str | None = None,
        issuer: ApiKeyRecord | None = None,
    ) -> Session:
        """Open a session for a user (spec B1, C2).

        ``fund`` is ``"10 USD"``, a ``Decimal``, or an int of base units, never a float. With ``key``
        the same call twice opens one session. ``issuer`` is the API key that asks for it, if one does: the
        session's own first key is no wider (spec M1).

        Raises:
            KeyTooNarrow: the issuer may make no key.
            BalanceTooLow: less than ``minimum_balance``.
            SessionLimitReached: ``max_active_sessions`` or ``max_sessions_per_user``.
            InvalidAmount, ValueTooLarge, NotJson: something handed in is not acceptable.
        """
        amount = 0 if fund is None else parse_amount(fund, self.settings.asset)
        draft = replace(
            self._draft(user_id, key, amount, issuer),
            name=check_name(session_name, "session_name"),
            metadata=to_json(metadata, "metadata"),
            preferences=to_json(preferences, "preferences"),
            tags=check_tags(tags),
            expires_ms=as_expiry(expires_at, self._workspace.store.clock()),
            auto_save=check_flag(auto_save, "auto_save"),
        )
        return await self._open(draft, fingerprint(*_chosen(draft), expires_at))

    async def start_user_session(
        self,
        user_id: str,
        amount: Amount | None = None,
        *,
        key: str | None = None,
        issuer: ApiKeyRecord | None = None,
    ) -> Session:
        """Open a session with the user's unassigned deposit, or ``amount`` of it (spec A2).

        ``issuer`` is as for ``create_session``.

        Raises:
            InsufficientFunds: nothing, or less, was deposited.
        """
        units = None if amount is None else parse_amount(amount, self.settings.asset)
        return await self._open(replace(self._draft(user_id, key, units, issuer), from_deposit=True))

    async def restart_session(
        self, session_id: str, user_id: str, *, key: str | None = None, issuer: ApiKeyRecord | None = None
    ) -> Session:
        """Close a session and open another with what it refunds, in one (spec A8).

        The new one keeps its name, metadata, preferences, tags and expiry; it has an API key of its own
        and is not pooled. Chats stay with the old one, which can still be read. ``issuer`` is as for
        ``create_session``.

        Raises:
            SessionAlreadyClosed, SessionExpired: it has ended already.
            BalanceTooLow: it refunds less than ``minimum_balance``.
            SessionLimitReached: it was paused, and the new one would be one active session too many.
        """
        record = self.get_session(session_id, user_id).record
        draft = replace(
            self._draft(user_id, key, None, issuer),
            replaces=session_id,
            name=record.name,
            metadata=record.metadata,
            preferences=record.preferences,
            tags=record.tags,
            expires_ms=record.expires_ms,
            auto_save=record.auto_save,
        )
        return await self._open(draft)

    async def get_or_create_session(
        self, user_id: str, fund: Amount | None = None, *, issuer: ApiKeyRecord | None = None
    ) -> Session:
        """The user's newest active session with money in it, or a new one (spec B2).

        One operation: calls at once, in whatever processes, get the same session. One that is found
        counts a request more and was used last just now. A new one is funded with ``fund`` where that is
        given, else from the user's deposit with ``minimum_balance``, or all of it if there is no minimum.
        Money never comes from nowhere. ``issuer`` is as for ``create_session``.

        Raises:
            InsufficientFunds: a new session is needed, and nothing pays for it.
        """
        return await self._open(self._any_draft(user_id, fund, issuer))

    async def choose_session(
        self,
        user_id: str,
        key: str | None,
        content: bytes,
        *,
        is_new: bool = False,
        issuer: ApiKeyRecord | None = None,
    ) -> Session:
        """The session that pays for a user's request, which is the user's and no session's (spec D3).

        Without a key, as ``get_or_create_session``, or as ``start_user_session`` if it ``is_new``. With one,
        the key is bound to the session that is chosen, in the unit that chooses it: whoever asks again with
        the key gets that session, also when it was closed meanwhile, and never another that would pay anew.

        Raises:
            IdempotencyConflict: the key stands for something else.
            InsufficientFunds: as ``get_or_create_session``; then the key is bound to nothing.
        """
        if is_new:
            draft = replace(self._draft(user_id, None, None, issuer), from_deposit=True)
        else:
            draft = self._any_draft(user_id, None, issuer)
        return await self._open(draft, key=key, content=content)

    def _any_draft(self, user_id: str, fund: Amount | None, issuer: ApiKeyRecord | None) -> GetOrCreate:
        if fund is not None:
            draft = self._draft(user_id, None, parse_amount(fund, self.settings.asset), issuer)
        else:
            amount = self._workspace.setting("minimum_balance") or None
            draft = replace(self._draft(user_id, None, amount, issuer), from_deposit=True)
        return GetOrCreate(**{each.name: getattr(draft, each.name) for each in fields(draft)})

    def _draft(
        self, user_id: str, key: str | None, amount: int | None, issuer: ApiKeyRecord | None
    ) -> CreateSession:
        return CreateSession(
            new_id("ses"),
            check_user(user_id),
            self.settings.currency,
            key_or_new(key),
            b"",
            amount,
            minimum=self._workspace.setting("minimum_balance"),
            idle_ms=self._workspace.setting("session_timeout_ms"),
            limits=self._workspace.limits,
            key_limits=NO_LIMITS if issuer is None else NO_LIMITS.narrowed(issuer.limits),
            keep_refusal=key is not None,
        )

    async def _open(
        self, draft: CreateSession, content: bytes | None = None, *, key: str | None = None
    ) -> Session:
        """Open what is drafted; with ``key``, bind it to whichever session that turns out to be."""
        secret, digest = new_secret()
        work = replace(draft, key_digest=digest, fingerprint=content or fingerprint(*_chosen(draft)))
        await self._make_room(work.owner)
        chosen: Operation = work
        if key is not None:
            chosen = ChooseSession(deposit_id(work.owner), check_key(key), work.fingerprint, work)

        def tell(created: Created) -> None:
            if created.session_id == work.session_id:
                self._tell_opened(work, created)

        opening: Future[Created] = self._workspace.store.submit(chosen)
        created = await self._workspace.change(opening, tell)
        api_key = f"pp_{work.session_id}.1_{secret}" if created.session_id == work.session_id else None
        return self._session(created.session_id, work.owner, work.asset, api_key)

    def _tell_opened(self, work: CreateSession, created: Created) -> None:
        if work.replaces is not None:
            replaced = Closed(work.replaces, work.owner, created.available, created.held)
            self._workspace.tell_closed(replaced)
        self._workspace.events.emit(SessionCreated(created.session_id, work.owner, created.available))

    async def _make_room(self, owner: str) -> None:
        """Where a limit is reached, sessions that are due do not count: close them first."""
        limits, reads = self._workspace.limits, self._workspace.store.reads
        is_full = limits.active_max is not None and reads.tally("") >= limits.active_max
        per_user_max = limits.per_user_max
        if is_full or (per_user_max is not None and reads.tally("live:" + owner) >= per_user_max):
            await close_due_sessions(self._workspace, SESSIONS_MAX)

    async def deposit(self, user_id: str, amount: Amount, *, key: str | None = None) -> Funded:
        """Add to a user's unassigned deposit, from which sessions can be started (spec A2)."""
        asset = self.settings.asset
        return await self._workspace.ledger.deposit(
            check_user(user_id), asset.code, parse_amount(amount, asset), key
        )

    def get_deposit(self, user_id: str) -> Funded:
        """What a user has in deposit, and ever had."""
        account = self._workspace.store.reads.account(deposit_id(check_user(user_id)))
        return Funded(0, 0) if account is None else Funded(account.available, account.funded)

    async def withdraw(self, user_id: str, amount: Amount, *, key: str | None = None) -> Funded:
        """Pay out of a user's unassigned deposit.

        Raises:
            InsufficientFunds: less is there.
        """
        units = parse_amount(amount, self.settings.asset)
        return await self._workspace.ledger.withdraw(check_user(user_id), units, key)

    async def renew_session(
        self, session_id: str, user_id: str, amount: Amount, *, key: str | None = None
    ) -> Funded:
        """Add money to a session, which counts as use of it (spec B6)."""
        return await self.get_session(session_id, user_id).fund(amount, key=key)

    async def close_session(self, session_id: str, user_id: str) -> Closed:
        """Close a session and refund it (spec B4)."""
        return await self.get_session(session_id, user_id).close()

    async def close_all_sessions(self, user_id: str) -> list[Closed]:
        """Close all of a user's live sessions (spec B5)."""
        closed: list[Closed] = []
        while sessions := self._workspace.store.reads.sessions(owner=check_user(user_id), states=_LIVE):
            handles = [self._session(each.session_id, each.owner, each.asset) for each in sessions]
            outcomes = await asyncio.gather(*(each.close() for each in handles), return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, Closed):
                    closed.append(outcome)
                elif not isinstance(outcome, SessionAlreadyClosed | SessionExpired):  # by somebody else
                    raise outcome
        return closed


def _chosen(draft: CreateSession) -> tuple[object, ...]:
    """What an idempotency key stands for: all that the caller chose."""
    return (
        draft.amount,
        draft.from_deposit,
        draft.replaces,
        draft.name,
        draft.metadata,
        draft.preferences,
        draft.tags,
        draft.auto_save,
    )
