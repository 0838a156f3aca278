"""The shared pool: sessions that others may lease, within a cap and a deadline (spec B7, B8)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Final

from prepaid.errors import LeaseNotFound
from prepaid.ledger import deposit_id, fingerprint, new_id
from prepaid.sessions.finding import Finding
from prepaid.sessions.leased import LeasedSession
from prepaid.sessions.values import as_milliseconds, check_id, check_user
from prepaid.store.operations import EndLease, Lease, TakeFromPool

__all__ = ["PoolStatus", "Pooling"]

Amount = int | Decimal | str
LEASE_MS_MAX: Final = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """How many sessions are pooled, how many of them on lease, and how many there may be (spec B10)."""

    pooled: int
    leased: int
    capacity: int


class Pooling(Finding):
    """The part of ``SessionManager`` that shares sessions."""

    async def add_to_pool(
        self, session_id: str, user_id: str, *, cap: Amount | None = None, key: str | None = None
    ) -> None:
        """Share a session (spec B7).

        Raises:
            AlreadyPooled, PoolFull: as they say.
        """
        await self.get_session(session_id, user_id).add_to_pool(cap=cap, key=key)

    async def get_from_pool(
        self, user_id: str, *, lasts: timedelta | float | None = None, key: str | None = None
    ) -> LeasedSession:
        """Lease the session that has waited longest, for ``lasts`` (default ``lease_seconds``) (spec B8).

        A lease lasts a day at most: a taker who vanishes must not keep the session for ever.

        Raises:
            PoolEmpty: none is free.
        """
        duration = self.settings.sessions.lease_seconds if lasts is None else lasts
        lasts_ms = as_milliseconds(duration, "lasts", LEASE_MS_MAX)
        work = TakeFromPool("", check_user(user_id), new_id("lease"), lasts_ms)
        content = fingerprint("take", user_id, lasts_ms)
        done = await self._workspace.submit_once(work, key, content, scope=deposit_id(user_id))
        lease: Lease = done.value
        account = self._workspace.store.reads.account(lease.session_id)
        assert account is not None, "nothing ever deletes an account"
        return LeasedSession(self._workspace, lease, account.asset)

    async def give_back(
        self, user_id: str, session_id: str, lease_id: str, *, key: str | None = None
    ) -> None:
        """End a taker's lease; the next may have the session.

        Raises:
            LeaseNotFound: unknown, not this taker's, or ended already, unless with the same ``key``.
        """
        if not (check_id(session_id) and check_id(lease_id)):
            raise LeaseNotFound(lease_id)
        work = EndLease(session_id, lease_id, check_user(user_id))
        content = fingerprint("give back", session_id, lease_id)
        await self._workspace.submit_once(work, key, content, scope=deposit_id(user_id))

    def get_pool_status(self) -> PoolStatus:
        """How full the pool is (spec B10)."""
        pooled, leased = self._workspace.store.reads.pool_counts()
        return PoolStatus(pooled, leased, self._workspace.setting("pool_size"))
