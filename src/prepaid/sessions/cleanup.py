"""Clean-up: expired and idle sessions are closed and refunded, overdue holds settled (spec B9, C15).

Work is proportional to what is due: both queues are indexed by their deadlines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from prepaid.store.operations import Closed, CloseIfDue

if TYPE_CHECKING:
    from prepaid.sessions.workspace import Workspace

__all__ = ["Cleaner", "close_due_sessions", "close_idle_sessions"]

BATCH_MAX: Final = 256
SESSIONS_MAX: Final = 2**31
"""More than there can be: all that are due."""

Find = Callable[[int], Awaitable[list[CloseIfDue]]]


async def close_due_sessions(workspace: Workspace, limit: int) -> list[Closed]:
    """Close up to ``limit`` sessions that are due by their own age and expiry."""

    async def due(count: int) -> list[CloseIfDue]:
        now_ms = workspace.store.clock()
        found = await workspace.store.ask(lambda reads: reads.due_sessions(now_ms, count))
        return [CloseIfDue(session_id) for session_id in found]

    return await _close_all(workspace, due, limit)


async def close_idle_sessions(workspace: Workspace, idle_ms: int, limit: int) -> list[Closed]:
    """Close up to ``limit`` live sessions not used for ``idle_ms``, whatever age they were opened with.

    Looks at those alone that no look saw used since; each look tells when it was used in truth.
    """

    async def unseen(count: int) -> list[CloseIfDue]:
        before_ms = workspace.store.clock() - idle_ms
        found = await workspace.store.ask(lambda reads: reads.unseen_sessions(before_ms, count))
        return [CloseIfDue(session_id, idle_ms) for session_id in found]

    return await _close_all(workspace, unseen, limit)


async def _close_all(workspace: Workspace, find: Find, limit: int) -> list[Closed]:
    """Batch after batch: what was looked at is closed, or found again only when it is due again."""
    closed: list[Closed] = []
    before: list[CloseIfDue] = []
    while len(closed) < limit:
        works = await find(min(BATCH_MAX, limit - len(closed)))
        if not works or works == before:  # a damaged row must not be looked at for ever
            break
        closed += await _close(workspace, works)
        before = works
    return closed


async def _close(workspace: Workspace, works: list[CloseIfDue]) -> list[Closed]:
    changes = [workspace.change(workspace.store.submit(work), _teller(workspace)) for work in works]
    outcomes: list[Closed | BaseException | None] = await asyncio.gather(*changes, return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if failures:
        raise failures[0]
    return [outcome for outcome in outcomes if isinstance(outcome, Closed)]


def _teller(workspace: Workspace) -> Callable[[Closed | None], None]:
    def tell(closed: Closed | None) -> None:
        if closed is not None:
            workspace.tell_closed(closed)

    return tell


class Cleaner:
    """The background task of a manager with ``auto_cleanup``."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Settle overdue holds every ``sweep_seconds``, close due sessions every ``cleanup_interval``.

        Doing it again does nothing.
        """
        if self._tasks:
            return
        settings = self._workspace.settings
        interval = settings.sessions.cleanup_interval.total_seconds()
        self._tasks = [
            asyncio.ensure_future(self._every(settings.sweep_seconds, self._settle_overdue)),
            asyncio.ensure_future(self._every(interval, self._close_due)),
        ]

    async def aclose(self) -> None:
        """Stop."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception:
                # Whatever it was, holds and sessions must not wait for ever: the next round tries again.
                self._workspace.logger.exception("clean-up failed and will be tried again")
            await asyncio.sleep(seconds)

    async def _settle_overdue(self) -> None:
        settled = BATCH_MAX
        while settled == BATCH_MAX:
            settled = len(await self._workspace.meter.reconcile(BATCH_MAX))

    async def _close_due(self) -> None:
        await close_due_sessions(self._workspace, SESSIONS_MAX)
