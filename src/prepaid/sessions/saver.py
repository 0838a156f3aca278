"""Saves changed sessions in the background, so that nothing that changes them waits (spec C10).

A session is saved some time after it changed, once for all its changes meanwhile. A snapshot costs as
much as the session is long, so the next one waits in proportion to what the last one took: saving never
takes more than a twentieth of the time, and a turn costs the same at 10 and at 10,000 messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final

from prepaid.sessions.persistence import SessionPersistenceAdapter
from prepaid.sessions.snapshot import snapshot
from prepaid.store.operations import Operation

if TYPE_CHECKING:
    from prepaid.sessions.workspace import Workspace

__all__ = ["Saver"]

DELAY_SECONDS: Final = 2.0
SAVE_SECONDS_MAX: Final = 30.0
"""An adapter that takes longer has failed."""

_AT_ONCE_MAX: Final = 4
_REST_PER_WORK: Final = 20
_AGAIN_SECONDS: Final = 0.1
_RETRY_SECONDS: Final = 1.0
_RETRY_SECONDS_MAX: Final = 60.0
_RESTING_MAX: Final = 4096


class Saver:
    """The background saving of one manager; ``delay_seconds`` after a change at the earliest.

    An adapter that fails is logged and tried again, each time after twice as long, up to a minute.
    """

    def __init__(
        self, workspace: Workspace, adapter: SessionPersistenceAdapter, delay_seconds: float = DELAY_SECONDS
    ) -> None:
        self.adapter = adapter
        self.delay_seconds = delay_seconds
        self._workspace = workspace
        self._changed: set[str] = set()
        self._queue: list[tuple[float, str]] = []
        self._rests_until: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._saving: dict[asyncio.Task[None], str] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        workspace.store.listen(self.note)

    def note(self, operations: Sequence[Operation]) -> None:
        """These were applied: what they changed is to be saved."""
        for operation in operations:
            session_id = operation.session_id
            if session_id.startswith("ses_") and session_id not in self._changed:
                self._schedule(session_id)

    async def save(self, session_id: str) -> None:
        """Save one session now, whether it changed or not.

        Raises whatever the adapter raises.
        """
        while session_id in self._saving.values():
            await asyncio.wait([task for task, saved in self._saving.items() if saved == session_id])
        self._changed.discard(session_id)
        await self._start(session_id, self._save(session_id))

    async def aclose(self) -> None:
        """Save what is not saved yet; what cannot be is logged. Doing it again does nothing."""
        self._workspace.store.listen(None)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._task = None
        if self._saving:
            await asyncio.wait(self._saving)
        self._queue.clear()
        left = sorted(self._changed)
        self._changed.clear()
        turn = asyncio.Semaphore(_AT_ONCE_MAX)
        await asyncio.gather(*(self._save_last(session_id, turn) for session_id in left))

    async def _save_last(self, session_id: str, turn: asyncio.Semaphore) -> None:
        async with turn:
            try:
                async with asyncio.timeout(SAVE_SECONDS_MAX):
                    await self._save_if_wanted(session_id)
            except Exception:
                self._workspace.logger.exception("session %s could not be saved at shutdown", session_id)

    # --- in the background ---------------------------------------------------------------------------

    def _schedule(self, session_id: str) -> None:
        loop = asyncio.get_running_loop()
        at = max(loop.time() + self.delay_seconds, self._rests_until.get(session_id, 0.0))
        self._changed.add(session_id)
        heapq.heappush(self._queue, (at, session_id))
        self._wake.set()
        if self._task is None:
            self._task = loop.create_task(self._run())

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            pause = self._start_due()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def _start_due(self) -> float | None:
        """Begin to save what is due, as far as there is room; how long to wait then, unless woken."""
        now = asyncio.get_running_loop().time()
        while self._queue and len(self._saving) < _AT_ONCE_MAX:
            at, session_id = self._queue[0]
            if at > now:
                return at - now
            heapq.heappop(self._queue)
            again = self._rests_until.get(session_id, 0.0)
            if session_id in self._saving.values():
                again = now + _AGAIN_SECONDS
            if again > now:
                heapq.heappush(self._queue, (again, session_id))
            elif session_id in self._changed:
                self._changed.discard(session_id)  # what changes from here on is another change
                self._start(session_id, self._save_quietly(session_id))
        return None

    def _start(self, session_id: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._saving[task] = session_id
        task.add_done_callback(self._finish)
        return task

    def _finish(self, task: asyncio.Task[None]) -> None:
        del self._saving[task]
        self._wake.set()

    async def _save_quietly(self, session_id: str) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(SAVE_SECONDS_MAX):
                await self._save_if_wanted(session_id)
        except Exception:
            failures = self._failures.get(session_id, 0)
            pause = min(_RETRY_SECONDS * 2**failures, _RETRY_SECONDS_MAX)
            self._failures[session_id] = failures + 1
            self._workspace.logger.exception(
                "session %s could not be saved and will be tried again in %g s", session_id, pause
            )
            self._rest(session_id, loop.time() + pause)
            self._schedule(session_id)
        else:
            self._failures.pop(session_id, None)
            self._rest(session_id, loop.time() + _REST_PER_WORK * (loop.time() - began))

    def _rest(self, session_id: str, until: float) -> None:
        now = asyncio.get_running_loop().time()
        if len(self._rests_until) >= _RESTING_MAX:
            self._rests_until = {each: at for each, at in self._rests_until.items() if at > now}
        self._rests_until[session_id] = until

    async def _save_if_wanted(self, session_id: str) -> None:
        record = self._workspace.store.reads.session(session_id)
        if record is not None and record.auto_save:
            await self._save(session_id)

    async def _save(self, session_id: str) -> None:
        data = await self._workspace.store.report(lambda reads: snapshot(reads, session_id))
        await self.adapter.save(session_id, data)
