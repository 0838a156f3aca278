"""Sessions that the manager contract keeps for their users: B1, B2, B4 to B6, B9, B10, B11."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Final

from prepaid.chain.ai import AiContract, ClosedSession
from prepaid.chain.ai.sessions import checked_id
from prepaid.chain.connection import as_address
from prepaid.chain.contracts import Contract
from prepaid.chain.deploying import ManagerConfig
from prepaid.chain.tokens import Amount, Token
from prepaid.errors import SessionNotFound

__all__ = ["ManagedSession", "ManagedSessions", "ManagedState"]

_CLEANED_MAX: Final = 20
_PAGE_MAX: Final = 500


class ManagedState(IntEnum):
    """Where a session stands: its owner uses it, it waits for a taker, a taker uses it, it was refunded."""

    NONE = 0
    ACTIVE = 1
    POOLED = 2
    LEASED = 3
    CLOSED = 4


@dataclass(frozen=True, slots=True)
class ManagedSession:
    """A session as its owner sees it: free base units, and its last use in Unix seconds."""

    session_id: int
    owner: str
    balance: int
    last_used: int
    is_active: bool
    request_count: int


class ManagedSessions:
    """The part of ``ManagerContract`` that opens, renews, closes and counts."""

    def __init__(self, contract: Contract, ai: AiContract) -> None:
        self.contract = contract
        self.ai = ai

    @property
    def address(self) -> str:
        """Where the contract is."""
        return self.contract.address

    @property
    def token(self) -> Token:
        """What sessions are paid in."""
        return self.ai.token

    async def create_session(self, amount: Amount) -> int:
        """Start a session (spec B1); its id. The allowance is given on the way, where it is not large enough.

        Raises:
            BalanceTooLow: less than the minimum.
            InsufficientFunds: the wallet has less.
        """
        units = self.token.units(amount)
        await self.token.allow(self.address, units)
        return self._created(await self.contract.send("createSession", units))

    async def create_session_with_permit(self, amount: Amount) -> int:
        """Start a session with an allowance that is signed, not sent (EIP-2612); its id.

        Raises:
            ChainMismatch: the token knows no permits.
        """
        signed = await self.token.permit(self.address, amount)
        terms = (signed.value, signed.deadline, signed.v, signed.r, signed.s)
        return self._created(await self.contract.send("createSessionWithPermit", *terms))

    async def get_or_create_session(self) -> int:
        """The wallet's current session if it has money, else a new one with the minimum; its id (spec B2).

        Raises:
            InsufficientFunds: a new one is needed, and the wallet has less than the minimum.
        """
        await self.allow_creation()
        receipt = await self.contract.send("getOrCreateSession")
        if self.contract.events(receipt, "SessionCreated"):
            return self._created(receipt)
        (current,) = await self.get_user_sessions(limit=1)
        return current

    async def allow_creation(self) -> None:
        """See that a session can be created where the wallet has none with money."""
        sessions = await self.get_user_sessions(limit=1)
        config = await self.get_config()
        if sessions:
            stats = await self.get_session_stats(sessions[0])
            now = await self.contract.chain.time()
            if stats.balance > 0 and now - stats.last_used <= config.session_age_seconds:
                return
        await self.token.allow(self.address, config.minimum_balance)

    async def renew_session(self, session_id: int, amount: Amount) -> int:
        """Add money to the wallet's session; what is free of it then, in base units (spec B6).

        Raises:
            SessionNotFound, SessionAlreadyClosed, SessionExpired: it takes no money.
            InsufficientFunds: the wallet has less.
        """
        units = self.token.units(amount)
        await self.token.allow(self.address, units)
        receipt = await self.contract.send("renewSession", checked_id(session_id), units)
        return int(self.contract.events(receipt, "SessionRenewed")[0]["newBalance"])

    async def close_session(self, session_id: int) -> ClosedSession:
        """Close the wallet's session; what is free is paid to the wallet at once (spec B4).

        Raises:
            SessionNotFound, SessionAlreadyClosed: see these.
        """
        return self._closed(await self.contract.send("closeSession", checked_id(session_id)))[0]

    async def close_all_sessions(self, limit: int | None = None) -> list[ClosedSession]:
        """Close all of the wallet's sessions, or at most ``limit`` in this transaction (spec B5)."""
        if limit is None:
            return self._closed(await self.contract.send("closeAllSessions()"))
        return self._closed(await self.contract.send("closeAllSessions(uint256)", limit))

    async def cleanup_old_sessions(self, limit: int = _CLEANED_MAX) -> list[ClosedSession]:
        """Close and refund at most ``limit`` sessions, whoever's, that are idle for too long (spec B9)."""
        return self._closed(await self.contract.send("cleanupOldSessions", limit))

    async def withdraw(self, user: str | None = None) -> int:
        """Have somebody, by default the wallet, paid what requests gave back after a close; base units.

        Raises:
            ContractReverted: there is nothing.
        """
        receipt = await self.contract.send("withdraw", self._whose(user))
        return int(self.contract.events(receipt, "RefundPaid")[0]["amount"])

    async def withdrawable(self, user: str | None = None) -> int:
        """What ``withdraw`` would pay, in base units."""
        return int(await self.contract.call("withdrawable", self._whose(user)))

    async def get_session_stats(self, session_id: int) -> ManagedSession:
        """A session in numbers (spec B10).

        Raises:
            SessionNotFound: there is none.
        """
        owner, *numbers = await self.contract.call("getSessionStats", checked_id(session_id))
        if int(owner, 16) == 0:
            raise SessionNotFound(str(session_id))
        return ManagedSession(session_id, owner, *numbers)

    async def state_of(self, session_id: int) -> ManagedState:
        """Where a session stands."""
        return ManagedState(await self.contract.call("stateOf", checked_id(session_id)))

    async def get_user_session_count(self, user: str | None = None) -> int:
        """How many open sessions somebody, by default the wallet, has (spec B10)."""
        return int(await self.contract.call("getUserSessionCount", self._whose(user)))

    async def get_user_sessions(
        self, user: str | None = None, *, after: int = 0, limit: int = _PAGE_MAX
    ) -> list[int]:
        """Ids of somebody's open sessions, the current one first; ``after`` the last of the page before."""
        return list(await self.contract.call("getUserSessions", self._whose(user), after, limit))

    async def get_config(self) -> ManagerConfig:
        """The configuration."""
        told = await self.contract.call("config")
        return ManagerConfig(*(told.values() if isinstance(told, Mapping) else told))

    async def update_config(
        self,
        *,
        minimum_balance: Amount | None = None,
        session_age_seconds: int | None = None,
        pool_size: int | None = None,
        lease_seconds: int | None = None,
    ) -> ManagerConfig:
        """Change the configuration, as the administrator; what is left out stays (spec B11).

        Raises:
            ContractReverted: the wallet is not the administrator, or a value is out of range.
        """
        chosen = {
            "minimum_balance": None if minimum_balance is None else self.token.units(minimum_balance),
            "session_age_seconds": session_age_seconds,
            "pool_size": pool_size,
            "lease_seconds": lease_seconds,
        }
        given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
        config = replace(await self.get_config(), **given)
        await self.contract.send("updateConfig", config.words())
        return config

    def _whose(self, user: str | None) -> str:
        return self.contract.caller if user is None else as_address(user)

    def _created(self, receipt: Mapping[str, Any]) -> int:
        return int(self.contract.events(receipt, "SessionCreated")[0]["sessionId"])

    def _closed(self, receipt: Mapping[str, Any]) -> list[ClosedSession]:
        closed = self.contract.events(receipt, "SessionClosed")
        return [ClosedSession(each["sessionId"], each["refund"], each["held"]) for each in closed]
