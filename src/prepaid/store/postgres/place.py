"""A whole PostgreSQL database, to carry from or into (``store.tables.Place``)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar

import asyncpg

from prepaid.errors import StoreBusy, StoreCorrupted
from prepaid.store.moves import Mark, Stage, moved
from prepaid.store.postgres.bridge import Bridge
from prepaid.store.postgres.clock import DatabaseClock
from prepaid.store.postgres.connection import Connection, connect, raise_translated, shown_url
from prepaid.store.postgres.greenlets import in_greenlet
from prepaid.store.postgres.schema import migrate
from prepaid.store.postgres.source import WaitingSource
from prepaid.store.queries.reads import Reads
from prepaid.store.tables import BATCH_ROWS, TABLES, Row, Table

__all__ = ["PostgresPlace"]

T = TypeVar("T")

_NOW: Final = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
_BOOLEAN: Final = frozenset({"sent", "auto_save"})
_FOUND_BY: Final = frozenset({"conversation_id", "entry_id", "scope"})
"""Ids of others, which indexes have."""
_INDEXED_BYTES_MAX: Final = 2_600
"""Of the 2,704 bytes of an index's row; the rest is the session's id, a time and the row's own head."""

_CLOSE: Final = """
  CREATE TRIGGER closed BEFORE {events} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_changes()"""

_ANY: Final = "INSERT OR UPDATE OR DELETE OR TRUNCATE"
_LANE: Final = "INSERT OR UPDATE"
"""What a lane's row may not: each batch writes it first, and leaving deletes it."""

_NUMBER_ON: Final = """
  SELECT setval(pg_get_serial_sequence('conversation_entry', 'id'), max(id)) FROM conversation_entry
  HAVING max(id) IS NOT NULL"""


