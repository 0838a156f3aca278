"""What every query runs on: one read-only connection, errors in our words, and snapshots."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from prepaid.store.sqlite.connection import translated

__all__ = ["Queries"]


class Queries:
    """A connection that only reads. Belongs to the thread it was opened in."""

    def __init__(self, connection: apsw.Connection, clock: Callable[[], int]) -> None:
        self._connection = connection
        self._path = Path(connection.filename)
        self._cursor = connection.cursor()
        self._clock = clock

    def close(self) -> None:
        """Close the connection; again does nothing."""
        self._cursor.close(True)
        self._connection.close(True)

    @contextmanager
    def snapshot(self) -> Generator[None]:
        """All questions inside see the database at one moment, whoever writes meanwhile."""
        self.rows("BEGIN")
        try:
            yield
        finally:
            self.rows("ROLLBACK")

    def rows(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        """All rows of a query."""
        with translated(self._path):
            return self._cursor.execute(sql, values).fetchall()

    def row(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        """The first row of a query, or ``None``."""
        found = self.rows(sql, values)
        return found[0] if found else None
