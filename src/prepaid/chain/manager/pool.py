"""The shared pool on chain: sessions that others may lease, within a cap and a deadline (spec B7, B8)."""

from __future__ import annotations

from dataclasses import dataclass

from prepaid.chain.ai.sessions import checked_id
from prepaid.chain.manager.sessions import ManagedSessions
from prepaid.chain.tokens import Amount
from prepaid.sessions.pooling import PoolStatus

__all__ = ["Lease", "PooledSessions"]


@dataclass(frozen=True, slots=True)
class Lease:
    """A pooled session in a taker's hands until ``deadline`` (Unix seconds), to spend ``room`` base units."""

    session_id: int
    taker: str
    deadline: int
    room: int


class PooledSessions(ManagedSessions):
    """The part of ``ManagerContract`` that shares sessions."""

    async def add_to_pool(
        self, session_id: int, *, cap: Amount | None = None, budget: Amount | None = None
    ) -> None:
        """Share the wallet's session (spec B7).

        ``cap`` is the most that one taker may spend of it, by default all that is free. ``budget`` is the
        most that all takers together may spend, and so what is risked; by default the cap.

        Raises:
            AlreadyPooled, PoolFull, BalanceTooLow, SessionNotFound: as they say.
        """
        free = (await self.get_session_stats(session_id)).balance
        cap_units = free if cap is None else self.token.units(cap)
        budget_units = cap_units if budget is None else self.token.units(budget)
        await self.contract.send("addToPool", checked_id(session_id), cap_units, budget_units)

    async def remove_from_pool(self, session_id: int) -> None:
        """Take the wallet's session, which waits there, out of the pool.

        Raises:
            ContractReverted: it does not wait there.
        """
        await self.contract.send("removeFromPool", checked_id(session_id))

    async def get_from_pool(self, session_id: int | None = None) -> Lease:
        """Lease the session that has waited longest, or the one that is named (spec B8).

        Raises:
            PoolEmpty: none waits.
            LeaseCapReached: the wallet has spent what it may of it.
        """
        if session_id is None:
            receipt = await self.contract.send("getFromPool()")
        else:
            receipt = await self.contract.send("getFromPool(uint256)", checked_id(session_id))
        told = self.contract.events(receipt, "SessionTaken")[0]
        return Lease(told["sessionId"], told["taker"], told["deadline"], told["room"])

    async def return_to_pool(self, session_id: int) -> int:
        """End the wallet's lease, or anybody's that is past its deadline; what it spent, in base units.

        Raises:
            LeaseNotFound: nobody has it.
            ContractReverted: requests are in flight, or the lease is another's and runs.
        """
        receipt = await self.contract.send("returnToPool", checked_id(session_id))
        return int(self.contract.events(receipt, "LeaseEnded")[0]["spent"])

    async def get_pool_status(self) -> PoolStatus:
        """How many sessions are pooled, how many of them on lease, and how many there may be (spec B10)."""
        return PoolStatus(*await self.contract.call("getPoolStatus"))
