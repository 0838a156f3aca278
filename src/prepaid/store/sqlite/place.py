"""A whole SQLite file, to carry from or into (``store.tables.Place``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw

from prepaid.errors import StoreBusy
from prepaid.store.group_commit import BUSY_SECONDS
from prepaid.store.moves import Mark, Stage, moved
from prepaid.store.queries.reads import Reads
from prepaid.store.sqlite.connection import open_private, open_reader, open_writer, translated
from prepaid.store.sqlite.source import SqliteSource
from prepaid.store.sqlite.store import now_ms
from prepaid.store.sqlite.unit import RANGE
from prepaid.store.tables import BATCH_ROWS, TABLES, Row, Table

__all__ = ["SqlitePlace", "copy_pages"]

T = TypeVar("T")

_POLL_SECONDS: Final = 0.0002
"""As other writers do; SQLite's own back-off would never get its turn among them."""

_FROM: Final = {
    "message": f"""
  SELECT session_id, chat_no, message.id - messages_from AS seq, turn, kind, at_ms, body
  FROM chat CROSS JOIN message ON message.id > messages_from AND message.id <= messages_from + {RANGE}""",
    "agent_item": f"""
  SELECT session_id, chat_no, agent_item.id - items_from AS number, body
  FROM agent_history CROSS JOIN agent_item
    ON agent_item.id > items_from AND agent_item.id <= items_from + {RANGE}""",
}
"""Tables whose rows have no key of text: their ids lie in ranges."""

_INTO: Final = {
    "chat": f"""
  INSERT INTO chat ({{columns}}, messages_from)
  VALUES ({{values}}, (SELECT coalesce(max(messages_from) + {RANGE}, 0) FROM chat))""",
    "agent_history": f"""
  INSERT INTO agent_history ({{columns}}, items_from)
  VALUES ({{values}}, (SELECT coalesce(max(items_from) + {RANGE}, 0) FROM agent_history))""",
    "message": """
  INSERT INTO message SELECT messages_from + ?3, ?4, ?5, ?6, ?7 FROM chat
  WHERE session_id = ?1 AND chat_no = ?2""",
    "agent_item": """
  INSERT INTO agent_item SELECT items_from + ?3, ?4 FROM agent_history
  WHERE session_id = ?1 AND chat_no = ?2""",
    # A session's lines come one after the other, so the one before has the id before.
    "transfer": """
  INSERT INTO transfer (id, previous, {columns})
  SELECT last + 1, iif(?2 > 1, last, NULL), {values} FROM (SELECT coalesce(max(id), 0) AS last FROM transfer)
    """,
}

_LINK: Final = """
  UPDATE account SET last_line = line.id, previous_line = line.previous
  FROM (SELECT session_id, max(id) AS id, previous FROM transfer GROUP BY session_id) AS line
  WHERE line.session_id = account.session_id AND last_line IS NOT line.id"""


