"""The unit of work on SQLite: one connection, one transaction at a time, many operations in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import apsw

from prepaid.store.lines import payload
from prepaid.store.moves import moved
from prepaid.store.operations import Operation
from prepaid.store.sqlite.checkpoints import Checkpoints
from prepaid.store.sqlite.connection import translated
from prepaid.store.unit import LineFields, WriteSql, apply

__all__ = ["RANGE", "Unit"]

RANGE: Final = 2**31
"""How many ids each chat's messages, and each history's items, have for themselves."""

_BEGIN: Final = """
  SELECT (SELECT coalesce(max(id), 0) FROM transfer), moving.stage, moving.peer
  FROM (SELECT 1) LEFT JOIN moving ON stage <> 'arrived'"""

_EXTEND: Final = """
  UPDATE account SET line_count = line_count + 1, last_line = ?, previous_line = last_line,
    head = line_digest(head, line_count + 1, ?)
  WHERE session_id = ? RETURNING previous_line, line_count, head"""

_CAPTURE: Final = """
  UPDATE account SET available = available + ?1 - ?2, held = held - ?1, spent = spent + ?2,
    request_count = request_count + 1, last_used_ms = ?3, line_count = line_count + 1,
    last_line = ?4, previous_line = last_line, head = line_digest(head, line_count + 1, ?5)
  WHERE session_id = ?6
  RETURNING previous_line, line_count, head, state, available, owner"""

_INSERT_LINE: Final = "INSERT INTO transfer VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

# A chat's messages (a history's items) lie in a range of ids of their own, so their rows need no other key.
_SQL: Final = WriteSql(
    messages_from=f"SELECT coalesce(max(messages_from) + {RANGE}, 0) FROM chat",
    insert_message="INSERT INTO message VALUES (?3, ?4, ?5, ?6, ?7)",
    delete_message="DELETE FROM message WHERE id = ?3 RETURNING kind, body",
    delete_messages="DELETE FROM message WHERE id BETWEEN ?3 AND ?4",
    items_from=f"SELECT coalesce(max(items_from) + {RANGE}, 0) FROM agent_history",
    insert_item="INSERT INTO agent_item VALUES (?3, ?4)",
    delete_item="DELETE FROM agent_item WHERE id = ?3 RETURNING body",
    delete_items="DELETE FROM agent_item WHERE id BETWEEN ?3 AND ?4",
    # CROSS JOIN keeps the order of the pool, so that only the first few accounts are looked at.
    free_in_pool="""
  SELECT pool.session_id, pool.cap, account.owner FROM pool CROSS JOIN account USING (session_id)
  WHERE lease_id IS NULL AND account.state = 0 AND (account.expires_ms IS NULL OR account.expires_ms > ?)
  ORDER BY pooled_ms, session_id LIMIT 1""",
)


class Unit:
    """One database transaction, reused. Not for concurrent use."""

    sql = _SQL

    def __init__(self, connection: apsw.Connection, clock: Callable[[], int]) -> None:
        self._connection = connection
        self._path = Path(connection.filename)
        self._cursor = connection.cursor()
        self._clock = clock
        self._checkpoints = Checkpoints(connection)
        self.run: Callable[..., Any] = self._cursor.execute
        self.now_ms = 0
        self._last_line = 0

    def begin(self) -> bool:
        """Start writing; ``False`` if another process is writing right now.

        Raises:
            StoreMoved: the database is closed for a move (``store.moves``), or was moved.
        """
        with translated(self._path):
            try:
                self.run("BEGIN IMMEDIATE")
            except apsw.BusyError:
                return False
            self._last_line, stage, peer = self.one(_BEGIN)
            if stage is not None:
                self.rollback()
                raise moved(str(self._path), stage, peer)
        self.now_ms = self._clock()
        return True

    def begin_within(self, seconds: float, poll_seconds: float) -> bool:
        """``begin``, tried again every ``poll_seconds``; blocks, so call it off the event loop.

        Polling evenly is fairer between processes than SQLite's own back-off, which starves.
        """
        deadline = time.monotonic() + seconds
        while not self.begin():
            if time.monotonic() > deadline:
                return False
            time.sleep(poll_seconds)
        return True

    def apply(self, operations: list[Operation]) -> list[object]:
        """Each operation's result, or the error instance that refuses it."""
        with translated(self._path):
            return [apply(self, operation) for operation in operations]

    def one(self, sql: str, values: tuple[Any, ...] = ()) -> Any:
        """The first row, or ``None``."""
        return self.run(sql, values).fetchone()

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """All rows."""
        found: list[Any] = self.run(sql, values).fetchall()
        return found

    def touch(self) -> None:
        """Write the header's page as it is: of a row that stays the same, SQLite would write nothing."""
        (version,) = self.one("PRAGMA user_version")
        self.run(f"PRAGMA user_version = {version}")

    def lock(self, session_id: str) -> None:
        """Nobody else writes while this unit is open, to any session."""

    def append_line(self, session_id: str, line: LineFields) -> None:
        """Extend a session's chain by one line."""
        self._last_line += 1
        previous, seq, head = self.one(_EXTEND, (self._last_line, payload(*line), session_id))
        self.run(_INSERT_LINE, (self._last_line, previous, session_id, seq, *line, head))

    def append_capture(
        self, session_id: str, amount: int, captured: int, line: LineFields
    ) -> tuple[int, int, str]:
        """Take a capture out of a hold and extend the chain."""
        self._last_line += 1
        values = (amount, captured, self.now_ms, self._last_line, payload(*line), session_id)
        previous, seq, head, state, available, owner = self.one(_CAPTURE, values)
        self.run(_INSERT_LINE, (self._last_line, previous, session_id, seq, *line, head))
        return state, available, owner

    @property
    def changes(self) -> int:
        """Rows changed by the last statement."""
        return self._connection.changes()

    def commit(self) -> None:
        """Make it durable; returns after the sync. Blocks, so call it off the event loop."""
        with translated(self._path):
            self.run("COMMIT")

    def rollback(self) -> None:
        """Undo everything since ``begin``; harmless where SQLite already did."""
        if self._connection.in_transaction:
            with translated(self._path):
                self.run("ROLLBACK")

    def close(self) -> None:
        """Close the connection; the last one out checkpoints the log."""
        self._checkpoints.close()
        self._cursor.close(True)
        self._connection.close(True)
