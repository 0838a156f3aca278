"""Answers from SQLite: one read-only connection, errors in our words, and snapshots."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import apsw

from prepaid.store.queries.base import ReadSql, Values
from prepaid.store.sqlite.connection import translated
from prepaid.store.sqlite.unit import RANGE

__all__ = ["SqliteSource"]

_SQL: Final = ReadSql(
    # No index holds a session's lines together: they are found from the newest back (docs/decisions.md).
    lines="""
  WITH RECURSIVE line AS (
    SELECT * FROM transfer WHERE id = (SELECT last_line FROM account WHERE session_id = ?1)
    UNION ALL
    SELECT transfer.* FROM line JOIN transfer ON transfer.id = line.previous
    -- A damaged chain may lead in circles.
    LIMIT coalesce((SELECT line_count + 1 FROM account WHERE session_id = ?1), 0)
  )
""",
    day="date(at_ms / 1000, 'unixepoch')",
    ordered_join="CROSS JOIN",
    messages="SELECT id, turn, at_ms, kind, body FROM message WHERE id > ?3 AND id <= ?4 ORDER BY id",
    items="SELECT body FROM agent_item WHERE id > ?3 AND id <= ?4 ORDER BY id",
    rules={
        "a session has the tags it says": """
      SELECT session_id, json_array_length(tags), coalesce(counted, 0) FROM session
      LEFT JOIN (SELECT session_id, count(*) AS counted FROM session_tag GROUP BY session_id) AS kept
        USING (session_id)
      WHERE (SELECT count(DISTINCT value) FROM json_each(tags)) <> coalesce(counted, 0)""",
        "a chat counts its messages, without gaps (guarantee 6)": f"""
      SELECT session_id || '.' || chat_no, message_count, count(message.id) FROM chat
      LEFT JOIN message ON message.id > messages_from AND message.id <= messages_from + {RANGE}
      GROUP BY session_id, chat_no
      HAVING message_count <> count(message.id)
          OR coalesce(max(message.id), messages_from) <> messages_from + message_count
          OR coalesce(max(message.turn), 0) > turn_count""",
    },
)


class SqliteSource:
    """A connection that only reads. Belongs to the thread it was opened in."""

    sql = _SQL

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._path = Path(connection.filename)
        self._cursor = connection.cursor()

    def rows(self, sql: str, values: Values = ()) -> list[Any]:
        """All rows of a query."""
        with translated(self._path):
            return self._cursor.execute(sql, values).fetchall()

    @contextmanager
    def snapshot(self) -> Generator[None]:
        """All questions inside see the database at one moment, whoever writes meanwhile."""
        self.rows("BEGIN")
        try:
            yield
        finally:
            self.rows("ROLLBACK")

    def damage(self) -> list[str]:
        """What the database itself finds wrong with its file, at most 100 entries."""
        return [row[0] for row in self.rows("PRAGMA integrity_check") if row[0] != "ok"]

    def close(self) -> None:
        """Close the connection; again does nothing."""
        self._cursor.close(True)
        self._connection.close(True)
