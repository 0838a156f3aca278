"""A lane: one connection that writes, batch after batch, and knows of each whether it was kept.

A session's operations all go through one lane of a process, so they stay in order; row locks order the lanes
of all processes. A batch that met another one in a deadlock is written again, since nothing of it was kept.
Where the connection is cut, or silent for too long, the lane connects again, for ``busy_seconds``: if the cut
fell into a commit, the lane's own row says whether the batch is in, and so it is neither lost nor done twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from math import inf
from typing import Any, Final, TypeVar

import asyncpg

from prepaid.store.group_commit import BUSY_SECONDS, Batches
from prepaid.store.operations import Operation
from prepaid.store.postgres.batch import apply_batch
from prepaid.store.postgres.book.columns import texts
from prepaid.store.postgres.connection import LOST, Connection, connect, is_lost, raise_translated
from prepaid.store.postgres.locks import names_of, sessions_of

__all__ = ["SETTINGS", "Lane"]

T = TypeVar("T")

SETTINGS: Final = """
  -- A lane's statements look rows up by their keys, whatever a planner thinks of a table that is still small.
  SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
  -- A transaction of ours waits for nobody but the database; what is left of a cut connection must let go.
  SET idle_in_transaction_session_timeout = '10s';
  -- The lane gives up by itself. A limit that ends the wait for a replica makes the server answer too early.
  SET statement_timeout = 0
"""

_TRIES_MAX: Final = 5
"""How often a batch may meet others in conflict before its operations are tried one by one."""

_PAUSE_SECONDS_MIN: Final = 0.02
_PAUSE_SECONDS_MAX: Final = 1.0
_SILENCE_SECONDS_MAX: Final = 10.0
"""How long the server may keep silent, or another process keep a lock, until it is tried anew.

