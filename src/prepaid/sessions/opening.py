"""Opening sessions: with money from outside, from a deposit, or from the session before (spec A2, B1)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from prepaid.ledger import fingerprint, key_or_new, new_id
from prepaid.money import parse_amount
from prepaid.records import SessionState
from prepaid.sessions import api_keys
from prepaid.sessions.events import SessionCreated
from prepaid.sessions.finding import Finding
from prepaid.sessions.session import Session
from prepaid.sessions.values import as_expiry, check_name, check_tags, check_user, to_json
from prepaid.store.operations import Closed, Created, CreateSession, Funded

__all__ = ["Opening"]

Amount = int | Decimal | str


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
    ) -> Session:
        """Open a session for a user (spec B1, C2).

        ``fund`` is ``"10 USD"``, a ``Decimal``, or an int of base units, never a float. With ``key``
        the same call twice opens one session.

        Raises:
            BalanceTooLow: less than ``minimum_balance``.
            SessionLimitReached: ``max_active_sessions`` or ``max_sessions_per_user``.
            InvalidAmount, ValueTooLarge, NotJson: something handed in is not acceptable.
        """
        amount = 0 if fund is None else parse_amount(fund, self.settings.asset)
        return await self._create(
            self._draft(user_id, key, amount),
            session_name=session_name,
            metadata=metadata,
            preferences=preferences,
            tags=tags,
            expires_at=expires_at,
            auto_save=auto_save,
        )

    async def start_user_session(
        self, user_id: str, amount: Amount | None = None, *, key: str | None = None
    ) -> Session:
        """Open a session with the user's unassigned deposit, or ``amount`` of it (spec A2).

        Raises:
            InsufficientFunds: nothing, or less, was deposited.
        """
        units = None if amount is None else parse_amount(amount, self.settings.asset)
        return await self._create(replace(self._draft(user_id, key, units), from_deposit=True))

    async def restart_session(self, session_id: str, user_id: str, *, key: str | None = None) -> Session:
        """Close a session and open another with what it refunds, in one (spec A8)."""
        self.get_session(session_id, user_id)
        return await self._create(replace(self._draft(user_id, key, None), replaces=session_id))

    async def get_or_create_session(self, user_id: str, fund: Amount | None = None) -> Session:
        """The user's newest active session with money in it, or a new one (spec B2).

        A new one is funded with ``fund`` where that is given, else from the user's deposit with
        ``minimum_balance``, or all of it if there is no minimum. Money never comes from nowhere.

        Raises:
            InsufficientFunds: a new session is needed, and nothing pays for it.
        """
        found = self._workspace.store.reads.funded_session(check_user(user_id))
        if found is not None:
            return self._session(found, user_id)
        if fund is not None:
            return await self.create_session(user_id, fund)
        return await self.start_user_session(user_id, self._workspace.setting("minimum_balance") or None)

    def _draft(self, user_id: str, key: str | None, amount: int | None) -> CreateSession:
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
        )

    async def _create(
        self,
        draft: CreateSession,
        *,
        session_name: str = "",
        metadata: Mapping[str, Any] | None = None,
        preferences: Mapping[str, Any] | None = None,
        tags: Iterable[str] = (),
        expires_at: datetime | timedelta | None = None,
        auto_save: bool = True,
    ) -> Session:
        api_key, digest = api_keys.new_api_key(draft.session_id)
        described = replace(
            draft,
            name=check_name(session_name, "session_name"),
            metadata=to_json(metadata, "metadata"),
            preferences=to_json(preferences, "preferences"),
            tags=check_tags(tags),
            expires_ms=as_expiry(expires_at, self._workspace.store.clock()),
            auto_save=auto_save,
            key_digest=digest,
        )
        work = replace(described, fingerprint=_content(described))
        created: Created = await self._workspace.store.submit(work)
        is_new = created.session_id == draft.session_id
        session = self._session(created.session_id, draft.owner, api_key if is_new else None)
        if is_new:
            self._workspace.events.emit(SessionCreated(session.session_id, draft.owner, created.available))
        return session

    async def deposit(self, user_id: str, amount: Amount, *, key: str | None = None) -> Funded:
        """Add to a user's unassigned deposit, from which sessions can be started (spec A2)."""
        asset = self.settings.asset
        return await self._workspace.ledger.deposit(
            check_user(user_id), asset.code, parse_amount(amount, asset), key
        )

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
        while sessions := self._page(user_id, (SessionState.ACTIVE, SessionState.PAUSED), None, 256, None):
            closed += await asyncio.gather(*(session.close() for session in sessions))
        return closed


def _content(draft: CreateSession) -> bytes:
    """What an idempotency key stands for: all that the caller chose."""
    return fingerprint(
        draft.amount,
        draft.from_deposit,
        draft.replaces,
        draft.name,
        draft.metadata,
        draft.preferences,
        draft.tags,
        draft.auto_save,
    )
