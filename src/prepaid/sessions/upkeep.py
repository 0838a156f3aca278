"""Upkeep: clean-up, configuration at run time, and numbers (spec B9, B10, B11, C8, C9)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Final

from prepaid.audit import AuditReport, audit
from prepaid.ledger import fingerprint
from prepaid.money import parse_amount
from prepaid.records import OPERATOR
from prepaid.sessions.analytics import (
    DailyUsage,
    SystemStats,
    UserActivity,
    daily_usage,
    system_stats,
    user_activity,
)
from prepaid.sessions.cleanup import BATCH_MAX, SESSIONS_MAX, close_due_sessions, close_idle_sessions
from prepaid.sessions.finding import Finding
from prepaid.sessions.session_view import SessionStats
from prepaid.sessions.values import as_milliseconds, check_count, check_user
from prepaid.store.operations import Closed, SaveSettings, SetIdle, Settled
from prepaid.store.versions import settings_version

__all__ = ["RunningConfig", "Upkeep"]

Amount = int | Decimal | str
_POOL_SIZE_MAX: Final = 1_000_000
_DAYS_MAX: Final = 3_650
_DAY_MS: Final = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class RunningConfig:
    """What ``update_config`` changes; amounts in base units. ``version`` changes with the rest."""

    minimum_balance: int
    session_timeout: timedelta
    pool_size: int
    version: str


class Upkeep(Finding):
    """The part of ``SessionManager`` that keeps the house and counts what is in it."""

    async def cleanup_old_sessions(
        self, *, max_age: timedelta | float | None = None, limit: int = 10_000
    ) -> list[Closed]:
        """Close and refund sessions that are expired or idle too long, up to ``limit`` (spec B9).

        Without ``max_age``, by each session's own ``session_timeout``. Work is proportional to what is
        due, or with ``max_age`` to what no clean-up has looked at for so long.
        """
        check_count(limit, "limit", 1, SESSIONS_MAX)
        if max_age is None:
            return await close_due_sessions(self._workspace, limit)
        return await close_idle_sessions(self._workspace, as_milliseconds(max_age, "max_age"), limit)

    async def update_config(
        self,
        *,
        minimum_balance: Amount | None = None,
        session_timeout: timedelta | float | None = None,
        pool_size: int | None = None,
        version: str | None = None,
        key: str | None = None,
    ) -> None:
        """Change the configuration for every process from now on (spec B11). The operator's to call.

        A new ``session_timeout`` holds for sessions that are open, too, counted from their last use. What
        is already saved when an error stops this stays; calling it again goes on.

        Raises:
            VersionConflict: the configuration is not at ``version`` any more.
        """
        values: list[tuple[str, str]] = []
        if minimum_balance is not None:
            none = type(minimum_balance) is int and minimum_balance == 0
            units = 0 if none else parse_amount(minimum_balance, self.settings.asset)
            values.append(("minimum_balance", str(units)))
        idle_ms = None if session_timeout is None else as_milliseconds(session_timeout, "session_timeout")
        if idle_ms is not None:
            values.append(("session_timeout_ms", str(idle_ms)))
        if pool_size is not None:
            values.append(("pool_size", str(check_count(pool_size, "pool_size", 0, _POOL_SIZE_MAX))))
        work = SaveSettings("", tuple(values), version)
        await self._workspace.submit_once(work, key, fingerprint("config", values, version), scope=OPERATOR)
        last: str | None = "" if idle_ms is not None else None
        while idle_ms is not None and last is not None:
            last = await self._workspace.store.submit(SetIdle(last, idle_ms, BATCH_MAX))

    def get_config(self) -> RunningConfig:
        """The configuration that ``update_config`` changes, as it holds now in every process."""
        workspace = self._workspace
        return RunningConfig(
            minimum_balance=workspace.setting("minimum_balance"),
            session_timeout=timedelta(milliseconds=workspace.setting("session_timeout_ms")),
            pool_size=workspace.setting("pool_size"),
            version=settings_version(workspace.store.reads.settings()),
        )

    async def audit(self) -> AuditReport:
        """Check that the whole database says one thing. Reads all of it."""
        return await self._workspace.store.report(audit)

    async def reconcile(self) -> list[Settled]:
        """Settle holds that are past their deadline, some hundred at most, before the next sweep does."""
        return await self._workspace.meter.reconcile()

    async def get_session_stats(self, session_id: str, user_id: str | None = None) -> SessionStats:
        """A session in numbers (spec B10)."""
        return await self.get_session(session_id, user_id).get_stats()

    def get_user_session_count(self, user_id: str) -> int:
        """How many sessions a user ever opened (spec B10)."""
        return self._workspace.store.reads.tally("all:" + check_user(user_id))

    async def get_system_stats(self) -> SystemStats:
        """All active sessions in numbers (spec C9)."""
        now_ms = self._workspace.store.clock()
        return await self._workspace.store.report(lambda reads: system_stats(reads, now_ms))

    async def get_usage(self, user_id: str | None = None, *, days: int = 30) -> list[DailyUsage]:
        """What a user's sessions, or all, spent in the last ``days`` by day (UTC) and model (spec A7, C9)."""
        owner = None if user_id is None else check_user(user_id)
        span_ms = check_count(days, "days", 1, _DAYS_MAX) * _DAY_MS
        since_ms = (self._workspace.store.clock() - span_ms) // _DAY_MS * _DAY_MS + _DAY_MS
        return await self._workspace.store.report(lambda reads: daily_usage(reads, owner, since_ms))

    async def get_user_activity(self, user_id: str) -> UserActivity:
        """One user's sessions in numbers (spec C9)."""
        owner, now_ms = check_user(user_id), self._workspace.store.clock()
        return await self._workspace.store.report(lambda reads: user_activity(reads, owner, now_ms))