class SqlitePlace:
    """One file, made where there is none, and brought to this version.

    Raises:
        StoreError: it cannot be opened, is damaged, or from a newer version.
    """

    refuse_unkept: Final = None  # it keeps any text

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.name = str(self.path)
        self._writer = open_writer(path)
        self._reader = open_reader(path)
        self._reader.execute("PRAGMA temp_store = FILE")  # whole tables are sorted

    def mark(self) -> Mark | None:
        """The move that it was last part of."""
        found = self._all("SELECT move_id, stage, peer FROM moving")
        return Mark(found[0][0], Stage(found[0][1]), found[0][2]) if found else None

    def is_empty(self) -> bool:
        """Nothing was ever written to it."""
        return not any(self._all(f"SELECT 1 FROM {table.name} LIMIT 1") for table in TABLES)

    def leave(self, mark: Mark) -> None:
        """Close it. The next transaction of each writer finds the mark, and triggers stop older versions."""
        with self._changing():
            self._refuse_if_closed()
            self._set(mark)
            for name, event in _events():
                self._writer.execute(
                    f"CREATE TRIGGER closed_{name}_{event} BEFORE {event} ON {name}"
                    " BEGIN SELECT raise(ABORT, 'this database was moved'); END"
                )

    def receive(self, mark: Mark) -> None:
        """Close it to all but whoever carries into it."""
        with self._changing():
            self._set(mark)

    def advance(self, move_id: str, stage: Stage) -> None:
        """Go on to the next stage."""
        with self._changing():
            self._refuse_another(move_id)
            self._writer.execute("UPDATE moving SET stage = ?", (stage,))

    def reopen(self) -> None:
        """Take changes again, and forget the move."""
        with self._changing():
            for name, event in _events():
                self._writer.execute(f"DROP TRIGGER IF EXISTS closed_{name}_{event}")
            self._writer.execute("DELETE FROM moving")

    @contextmanager
    def snapshot(self) -> Generator[None]:
        """``rows`` and ``count`` inside see one moment."""
        self._all("BEGIN")
        self._all("SELECT 1 FROM account LIMIT 1")  # it begins with the first read
        try:
            yield
        finally:
            self._all("ROLLBACK")

    def count(self, table: Table) -> int:
        """How many rows there are."""
        return int(self._all(f"SELECT count(*) FROM {table.name} WHERE {table.where}")[0][0])

    def rows(self, table: Table, after: Row | None) -> Iterator[list[Row]]:
        """All rows after a key, in the key's order."""
        marks = ", ".join("?" * table.key_length)
        later = f"AND ({table.key}) > ({marks})" if after else ""
        origin = _FROM.get(table.name, f"SELECT {table.values} FROM {table.name}")
        sql = f"SELECT {table.values} FROM ({origin}) WHERE {table.where} {later} ORDER BY {table.key}"
        with translated(self.path):
            cursor = self._reader.cursor().execute(sql, after or ())
            while batch := list(islice(cursor, BATCH_ROWS)):
                yield batch

    def last_key(self, table: Table) -> Row | None:
        """The key of the last row that was carried here."""
        origin = _FROM.get(table.name, f"SELECT {table.key} FROM {table.name}")
        order = table.key.replace(",", " DESC,") + " DESC"
        found = self._all(f"SELECT {table.key} FROM ({origin}) ORDER BY {order} LIMIT 1")
        return tuple(found[0]) if found else None

    def insert(self, move_id: str, table: Table, rows: list[Row]) -> None:
        """Add rows in one transaction."""
        values = ", ".join(f"?{number}" for number in range(1, len(table.columns) + 1))
        plain = f"INSERT INTO {table.name} ({{columns}}) VALUES ({{values}})"
        sql = _INTO.get(table.name, plain).format(columns=table.values, values=values)
        with self._changing():
            self._refuse_another(move_id)
            self._writer.executemany(sql, rows)

    def finish(self) -> None:
        """Each account's last line."""
        with self._changing():
            self._writer.execute(_LINK)

    def ask(self, question: Callable[[Reads], T]) -> T:
        """Answer a question, on a connection of its own."""
        reads = Reads(SqliteSource(open_reader(self.path)), now_ms)
        try:
            return question(reads)
        finally:
            reads.close()

    def page_count(self) -> int:
        """How many pages ``copy_into`` copies."""
        return int(self._all("PRAGMA page_count")[0][0])

    def copy_into(self, copy: Path, advance: Callable[[int], None]) -> None:
        """Copy the file as of one moment, while others write to it; inside a ``snapshot``."""
        copy_pages(self._reader, copy, advance)

    def seal(self) -> None:
        """Make it one file, without a log beside it; it is closed with that."""
        self._reader.close()
        with translated(self.path):
            self._writer.execute("PRAGMA journal_mode = DELETE").fetchall()
        self.close()

    def close(self) -> None:
        """Close the connections; again does nothing."""
        self._reader.close(True)
        self._writer.close(True)

    @contextmanager
    def _changing(self) -> Generator[None]:
        with translated(self.path):
            self._begin()
            try:
                yield
                self._writer.execute("COMMIT")
            except BaseException as error:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                if isinstance(error, apsw.ConstraintError):
                    raise StoreBusy(f"Another process writes into {self.name} ({error}).") from error
                raise

    def _begin(self) -> None:
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
            except apsw.BusyError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_SECONDS)
            else:
                return

    def _set(self, mark: Mark) -> None:
        self._writer.execute("DELETE FROM moving")
        self._writer.execute(
            "INSERT INTO moving VALUES (?, ?, ?, ?)", (mark.move_id, mark.stage, mark.peer, now_ms())
        )

    def _refuse_if_closed(self) -> None:
        mark = self.mark()
        if mark is not None and mark.stage is not Stage.ARRIVED:
            raise moved(self.name, mark.stage, mark.peer)

    def _refuse_another(self, move_id: str) -> None:
        found = self._writer.execute("SELECT move_id, stage, peer FROM moving").fetchall()
        if [row[0] for row in found] != [move_id]:
            raise StoreBusy(f"The move into or out of {self.name} was given up meanwhile, or another began.")

    def _all(self, sql: str) -> list[Any]:
        with translated(self.path):
            return self._reader.execute(sql).fetchall()


def copy_pages(reader: apsw.Connection, copy: Path, advance: Callable[[int], None]) -> None:
    """Copy all pages that ``reader`` sees into an empty file, through SQLite's online backup."""
    with translated(copy):
        target = open_private(copy)
        try:
            with target.backup("main", reader, "main") as pages:
                while not pages.done:
                    pages.step(BATCH_ROWS)
                    advance(min(BATCH_ROWS, pages.page_count))
        finally:
            target.close()


def _events() -> Iterator[tuple[str, str]]:
    return ((table.name, event) for table in TABLES for event in ("INSERT", "UPDATE", "DELETE"))
