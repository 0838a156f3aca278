"""The unit of work on PostgreSQL, for handlers that run in a greenlet: a statement is a round trip."""

from __future__ import annotations

from typing import Any, Final

from prepaid.store.lines import payload
from prepaid.store.postgres.connection import Connection
from prepaid.store.postgres.dialect import WRITE_SQL, numbered
from prepaid.store.postgres.greenlets import waited
from prepaid.store.unit import LineFields

__all__ = ["Unit"]

_LOCK: Final = "SELECT 1 FROM account WHERE session_id = $1 FOR UPDATE"

_EXTEND: Final = """
  WITH line AS (
    UPDATE account SET line_count = line_count + 1, head = line_digest(head, line_count + 1, $2)
    WHERE session_id = $1 RETURNING line_count, head
  )
  INSERT INTO transfer
  SELECT $1, line_count, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, head FROM line"""

_CAPTURE: Final = """
  UPDATE account SET available = available + $1 - $2, held = held - $1, spent = spent + $2,
    request_count = request_count + 1, last_used_ms = $3
  WHERE session_id = $4 RETURNING state, available, owner"""


class Unit:
    """One transaction, of which the lane takes care. Not for concurrent use."""

    sql = WRITE_SQL

    def __init__(self, connection: Connection, now_ms: int) -> None:
        self._connection = connection
        self.now_ms = now_ms
        self.changes = 0

    def run(self, sql: str, values: tuple[Any, ...] = ()) -> None:
        """Change something; ``changes`` says how many rows."""
        status: str = waited(self._connection.execute(numbered(sql), *values))
        self.changes = int(status.rpartition(" ")[2])

    def one(self, sql: str, values: tuple[Any, ...] = ()) -> Any:
        """The first row, or ``None``."""
        return waited(self._connection.fetchrow(numbered(sql), *values))

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """All rows."""
        found: list[Any] = waited(self._connection.fetch(numbered(sql), *values))
        return found

    def touch(self) -> None:
        """The lane's own row is written with every batch."""

    def lock(self, session_id: str) -> None:
        """Keep others from a session that the operation did not name."""
        waited(self._connection.execute(_LOCK, session_id))

    def append_line(self, session_id: str, line: LineFields) -> None:
        """Extend a session's chain by one line."""
        waited(self._connection.execute(_EXTEND, session_id, payload(*line), *line))

    def append_capture(
        self, session_id: str, amount: int, captured: int, line: LineFields
    ) -> tuple[int, int, str]:
        """Take a capture out of a hold and extend the chain."""
        row = waited(self._connection.fetchrow(_CAPTURE, amount, captured, self.now_ms, session_id))
        self.append_line(session_id, line)
        return tuple(row)