class PostgresPlace:
    """One database, brought to this version.

    Raises:
        StoreError: it cannot be reached, or is from a newer version.
    """

    def __init__(self, url: str) -> None:
        self.name = shown_url(url)
        self._url = url
        self._bridge = Bridge()
        try:
            self._writer: Connection = self._run(_opened(url))
            self._reader: Connection = self._run(connect(url))
            now_ms: int = self._run(self._reader.fetchval(f"SELECT {_NOW}"))
        except BaseException:
            self._bridge.close()
            raise
        self._clock = DatabaseClock(now_ms)

    def mark(self) -> Mark | None:
        """The move that it was last part of."""
        found = self._run(self._reader.fetchrow("SELECT move_id, stage, peer FROM moving"))
        return None if found is None else Mark(found[0], Stage(found[1]), found[2])

    def is_empty(self) -> bool:
        """Nothing was ever written to it."""
        some = " UNION ALL ".join(f"(SELECT 1 FROM {table.name} LIMIT 1)" for table in TABLES)
        return self._run(self._reader.fetchval(f"SELECT NOT EXISTS ({some})")) is True

    def leave(self, mark: Mark) -> None:
        """Close it: every batch writes its lane's row first, so that table is waited for first."""
        self._run(self._leave(mark))

    def receive(self, mark: Mark) -> None:
        """Close it to all but whoever carries into it."""
        self._run(self._receive(mark))

    def advance(self, move_id: str, stage: Stage) -> None:
        """Go on to the next stage."""
        self._run(self._advance(move_id, stage))

    def reopen(self) -> None:
        """Take changes again, and forget the move."""
        self._run(self._reopen())

    @contextmanager
    def snapshot(self) -> Generator[None]:
        """``rows`` and ``count`` inside see one moment."""
        self._run(self._reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        try:
            yield
        finally:
            self._run(self._reader.execute("ROLLBACK"))

    def count(self, table: Table) -> int:
        """How many rows there are."""
        sql = f"SELECT count(*) FROM {table.name} WHERE {table.where}"
        return int(self._run(self._reader.fetchval(sql)))

    def rows(self, table: Table, after: Row | None) -> Iterator[list[Row]]:
        """All rows after a key, in the key's order; inside a ``snapshot``."""
        marks = ", ".join(f"${number}" for number in range(1, table.key_length + 1))
        later = f"AND ({table.key}) > ({marks})" if after else ""
        named = ", ".join(f"{name}::int" if name in _BOOLEAN else name for name in table.columns)
        sql = f"SELECT {named} FROM {table.name} WHERE {table.where} {later} ORDER BY {table.key}"
        cursor = self._run(_declared(self._reader, sql, after or ()))
        while batch := self._run(cursor.fetch(BATCH_ROWS)):
            yield [tuple(row) for row in batch]

    def last_key(self, table: Table) -> Row | None:
        """The key of the last row that was carried here."""
        order = table.key.replace(",", " DESC,") + " DESC"
        sql = f"SELECT {table.key} FROM {table.name} ORDER BY {order} LIMIT 1"
        found = self._run(self._reader.fetchrow(sql))
        return None if found is None else tuple(found)

    def refuse_unkept(self, table: Table, rows: list[Row]) -> None:
        """Nothing, if no text has the character NUL, and no id is too long for an index.

        None that comes through prepaid's doors today is so.
        """
        for row in rows:
            for column, value in zip(table.columns, row, strict=True):
                if isinstance(value, str) and "\0" in value:
                    raise _unkept(table, column, row, "has the character NUL")
                if column in _FOUND_BY and value is not None and len(value.encode()) > _INDEXED_BYTES_MAX:
                    raise _unkept(table, column, row, f"has more than {_INDEXED_BYTES_MAX:,} bytes")

    def insert(self, move_id: str, table: Table, rows: list[Row]) -> None:
        """Add rows in one transaction."""
        flags = [number for number, name in enumerate(table.columns) if name in _BOOLEAN]
        if flags:
            rows = [
                tuple(bool(value) if number in flags else value for number, value in enumerate(row))
                for row in rows
            ]
        self._run(self._insert(move_id, table, rows))

    def finish(self) -> None:
        """Entries are numbered on from here; and the planner is told what there is."""
        self._run(self._writer.execute(_NUMBER_ON))
        self._run(self._writer.execute("ANALYZE"))

    def ask(self, question: Callable[[Reads], T]) -> T:
        """Answer a question."""
        reads = Reads(WaitingSource(self._reader), self._clock)
        return self._run(in_greenlet(question, reads))

    def close(self) -> None:
        """Close the connections; again does nothing."""
        if not self._writer.is_closed():
            self._run(_end(self._writer, self._reader))
        self._bridge.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._bridge.run(work)
        except asyncpg.UniqueViolationError as error:
            raise StoreBusy(f"Another process writes into {self.name} ({error}).") from error
        except Exception as error:  # noqa: BLE001 -- raised again, in our words
            raise_translated(error, self._url)

    async def _leave(self, mark: Mark) -> None:
        async with self._writer.transaction():
            await self._writer.execute("LOCK TABLE lane IN SHARE ROW EXCLUSIVE MODE")
            found = await self._writer.fetchrow("SELECT stage, peer FROM moving WHERE stage <> 'arrived'")
            if found is not None:
                raise moved(self.name, found[0], found[1])
            await self._set(mark)
            await self._writer.execute(_CLOSE.format(events=_LANE, table="lane"))
            for table in TABLES:
                await self._writer.execute(_CLOSE.format(events=_ANY, table=table.name))

    async def _receive(self, mark: Mark) -> None:
        async with self._writer.transaction():
            await self._set(mark)
            await self._writer.execute("DROP TRIGGER IF EXISTS closed ON lane")
            await self._writer.execute(_CLOSE.format(events=_LANE, table="lane"))

    async def _advance(self, move_id: str, stage: Stage) -> None:
        async with self._moving(move_id):
            await self._writer.execute("UPDATE moving SET stage = $1", stage.value)
            if stage is Stage.ARRIVED:
                await self._writer.execute("DROP TRIGGER IF EXISTS closed ON lane")

    async def _reopen(self) -> None:
        async with self._writer.transaction():
            for name in ("lane", *(table.name for table in TABLES)):
                await self._writer.execute(f"DROP TRIGGER IF EXISTS closed ON {name}")
            await self._writer.execute("DELETE FROM moving")

    async def _insert(self, move_id: str, table: Table, rows: list[Row]) -> None:
        async with self._moving(move_id):
            await self._writer.copy_records_to_table(table.name, records=rows, columns=table.columns)

    @asynccontextmanager
    async def _moving(self, move_id: str) -> AsyncGenerator[None]:
        """A transaction of that move, and of no other."""
        async with self._writer.transaction():
            found = await self._writer.fetchval("SELECT move_id FROM moving FOR UPDATE")
            if found != move_id:
                raise StoreBusy(
                    f"The move into or out of {self.name} was given up meanwhile, or another began."
                )
            yield

    async def _set(self, mark: Mark) -> None:
        await self._writer.execute("DELETE FROM moving")
        await self._writer.execute(
            f"INSERT INTO moving VALUES ($1, $2, $3, {_NOW})", mark.move_id, mark.stage.value, mark.peer
        )


def _unkept(table: Table, column: str, row: Row, why: str) -> StoreCorrupted:
    key = ", ".join(map(repr, row[: table.key_length]))[:200]
    return StoreCorrupted(
        f"The {column} of {table.name} ({key}) {why}, which PostgreSQL cannot keep.",
        remedy="Nothing was closed or moved. prepaid does not write it today: take it out or stay on SQLite.",
    )


async def _opened(url: str) -> Connection:
    connection = await connect(url)
    await migrate(connection)
    return connection


async def _declared(connection: Connection, sql: str, values: Row) -> Any:
    return await connection.cursor(sql, *values)


async def _end(*connections: Connection) -> None:
    for connection in connections:
        connection.terminate()
