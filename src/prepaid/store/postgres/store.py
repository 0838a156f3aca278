"""The store on PostgreSQL: any number of processes on any number of machines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from prepaid.errors import StoreError
from prepaid.store import handlers
from prepaid.store.group_commit import BUSY_SECONDS
from prepaid.store.operations import Operation
from prepaid.store.postgres.bridge import Bridge
from prepaid.store.postgres.clock import DatabaseClock
from prepaid.store.postgres.connection import connect, raise_translated
from prepaid.store.postgres.greenlets import aside, in_greenlet
from prepaid.store.postgres.lane import Lane
from prepaid.store.postgres.readers import Readers
from prepaid.store.postgres.schema import migrate
from prepaid.store.postgres.source import PlainSource, WaitingSource
from prepaid.store.postgres.ways import Ways
from prepaid.store.queries.reads import Reads

__all__ = ["PostgresStore"]

assert handlers, "importing them registers them"

T = TypeVar("T")

LANES: Final = 4
_REPORTS_MAX: Final = 3
"""How many reports are made at a time: each has a connection, for as long as it reads."""


class PostgresStore:
    """Operations go through lanes and are durable when answered; reads go beside them.

    ``clock`` replaces the database's time, for tests.

    Raises:
        StoreError: the server does not answer, or the database was written by a newer version.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], int] | None = None,
        lanes: int = LANES,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        self.url = url
        self._bridge = Bridge()
        try:
            database_clock = DatabaseClock(self._bridge.run(_opened(url)))
        except BaseException:
            self._bridge.close()
            raise
        self.clock: Callable[[], int] = clock or database_clock
        self._ways = Ways(lanes)
        self._lanes = [
            Lane(
                url,
                clock=clock,
                now=database_clock.told,
                finished=self._ways.leave,
                busy_seconds=busy_seconds,
            )
            for _ in range(lanes)
        ]
        self._readers = Readers(url)
        self._reporting = asyncio.Semaphore(_REPORTS_MAX)
        self.reads = Reads(PlainSource(url, self._bridge, self._readers), self.clock)

    def submit(self, operation: Operation) -> asyncio.Future[Any]:
        """Queue a change; await the future for its result, durable by then.

        Operations of one session are applied in the order they were submitted in, and so are those that
        open sessions of one owner and fill their deposit.

        Raises:
            StoreBusy: the queue is full.
        """
        lane = self._lanes[self._ways.enter(operation)]
        try:
            return lane.submit(operation)
        except StoreError:
            self._ways.leave([operation])
            raise

    def listen(self, listener: Callable[[list[Operation]], None] | None) -> None:
        """Tell ``listener`` of every batch of operations once it is durable, refused ones included."""
        for lane in self._lanes:
            lane.listener = listener

    @property
    def queued(self) -> int:
        """How many changes wait to be written."""
        return sum(lane.queued for lane in self._lanes)

    async def probe(self) -> None:
        """Return once one lane has written something that changes nothing; a few who ask share it.

        A lane may wait for somebody who has locked one session; nothing can be written where all fail.

        Raises:
            StoreError: none could.
        """
        probing: set[asyncio.Future[None]] = {lane.probe() for lane in self._lanes}
        while True:
            done, probing = await asyncio.wait(probing, return_when=asyncio.FIRST_COMPLETED)
            failures = [each.exception() for each in done]
            if None in failures:
                return
            if not probing:
                raise next(each for each in failures if each is not None)

    async def ask(self, question: Callable[[Reads], T]) -> T:
        """Answer a bounded question while the event loop goes on."""
        return await self._readers.ask(
            lambda connection: in_greenlet(question, Reads(WaitingSource(connection), self.clock))
        )

    def aside(self, work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """``work``, during whose ``reads`` the event loop goes on."""
        return aside(work)

    async def report(self, question: Callable[[Reads], T]) -> T:
        """Answer an unbounded question in a thread, on a connection of its own; a few at a time."""
        async with self._reporting:
            return await asyncio.to_thread(lambda: asyncio.run(self._reported(question)))

    async def aclose(self) -> None:
        """Finish what is queued and close the connections."""
        await asyncio.gather(*(lane.aclose() for lane in self._lanes))
        await self._readers.aclose()
        self.reads.close()
        self._bridge.close()

    async def _reported(self, question: Callable[[Reads], T]) -> T:
        try:
            connection = await connect(self.url)
            try:
                return await in_greenlet(question, Reads(WaitingSource(connection), self.clock))
            finally:
                connection.terminate()
        except Exception as error:  # noqa: BLE001 -- raised again, in our words
            raise_translated(error, self.url)


# A process that was killed leaves its lanes' rows behind.
_FORGET: Final = """
  DELETE FROM lane WHERE written_ms < (extract(epoch FROM clock_timestamp()) - 7 * 86400) * 1000"""

_NOW: Final = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"


async def _opened(url: str) -> int:
    """Bring the schema to this version; the server's time."""
    try:
        connection = await connect(url)
        try:
            await migrate(connection)
            await connection.execute(_FORGET)
            now_ms: int = await connection.fetchval(_NOW)
        finally:
            connection.terminate()
    except Exception as error:  # noqa: BLE001 -- raised again, in our words
        raise_translated(error, url)
    return now_ms