Each answer begins it anew: a batch of many statements may take long where the server is far away, or slow.
"""

_CONFLICTS: Final = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.UniqueViolationError,  # another process brought the same key; the next try finds it
)

_NOW: Final = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

_ENTER: Final = f"""
  INSERT INTO lane VALUES ($1, 0, {_NOW}) ON CONFLICT (lane_id) DO UPDATE SET written_ms = {_NOW}
  RETURNING batch"""

_LEAVE: Final = "DELETE FROM lane WHERE lane_id = $1"

_TAKE_NAMES: Final = """
  SELECT pg_advisory_xact_lock(name) FROM (
    SELECT DISTINCT hashtextextended(name, 0) AS name FROM unnest($1::text[]) AS name ORDER BY 1
  ) AS ordered"""

# The lane's row is written after all locks are there, so what it says is the time of the batch.
_BEGIN: Final = f"""
  WITH locked AS MATERIALIZED (
    SELECT 1 FROM account WHERE session_id = ANY($1::text::text[]) ORDER BY session_id FOR UPDATE
  )
  INSERT INTO lane SELECT $3, $2, {_NOW} FROM (SELECT count(*) FROM locked) AS all_of_them
  ON CONFLICT (lane_id) DO UPDATE SET batch = excluded.batch, written_ms = excluded.written_ms
  RETURNING written_ms"""


class Lane(Batches):
    """``now`` is told the database's time of each batch; ``clock`` replaces it, for tests.

    ``finished`` is told of the operations that were answered.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], int] | None,
        now: Callable[[int], None],
        finished: Callable[[list[Operation]], None],
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        super().__init__()
        self._url = url
        self._clock = clock
        self._now = now
        self._finished = finished
        self._busy_seconds = busy_seconds
        self._lane_id = secrets.token_hex(8)
        self._batch = 0
        self._warnings = 0
        self._connection: Connection | None = None
        self._heard_at = 0.0
        self._patience: asyncio.Timeout | None = None

    async def write(self, operations: list[Operation]) -> list[object]:
        """Apply them in one transaction, through whatever befalls the connection meanwhile."""
        loop = asyncio.get_running_loop()
        self._heard_at, deadline = loop.time(), inf
        written: list[object] = []
        pause, conflicts, in_doubt = _PAUSE_SECONDS_MIN, 0, False
        while True:
            try:
                async with self._patient(deadline):
                    connection, last_batch = await self._connected()
                    if in_doubt and last_batch == self._batch:
                        return written
                    in_doubt = False
                    self._batch += 1
                    written = await self._apply(connection, operations)
                    in_doubt = True
                    await self._confirmed(connection.execute("COMMIT"))
                    return written
            except _CONFLICTS:
                in_doubt = False
                conflicts += 1
                await self._roll_back()
                if conflicts == _TRIES_MAX:
                    raise
                continue
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 -- raised again, or tried again
                if not is_lost(error):
                    await self._roll_back()
                    raise_translated(error, self._url)
                self._cut()
                deadline = min(deadline, self._heard_at + self._busy_seconds)
                if loop.time() + pause >= deadline:
                    raise_translated(error, self._url, in_doubt=in_doubt)
            await _rest(pause)
            pause = min(2 * pause, _PAUSE_SECONDS_MAX)

    def finished(self, operations: list[Operation]) -> None:
        """These were answered."""
        self._finished(operations)

    async def release(self) -> None:
        """Close the connection; the lane's row goes with it."""
        connection = self._connection
        if connection is None:
            return
        with contextlib.suppress(*LOST):
            async with asyncio.timeout(_SILENCE_SECONDS_MAX):
                await connection.execute(_LEAVE, self._lane_id)
                await connection.close()
        self._cut()

    @contextlib.asynccontextmanager
    async def _patient(self, deadline: float) -> AsyncGenerator[None]:
        """Give up what is inside once the server was silent for too long, or says nothing by ``deadline``."""
        silent_until = asyncio.get_running_loop().time() + _SILENCE_SECONDS_MAX
        try:
            async with asyncio.timeout_at(min(silent_until, deadline)) as self._patience:
                yield
        finally:
            self._patience = None

    def _heard(self, _: object) -> None:
        """The server has answered a statement; told in the loop's next round, when all may be over."""
        self._heard_at = asyncio.get_running_loop().time()
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(self._heard_at + _SILENCE_SECONDS_MAX)

    async def _connected(self) -> tuple[Connection, int | None]:
        """The connection; and where it is a new one, the lane's last batch that was kept.

        Asking for it waits until whatever is left of the connection before has committed or given up, and
        returns once that is as durable as the server makes it.
        """
        if self._connection is not None and not self._connection.is_closed():
            return self._connection, None
        connection = await connect(self._url)
        try:
            await connection.execute(SETTINGS)
            connection.add_log_listener(self._told)
            connection.add_query_logger(self._heard)
            last_batch = await self._confirmed(connection.fetchval(_ENTER, self._lane_id))
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        return connection, last_batch

    async def _confirmed(self, commit: Awaitable[T]) -> T:
        """What a statement that commits results in.

        Raises:
            ConnectionAbortedError: the server answered before its replicas had: somebody ended its wait.
        """
        before = self._warnings
        answer = await commit
        if self._warnings != before:
            raise ConnectionAbortedError("the server did not wait for its replica")
        return answer

    def _told(self, _: Connection, message: Any) -> None:
        # A commit of ours has no other reason to warn, and the text is in the language of the server.
        self._warnings += message.severity_en == "WARNING"

    async def _apply(self, connection: Connection, operations: list[Operation]) -> list[object]:
        """Everything but the commit."""
        await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        names = names_of(operations)
        if names:
            await connection.execute(_TAKE_NAMES, names)
        now_ms = await connection.fetchval(_BEGIN, texts(sessions_of(operations)), self._batch, self._lane_id)
        self._now(now_ms)
        return await apply_batch(connection, operations, self._clock() if self._clock else now_ms)

    async def _roll_back(self) -> None:
        if self._connection is not None:
            try:
                await self._connection.execute("ROLLBACK")
            except LOST:
                self._cut()

    def _cut(self) -> None:
        """Be done with the connection; on the server, what was open is rolled back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


async def _rest(seconds: float) -> None:
    """Sleep. An event loop that shuts down cancels it, but what is queued has still to be written."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(seconds)
