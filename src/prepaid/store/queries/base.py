"""What every query runs on: a database that answers, and the few places where their SQL differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

__all__ = ["NO_LIMIT", "Queries", "ReadSql", "Source", "Values"]

Values = Sequence[Any] | Mapping[str, Any]

NO_LIMIT: Final = 2**62
"""More rows than there are."""


@dataclass(frozen=True, slots=True)
class ReadSql:
    """The pieces that each database has its own of; the values that they take are the same."""

    lines: str
    """``WITH …`` that gives the lines of session ``?1`` as ``line``"""
    day: str
    """the day (UTC) of ``at_ms``, as text"""
    ordered_join: str
    """a join that is looked up for one row of its left side after the other, in their order"""
    messages: str
    """session_id, chat_no, after this id, up to this id; gives id, turn, at_ms, kind, body"""
    items: str
    """session_id, chat_no, after this id, up to this id; gives body"""
    rules: Mapping[str, str]
    """the audit's rules on what lies differently: messages, and tags in JSON"""


class Source(Protocol):
    """A database that answers."""

    sql: ReadSql

    def rows(self, sql: str, values: Values = ()) -> list[Any]:
        """All rows of a query."""

    def snapshot(self) -> AbstractContextManager[None]:
        """All questions inside see the database at one moment, whoever writes meanwhile."""

    def damage(self) -> list[str]:
        """What the database itself finds wrong with its files."""

    def close(self) -> None:
        """Close the connection; again does nothing."""


class Queries:
    """Questions to a source. Not for two threads at once."""

    def __init__(self, source: Source, clock: Callable[[], int]) -> None:
        self.source = source
        self.sql = source.sql
        self._clock = clock

    def close(self) -> None:
        """Close the connection; again does nothing."""
        self.source.close()

    def snapshot(self) -> AbstractContextManager[None]:
        """All questions inside see the database at one moment, whoever writes meanwhile."""
        return self.source.snapshot()

    def rows(self, sql: str, values: Values = ()) -> list[Any]:
        """All rows of a query."""
        return self.source.rows(sql, values)

    def row(self, sql: str, values: Values = ()) -> Any:
        """The first row of a query, or ``None``."""
        found = self.rows(sql, values)
        return found[0] if found else None
