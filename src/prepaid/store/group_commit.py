"""Group commit: the one write path. Many callers, one writer, one sync for all that wait.

While a commit syncs (in a thread, the GIL released), new operations queue up; the next batch takes
them all. There is no timer: a lone caller waits for one sync, a crowd shares it. SQLite's statements run
on the event loop's own thread, because a second Python thread would wait for the GIL at every one.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol, TypeVar

from prepaid.errors import PrepaidError, StoreBusy, StoreError
from prepaid.store.operations import Operation, Probe

__all__ = ["BUSY_SECONDS", "QUEUE_MAX", "Batches", "GroupCommit", "UnitOfWork"]

T = TypeVar("T")

BATCH_MAX: Final = 256
QUEUE_MAX: Final = 16_384
BUSY_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.0002


class UnitOfWork(Protocol):
    """What a database that blocks must offer."""

    def begin(self) -> bool:
        """Start writing; ``False`` if another process is writing right now."""

    def begin_within(self, seconds: float, poll_seconds: float) -> bool:
        """``begin``, tried for so long; blocks."""

    def apply(self, operations: list[Operation]) -> list[object]:
        """Each operation's result, or the error instance that refuses it."""

    def commit(self) -> None:
        """Make it durable; blocks until the sync is done."""

    def rollback(self) -> None:
        """Undo everything since ``begin``."""

    def close(self) -> None:
        """Close the connection; again does nothing."""


Waiting = tuple[Operation, asyncio.Future[Any]]


class Batches(ABC):
    """Takes operations one by one, has them written in batches, answers after the commit.

    Belongs to the event loop that it is first used on.
    """

    def __init__(self) -> None:
        self._queue: deque[Waiting] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._closed = False
        self._probing: asyncio.Future[None] | None = None
        self.listener: Callable[[list[Operation]], None] | None = None

    @abstractmethod
    async def write(self, operations: list[Operation]) -> list[object]:
        """Apply them in one transaction, durable on return; on any error nothing of it remains.

        Results, or the error instances that refuse an operation. It is not to be cancelled.
        """

    def finished(self, operations: list[Operation]) -> None:  # noqa: B027 -- not all have to know
        """These were answered, one way or another."""

    @abstractmethod
    async def release(self) -> None:
        """Close the database; again does nothing."""

    def submit(self, operation: Operation) -> asyncio.Future[Any]:
        """Queue an operation; the future has its result once that is durable.

        Operations are applied in the order they were submitted in. Cancelling the future does not
        take the operation back.

        Raises:
            StoreBusy: the queue is full. Refusals and failures come through the future.
        """
        if self._closed:
            raise StoreError("The store is closed.", remedy="Open it again.")
        if len(self._queue) >= QUEUE_MAX:
            raise StoreBusy(f"{QUEUE_MAX} operations are waiting for the database already.")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append((operation, future))
        if self._writer is None:
            self._start()
        return future

    def probe(self) -> asyncio.Future[None]:
        """Queue a change of nothing, or share the one that waits: resolved once it is written.

        Raises:
            StoreBusy: the queue is full.
        """
        if self._probing is None or self._probing.done():
            self._probing = self.submit(Probe())
            self._probing.add_done_callback(_observe)
        return self._probing

    @property
    def queued(self) -> int:
        """How many operations wait to be written."""
        return len(self._queue)

    async def aclose(self) -> None:
        """Finish what is queued, then close the database. Doing it again does nothing."""
        self._closed = True
        while self._writer is not None:
            await asyncio.wait([self._writer])
        await self.release()

    def _start(self) -> None:
        self._writer = asyncio.get_running_loop().create_task(self._drain())
        self._writer.add_done_callback(self._ended)

    def _ended(self, _: asyncio.Task[None]) -> None:
        self._writer = None
        if self._queue:  # cancelled before it began
            self._start()

    async def _drain(self) -> None:
        while self._queue:
            # Let the callers just answered queue their next operation, so that batches stay whole.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
            batch = self._take()
            try:
                await self._write(batch)
            except StoreError as error:
                _fail(batch, error)
            except Exception:  # noqa: BLE001 -- whatever it is, only its own operation may fail
                await self._write_singly(batch)
            self.finished([operation for operation, _ in batch])

    def _take(self) -> list[Waiting]:
        return [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_MAX))]

    async def _write(self, batch: list[Waiting]) -> None:
        operations = [operation for operation, _ in batch]
        results = await self.write(operations)
        for (_, future), result in zip(batch, results, strict=True):
            _answer(future, result)
        self._announce(operations)

    def _announce(self, operations: list[Operation]) -> None:
        if self.listener is None:
            return
        try:
            self.listener(operations)
        except Exception as error:  # noqa: BLE001 -- the batch is durable: it must not be written again
            message = "A listener to the store's operations failed."
            asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})

    async def _write_singly(self, batch: list[Waiting]) -> None:
        """Replay a batch that failed unexpectedly, so that only the culprit fails."""
        for waiting in batch:
            try:
                await self._write([waiting])
            except Exception as error:  # noqa: BLE001 -- it goes to its own caller, whatever it is
                _fail([waiting], error)


class GroupCommit(Batches):
    """Batches for a database that blocks: statements on the event loop, the sync in a thread."""

    def __init__(self, unit: UnitOfWork, *, busy_seconds: float = BUSY_SECONDS) -> None:
        super().__init__()
        self._unit = unit
        self._busy_seconds = busy_seconds
        self._syncer = ThreadPoolExecutor(1, thread_name_prefix="prepaid-sync")

    async def write(self, operations: list[Operation]) -> list[object]:
        """Apply them in one transaction."""
        try:
            await self._begin()
            results = self._unit.apply(operations)
            await self._in_thread(self._unit.commit)
        except Exception:
            self._unit.rollback()
            raise
        return results

    async def release(self) -> None:
        """Close the database."""
        self._syncer.shutdown()
        self._unit.close()

    async def _begin(self) -> None:
        if self._unit.begin():
            return
        if not await self._in_thread(self._unit.begin_within, self._busy_seconds, _POLL_SECONDS):
            raise StoreBusy(f"Another process has held the database for over {self._busy_seconds:g} s.")

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """Run it in the syncer's thread, to its end.

        When an event loop shuts down, it cancels the writer with all other tasks. Their last operations
        still have to be written, and never while a commit is under way.
        """
        running = asyncio.get_running_loop().run_in_executor(self._syncer, work, *arguments)
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        return running.result()


def _answer(future: asyncio.Future[Any], result: object) -> None:
    if future.done():  # the caller gave up waiting; what was done stays done
        return
    if isinstance(result, PrepaidError):
        future.set_exception(result)
        return
    future.set_result(result)


def _observe(probing: asyncio.Future[None]) -> None:
    """Whoever asked may not wait any more for how it failed."""
    if not probing.cancelled():
        probing.exception()


def _fail(batch: list[Waiting], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(_copy(error))


def _copy(error: Exception) -> Exception:
    """The same error for another waiter: one instance would gather the tracebacks of all of them."""
    copied = type(error).__new__(type(error), *error.args)
    vars(copied).update(vars(error))
    copied.__cause__ = error.__cause__
    return copied
