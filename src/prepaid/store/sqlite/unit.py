"""The unit of work on SQLite: one connection, one transaction at a time, many operations in it.

Handlers (``money``, ``lifecycle``, ``chats``, ``pool``) register for an operation's type with
``@handles``; they return a result, or an error *instance* where the operation is refused. Raising is
for what nobody foresaw, and rolls the whole batch back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import apsw

from prepaid.store.operations import Operation
from prepaid.store.sqlite.checkpoints import Checkpoints
from prepaid.store.sqlite.connection import translated

__all__ = ["Unit", "handles"]

OperationT = TypeVar("OperationT", bound=Operation)
ResultT = TypeVar("ResultT")
Handler = Callable[["Unit", Any], object]
_HANDLERS: dict[type[Operation], Handler] = {}


def handles(
    kind: type[OperationT],
) -> Callable[[Callable[[Unit, OperationT], ResultT]], Callable[[Unit, OperationT], ResultT]]:
    """Register the function that applies operations of this type."""

    def register(handler: Callable[[Unit, OperationT], ResultT]) -> Callable[[Unit, OperationT], ResultT]:
        _HANDLERS[kind] = handler
        return handler

    return register


class Unit:
    """One database transaction, reused. Not for concurrent use."""

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
        """Start writing; ``False`` if another process is writing right now."""
        with translated(self._path):
            try:
                self.run("BEGIN IMMEDIATE")
            except apsw.BusyError:
                return False
            self._last_line = self.one("SELECT max(id) FROM transfer")[0] or 0
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
            return [_HANDLERS[type(operation)](self, operation) for operation in operations]

    def one(self, sql: str, values: tuple[Any, ...] = ()) -> Any:
        """The first row, or ``None``."""
        return self.run(sql, values).fetchone()

    def next_line(self) -> int:
        """The id of the next transfer; nobody else writes while this unit is open."""
        self._last_line += 1
        return self._last_line

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
