"""What a session is and says of itself: identity, balances, description, numbers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from prepaid.errors import PrepaidError, SessionNotFound
from prepaid.meter import Payer
from prepaid.money import Currency, currency, format_amount
from prepaid.records import Account, SessionRecord, SessionState
from prepaid.sessions.persistence import no_adapter
from prepaid.sessions.snapshot import snapshot
from prepaid.sessions.values import as_time, from_json

if TYPE_CHECKING:
    from prepaid.sessions.workspace import Workspace

__all__ = ["SessionStats", "SessionView"]


@dataclass(frozen=True, slots=True)
class SessionStats:
    """A session in numbers (spec B10, C8); amounts in base units."""

    session_id: str
    user_id: str
    state: str
    is_active: bool
    is_paused: bool
    chat_count: int
    total_messages: int
    request_count: int
    created_at: datetime
    last_activity: datetime
    expires_at: datetime | None
    funded: int
    available: int
    held: int
    spent: int
    refunded: int


class SessionView:
    """The part of ``Session`` that only reads. Every property is as of now."""

    __slots__ = ("_payer", "_workspace", "api_key")

    def __init__(self, workspace: Workspace, payer: Payer, api_key: str | None = None) -> None:
        self._workspace = workspace
        self._payer = payer
        self.api_key = api_key

    @property
    def payer(self) -> Payer:
        """Its account, spent by its owner, or within the cap of the API key that opened this handle."""
        return self._payer

    @property
    def session_id(self) -> str:
        """Its id; ids sort by the time of creation."""
        return self._payer.session_id

    @property
    def user_id(self) -> str:
        """Its owner."""
        return self._payer.owner

    @property
    def asset(self) -> Currency:
        """The currency of its account."""
        return currency(self._payer.asset)

    @property
    def account(self) -> Account:
        """Its balances as of now.

        Raises:
            SessionNotFound: it is not this owner's (any more).
        """
        account = self._workspace.store.reads.account(self.session_id)
        if account is None or (account.owner != self.user_id and self._payer.lease_id is None):
            raise SessionNotFound(self.session_id)
        return account

    @property
    def record(self) -> SessionRecord:
        """What is kept of it, as of now."""
        record = self._workspace.store.reads.session(self.session_id)
        if record is None:
            raise SessionNotFound(self.session_id)
        return record

    @property
    def available(self) -> int:
        """Base units that can be spent right now."""
        return self.account.available

    @property
    def state(self) -> SessionState:
        """Active, paused, closed or expired, as of now."""
        return self._workspace.state_of(self.account)

    @property
    def name(self) -> str:
        """The name it was given."""
        return self.record.name

    @property
    def metadata(self) -> dict[str, Any]:
        """What the app keeps with it."""
        return from_json(self.record.metadata)

    @property
    def preferences(self) -> dict[str, Any]:
        """The user's preferences."""
        return from_json(self.record.preferences)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags it was given."""
        return self.record.tags

    async def serialize(self) -> dict[str, Any]:
        """All that is kept of it as data that JSON can carry (spec C10).

        ``manager.deserialize_session`` brings it back, but never its money: ``account`` is told for
        information. API keys are not in it.
        """
        _ = self.account
        session_id = self.session_id
        return await self._workspace.store.report(lambda reads: snapshot(reads, session_id))

    async def save(self) -> None:
        """Save it with the manager's persistence adapter now; ``auto_save`` does so after each change.

        Raises:
            InvalidRequestError: the manager has no adapter. Errors of the adapter are passed on.
        """
        _ = self.account
        if self._workspace.saver is None:
            raise no_adapter()
        await self._workspace.saver.save(self.session_id)

    async def get_stats(self) -> SessionStats:
        """The session in numbers."""
        account, record = self.account, self.record
        state = self._workspace.state_of(account)
        return SessionStats(
            session_id=self.session_id,
            user_id=account.owner,
            state=state.label,
            is_active=state is SessionState.ACTIVE,
            is_paused=state is SessionState.PAUSED,
            chat_count=record.chat_count,
            total_messages=self._workspace.store.reads.message_total(self.session_id),
            request_count=account.request_count,
            created_at=as_time(record.created_ms),
            last_activity=as_time(account.last_used_ms),
            expires_at=None if record.expires_ms is None else as_time(record.expires_ms),
            funded=account.funded,
            available=account.available,
            held=account.held,
            spent=account.spent,
            refunded=account.refunded,
        )

    def __repr__(self) -> str:
        try:
            account = self.account
        except PrepaidError as error:  # a repr never raises: it is read where something went wrong
            return f"<Session {self.session_id} of {self.user_id!r}: {error.code}>"
        state, balance = self._workspace.state_of(account), format_amount(account.available, self.asset)
        return f"<Session {self.session_id} of {account.owner!r}: {state.label}, {balance} available>"
