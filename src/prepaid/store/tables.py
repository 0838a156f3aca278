"""All tables as both databases have them, so that a whole database can be carried from one to another.

Each has the columns that mean the same on both sides, its key first. What only places rows in one database
(SQLite's ids of lines and messages, PostgreSQL's lanes) is not carried but made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from prepaid.store.moves import Mark, Stage
from prepaid.store.queries.reads import Reads

__all__ = ["BATCH_ROWS", "OWN", "TABLES", "Place", "Row", "Table"]

T = TypeVar("T")
Row = tuple[Any, ...]

BATCH_ROWS: Final = 2_000
"""How many rows are carried at a time: as much as a crash may have to carry again."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table; the first ``key_length`` columns are its key, in whose order it is carried."""

    name: str
    columns: tuple[str, ...]
    key_length: int = 1
    is_derived: bool = False
    """triggers fill it from other tables: it is compared, not carried"""
    where: str = "true"
    """which rows say something"""

    @property
    def key(self) -> str:
        """The key's columns, as SQL."""
        return ", ".join(self.columns[: self.key_length])

    @property
    def values(self) -> str:
        """All columns, as SQL."""
        return ", ".join(self.columns)


def _table(name: str, key: str, others: str, **options: Any) -> Table:
    leading = tuple(key.split())
    return Table(name, (*leading, *others.split()), len(leading), **options)


# What triggers and SQLite's ranges of ids need comes before what needs it.
TABLES: Final = (
    _table(
        "account",
        "session_id",
        "owner asset state funded available held spent refunded request_count last_used_ms expires_ms"
        " line_count head",
    ),
    _table(
        "session",
        "session_id",
        "name metadata preferences tags created_ms closed_ms current_chat chat_count auto_save idle_ms"
        " due_ms seen_ms",
    ),
    _table("tally", "scope", "n", is_derived=True, where="n <> 0"),
    _table("session_tag", "session_id tag", "state owner", is_derived=True),
    _table(
        "chat",
        "session_id chat_no",
        "name config metadata tags message_max created_ms message_count turn_count spent answering_ms"
        " last_ms open_turn",
    ),
    _table("message", "session_id chat_no seq", "turn kind at_ms body"),
    _table(
        "hold",
        "session_id key",
        "fingerprint amount state captured cost delivered sent expires_ms actor chat_no lease_id key_no",
    ),
    _table("operation", "session_id key", "kind fingerprint status response"),
    _table(
        "transfer",
        "session_id seq",
        "kind debit credit amount key at_ms actor chat_no model input_units output_units digest",
    ),
    _table("pool", "session_id", "cap lease_id pooled_ms"),
    _table("lease", "session_id lease_id", "taker cap reserved spent taken_ms expires_ms ended_ms"),
    _table("setting", "name", "value"),
    _table(
        "api_key",
        "holder number",
        "owner name digest previous_digest previous_until_ms cap reserved spent models created_ms"
        " expires_ms revoked_ms",
    ),
    _table("conversation", "session_id conversation_id", "revision scope updated_us head branches record"),
    _table("conversation_entry", "session_id id", "entry_id parent refs body"),
    _table("agent_history", "session_id chat_no", "item_count"),
    _table("agent_item", "session_id chat_no number", "body"),
    _table("request", "session_id request_id", "state created_ms deadline_ms ended_ms outcome"),
)

OWN: Final = frozenset({"moving", "lane", "prepaid_schema"})
"""What each database has for itself."""


class Place(Protocol):
    """A whole database, from which or into which all is carried. Not for two threads at once."""

    name: str
    """as people read it, without credentials"""

    def mark(self) -> Mark | None:
        """The move that it was last part of."""

    def is_empty(self) -> bool:
        """Nothing was ever written to it."""

    def leave(self, mark: Mark) -> None:
        """Close it: from the return on, no process can change it, however long it has had it open.

        Raises:
            StoreMoved: it is closed already.
        """

    def receive(self, mark: Mark) -> None:
        """Close it to all but whoever carries into it."""

    def advance(self, move_id: str, stage: Stage) -> None:
        """Go on to the next stage; ``ARRIVED`` opens it for use.

        Raises:
            StoreMoved: it is no part of that move any more.
        """

    def reopen(self) -> None:
        """Take changes again, and forget the move."""

    def snapshot(self) -> AbstractContextManager[None]:
        """``rows`` and ``count`` inside see one moment."""

    def count(self, table: Table) -> int:
        """How many rows there are."""

    def rows(self, table: Table, after: Row | None) -> Iterator[list[Row]]:
        """All rows after a key, in the key's order, so many at a time."""

    def last_key(self, table: Table) -> Row | None:
        """The key of the last row that was carried here."""

    @property
    def refuse_unkept(self) -> Callable[[Table, list[Row]], None] | None:
        """Raises ``StoreCorrupted`` for rows that cannot be kept here; ``None`` where all can."""

    def insert(self, move_id: str, table: Table, rows: list[Row]) -> None:
        """Add rows in one transaction, durable on return.

        Raises:
            StoreMoved: it is no part of that move any more.
            StoreBusy: another process carries into it.
        """

    def finish(self) -> None:
        """Make what is not carried. Doing it again changes nothing."""

    def ask(self, question: Callable[[Reads], T]) -> T:
        """Answer a question, however much it reads."""

    def close(self) -> None:
        """Close the connections; again does nothing."""
