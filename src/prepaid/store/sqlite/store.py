"""The embedded store: one SQLite file, any number of processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from prepaid.errors import StoreError
from prepaid.store import handlers
from prepaid.store.group_commit import BUSY_SECONDS, GroupCommit
from prepaid.store.operations import Operation
from prepaid.store.queries.reads import Reads
from prepaid.store.sqlite.connection import open_reader, open_writer
from prepaid.store.sqlite.source import SqliteSource
from prepaid.store.sqlite.unit import Unit

__all__ = ["SqliteStore", "now_ms"]

assert handlers, "importing them registers them"

T = TypeVar("T")

_REPORTS_MAX: Final = 3
"""How many reports are made at a time, in threads that nothing else needs."""


def now_ms() -> int:
    """Milliseconds since the epoch; SQLite has no server clock, so the machine's is the database's."""
    return time.time_ns() // 1_000_000


class SqliteStore:
    """Operations go through one writer and are durable when answered; reads go beside it.

    Raises:
        StoreError: the file cannot be opened, is damaged, or was written by a newer version.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], int] | None = None,
        vfs: str | None = None,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        self.path = path
        self.clock = clock or now_ms
        self._vfs = vfs
        connection = open_writer(path, vfs=vfs)
        try:
            self.reads = self._open_reads()
            unit = Unit(connection, self.clock)
        except BaseException:
            connection.close(True)
            raise
        self._reporters = ThreadPoolExecutor(_REPORTS_MAX, thread_name_prefix="prepaid-report")
        self._writer = GroupCommit(unit, busy_seconds=busy_seconds)

    def submit(self, operation: Operation) -> asyncio.Future[Any]:
        """Queue a change; await the future for its result, durable by then.

        Raises:
            StoreBusy: the queue is full.
        """
        return self._writer.submit(operation)

    def listen(self, listener: Callable[[list[Operation]], None] | None) -> None:
        """Tell ``listener`` of every batch of operations once it is durable, refused ones included."""
        self._writer.listener = listener

    @property
    def queued(self) -> int:
        """How many changes wait to be written."""
        return self._writer.queued

    async def probe(self) -> None:
        """Return once something was written that changes nothing, in its turn; a few who ask share one.

        Raises:
            StoreError: it could not be.
        """
        await asyncio.shield(self._writer.probe())

    async def ask(self, question: Callable[[Reads], T]) -> T:
        """Answer a bounded question; here at once, which costs less than a thread's wake-up."""
        return question(self.reads)

    def aside(self, work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """``work`` itself: its ``reads`` take no time that somebody else could use."""
        return work

    async def report(self, question: Callable[[Reads], T]) -> T:
        """Answer an unbounded question in a thread, on a connection of its own; a few at a time."""
        try:
            made = asyncio.get_running_loop().run_in_executor(self._reporters, self._answer, question)
        except RuntimeError as error:  # the threads were sent home
            raise StoreError("The store is closed.", remedy="Open it again.") from error
        return await made

    async def aclose(self) -> None:
        """Finish what is queued and close the file."""
        await self._writer.aclose()
        self._reporters.shutdown(wait=False)
        self.reads.close()

    def _open_reads(self) -> Reads:
        return Reads(SqliteSource(open_reader(self.path, vfs=self._vfs)), self.clock)

    def _answer(self, question: Callable[[Reads], T]) -> T:
        reads = self._open_reads()
        try:
            return question(reads)
        finally:
            reads.close()
