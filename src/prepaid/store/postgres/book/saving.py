"""Writes all that a batch has changed, in one statement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, Final, NamedTuple

from prepaid.store.postgres.book.columns import LITERALS
from prepaid.store.postgres.book.rows import (
    AccountRow,
    Book,
    ChatRow,
    HoldRow,
    KeyRow,
    LeaseRow,
    OperationRow,
)
from prepaid.store.postgres.connection import Connection

__all__ = ["save"]


class _Part(NamedTuple):
    """One table's share: ``rows`` and their columns, and what is done with them as ``new``."""

    rows: Callable[[Book], Sequence[Any]]
    columns: Callable[[Any], tuple[Any, ...]]
    types: str
    statement: str


def _names(names: str) -> Callable[[Any], tuple[Any, ...]]:
    return attrgetter(*names.split())


def _as_it_is(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return row


_PARTS: Final = (
    _Part(
        lambda book: book.changed_of(AccountRow),
        _names("session_id available held spent refunded request_count last_used_ms line_count head"),
        "text bigint bigint bigint bigint bigint bigint bigint bytea",
        """UPDATE account SET available = new.b, held = new.c, spent = new.d, refunded = new.e,
           request_count = new.f, last_used_ms = new.g, line_count = new.h, head = new.i
           FROM {new} WHERE account.session_id = new.a""",
    ),
    _Part(
        lambda book: [row for row in book.changed_of(HoldRow) if row.is_new],
        _names(
            "session_id key fingerprint amount state captured cost delivered sent expires_ms actor chat_no"
            " lease_id key_no"
        ),
        "text text bytea bigint bigint bigint bigint bigint boolean bigint text bigint text bigint",
        "INSERT INTO hold SELECT * FROM {new}",
    ),
    _Part(
        lambda book: [row for row in book.changed_of(HoldRow) if not row.is_new],
        _names("session_id key state captured cost delivered expires_ms"),
        "text text bigint bigint bigint bigint bigint",
        """UPDATE hold SET state = new.c, captured = new.d, cost = new.e, delivered = new.f,
           expires_ms = new.g FROM {new} WHERE hold.session_id = new.a AND hold.key = new.b""",
    ),
    _Part(
        lambda book: book.new_lines,
        _as_it_is,
        "text bigint text text text bigint text bigint text bigint text bigint bigint bytea",
        "INSERT INTO transfer SELECT * FROM {new}",
    ),
    _Part(
        lambda book: book.changed_of(OperationRow),
        _names("session_id key kind fingerprint status response"),
        "text text text bytea text text",
        "INSERT INTO operation SELECT * FROM {new}",
    ),
    _Part(
        lambda book: book.changed_of(ChatRow),
        _names("session_id chat_no message_count turn_count spent answering_ms last_ms open_turn"),
        "text bigint bigint bigint bigint bigint bigint text",
        """UPDATE chat SET message_count = new.c, turn_count = new.d, spent = new.e, answering_ms = new.f,
           last_ms = new.g, open_turn = new.h
           FROM {new} WHERE chat.session_id = new.a AND chat.chat_no = new.b""",
    ),
    _Part(
        lambda book: book.new_messages,
        _as_it_is,
        "text bigint bigint bigint bigint bigint text",
        "INSERT INTO message SELECT * FROM {new}",
    ),
    _Part(
        lambda book: book.changed_of(LeaseRow),
        _names("session_id lease_id reserved spent"),
        "text text bigint bigint",
        """UPDATE lease SET reserved = new.c, spent = new.d
           FROM {new} WHERE lease.session_id = new.a AND lease.lease_id = new.b""",
    ),
    _Part(
        lambda book: book.changed_of(KeyRow),
        _names("holder number reserved spent"),
        "text bigint bigint bigint",
        """UPDATE api_key SET reserved = new.c, spent = new.d
           FROM {new} WHERE api_key.holder = new.a AND api_key.number = new.b""",
    ),
)


async def save(connection: Connection, book: Book) -> None:
    """Write the rows that were changed and those that are new."""
    wanted: list[int] = []
    arrays: list[str] = []
    for number, part in enumerate(_PARTS):
        rows = part.rows(book)
        if rows:
            wanted.append(number)
            columns = zip(*map(part.columns, rows), strict=True)
            kinds = part.types.split()
            arrays += [LITERALS[kind](column) for kind, column in zip(kinds, columns, strict=True)]
    if wanted:
        await connection.execute(_statement(tuple(wanted)), *arrays)


@cache
def _statement(wanted: tuple[int, ...]) -> str:
    """One statement for these parts. Which they are varies little, so few of them are ever prepared."""
    place = 0
    clauses = []
    for number in wanted:
        types = _PARTS[number].types.split()
        arrays = ", ".join(f"${place + at}::text::{kind}[]" for at, kind in enumerate(types, start=1))
        letters = ", ".join("abcdefghijklmn"[: len(types)])
        place += len(types)
        clauses.append(_PARTS[number].statement.format(new=f"unnest({arrays}) AS new ({letters})"))
    *before, last = clauses
    parts = ", ".join(f"part{number} AS ({clause})" for number, clause in enumerate(before))
    return f"WITH {parts} {last}" if parts else last
