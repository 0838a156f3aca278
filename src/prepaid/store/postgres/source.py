"""Answers from PostgreSQL: to those who can wait in a greenlet, and to plain code, which may block."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from prepaid.store.postgres.bridge import Bridge
from prepaid.store.postgres.connection import LOST, Connection, connect, raise_translated
from prepaid.store.postgres.dialect import named, numbered
from prepaid.store.postgres.greenlets import is_aside, waited
from prepaid.store.postgres.readers import Readers
from prepaid.store.queries.base import ReadSql, Values

__all__ = ["PlainSource", "WaitingSource"]

_SQL: Final = ReadSql(
    lines="WITH line AS (SELECT * FROM transfer WHERE session_id = ?1)",
    day="to_char(to_timestamp(at_ms / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    ordered_join="JOIN",
    messages="""
  SELECT seq, turn, at_ms, kind, body FROM message
  WHERE session_id = ? AND chat_no = ? AND seq > ? AND seq <= ? ORDER BY seq""",
    items="""
  SELECT body FROM agent_item
  WHERE session_id = ? AND chat_no = ? AND number > ? AND number <= ? ORDER BY number""",
    rules={
        "a session has the tags it says": """
      SELECT session_id, json_array_length(tags::json), coalesce(counted, 0) FROM session
      LEFT JOIN (SELECT session_id, count(*) AS counted FROM session_tag GROUP BY session_id) AS kept
        USING (session_id)
      WHERE coalesce(counted, 0) <> (
        SELECT count(DISTINCT tag) FROM json_array_elements_text(tags::json) AS tag)""",
        "a chat counts its messages, without gaps (guarantee 6)": """
      SELECT session_id || '.' || chat_no, message_count, coalesce(counted, 0) FROM chat
      LEFT JOIN (SELECT session_id, chat_no, count(*) AS counted, min(seq) AS first, max(seq) AS last,
                   max(turn) AS turns
                 FROM message GROUP BY session_id, chat_no) AS kept USING (session_id, chat_no)
      WHERE message_count <> coalesce(counted, 0) OR coalesce(last, 0) <> message_count OR first <> 1
         OR turns > turn_count""",
    },
)


_SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_READ_SECONDS_MAX: Final = 10.0


class WaitingSource:
    """For questions that ``in_greenlet`` asks, on one connection."""

    sql = _SQL

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, values: Values = ()) -> list[Any]:
        """All rows of a query."""
        text, ordered = _statement(sql, values)
        return [tuple(row) for row in waited(self._connection.fetch(text, *ordered))]

    @contextmanager
    def snapshot(self) -> Generator[None]:
        """All questions inside see the database at one moment."""
        waited(self._connection.execute(_SNAPSHOT))
        try:
            yield
        finally:
            waited(self._connection.execute("ROLLBACK"))

    def damage(self) -> list[str]:
        """Nothing: a page that is damaged fails the query that reads it."""
        return []

    def close(self) -> None:
        """The connection is whoever's took it."""


class PlainSource:
    """For plain code. Below ``aside`` the event loop goes on meanwhile; else the thread that asks waits."""

    sql = _SQL

    def __init__(self, url: str, bridge: Bridge, readers: Readers) -> None:
        self._url = url
        self._bridge = bridge
        self._readers = readers
        self._connection: Connection | None = None
        self._is_snapshot = False

    def rows(self, sql: str, values: Values = ()) -> list[Any]:
        """All rows of a query.

        Raises:
            StoreError: the server does not answer.
        """
        text, ordered = _statement(sql, values)
        if is_aside() and not self._is_snapshot:
            return waited(self._readers.ask(lambda connection: _fetched(connection, text, ordered)))
        return self._bridge.run(self._rows(text, ordered))

    @contextmanager
    def snapshot(self) -> Generator[None]:
        """All questions inside see the database at one moment; they block."""
        self._bridge.run(self._rows(_SNAPSHOT, ()))
        self._is_snapshot = True
        try:
            yield
        finally:
            self._is_snapshot = False
            self._bridge.run(self._rows("ROLLBACK", ()))

    def damage(self) -> list[str]:
        """Nothing: a page that is damaged fails the query that reads it."""
        return []

    def close(self) -> None:
        """Close the connection; again does nothing."""
        if self._connection is not None:
            self._bridge.run(self._cut())

    async def _rows(self, text: str, values: Sequence[Any]) -> list[Any]:
        """On a new connection where the old one was cut: for these few it is worth one try."""
        try:
            async with asyncio.timeout(_READ_SECONDS_MAX):
                try:
                    return await self._asked(text, values)
                except LOST:
                    await self._cut()
                    if self._is_snapshot:
                        raise
                    return await self._asked(text, values)
        except Exception as error:  # noqa: BLE001 -- raised again, in our words
            await self._cut()
            raise_translated(error, self._url)

    async def _asked(self, text: str, values: Sequence[Any]) -> list[Any]:
        if self._connection is None:
            self._connection = await connect(self._url)
        return await _fetched(self._connection, text, values)

    async def _cut(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


async def _fetched(connection: Connection, text: str, values: Sequence[Any]) -> list[Any]:
    return [tuple(row) for row in await connection.fetch(text, *values)]


def _statement(sql: str, values: Values) -> tuple[str, Sequence[Any]]:
    if isinstance(values, Mapping):
        return named(sql, values)
    return numbered(sql), values
