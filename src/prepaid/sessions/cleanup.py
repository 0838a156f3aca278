"""Clean-up: expired and idle sessions are closed and refunded, overdue holds settled (spec B9, C15).

Work is proportional to what is due: both queues are indexed by their deadlines.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from prepaid.errors import PrepaidError
from prepaid.sessions.events import SessionClosed
from prepaid.store.operations import Closed, CloseIfDue

if TYPE_CHECKING:
    from prepaid.sessions.workspace import Workspace

__all__ = ["Cleaner", "close_due_sessions", "close_idle_sessions"]

BATCH_MAX: Final = 256


async def close_due_sessions(workspace: Workspace, limit: int) -> list[Closed]:
    """Close up to ``limit`` sessions that are due by their own age and expiry."""
    closed: list[Closed] = []
    while len(closed) < limit:
        batch = min(BATCH_MAX, limit - len(closed))
        due = workspace.store.reads.due_sessions(workspace.store.clock(), batch)
        if not due:
            break
        closed += await _close(workspace, [CloseIfDue(session_id) for session_id in due])
    return closed


async def close_idle_sessions(workspace: Workspace, idle_ms: int, limit: int) -> list[Closed]:
    """Close up to ``limit`` live sessions not used for ``idle_ms``, whatever age they were opened with."""
    closed: list[Closed] = []
    after = ""
    while len(closed) < limit:
        batch = min(BATCH_MAX, limit - len(closed))
        used_before = workspace.store.clock() - idle_ms
        idle = workspace.store.reads.idle_sessions(used_before, after, batch)
        if not idle:
            break
        closed += await _close(workspace, [CloseIfDue(session_id, idle_ms) for session_id in idle])
        after = idle[-1]
    return closed


async def _close(workspace: Workspace, works: list[CloseIfDue]) -> list[Closed]:
    futures = [workspace.store.submit(work) for work in works]
    outcomes = [await future for future in futures]
    closed = [outcome for outcome in outcomes if outcome is not None]
    for each in closed:
        workspace.detach(each.session_id)
        workspace.events.emit(
            SessionClosed(each.session_id, each.owner, each.refunded, each.held, each.expired)
        )
    return closed


class Cleaner:
    """The background task of a manager with ``auto_cleanup``."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Settle overdue holds every ``sweep_seconds``, close due sessions every ``cleanup_interval``."""
        settings = self._workspace.settings
        interval = settings.sessions.cleanup_interval.total_seconds()
        self._tasks = [
            asyncio.ensure_future(self._every(settings.sweep_seconds, self._settle_overdue)),
            asyncio.ensure_future(self._every(interval, self._close_due)),
        ]

    async def aclose(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except PrepaidError:
                # The database may be busy or full for a while; the next round tries again.
                self._workspace.logger.exception("clean-up failed and will be tried again")
            await asyncio.sleep(seconds)

    async def _settle_overdue(self) -> None:
        settled = BATCH_MAX
        while settled == BATCH_MAX:
            settled = len(await self._workspace.ledger.reconcile(BATCH_MAX))

    async def _close_due(self) -> None:
        await close_due_sessions(self._workspace, limit=2**31)
