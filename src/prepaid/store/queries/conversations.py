"""Questions about what other libraries' agents keep with a session; none reads more than it returns."""

from __future__ import annotations

import json
from typing import Any

from prepaid.store.ids import pack_id, unpack_id
from prepaid.store.operations.conversations import Conversation, Entry
from prepaid.store.queries.base import NO_LIMIT, Queries

__all__ = [
    "all_conversations",
    "all_entries",
    "all_items",
    "entries_to",
    "entry",
    "item_count",
    "items",
    "record",
    "records",
]

_LINE = """
  WITH RECURSIVE line (id, entry_id, parent, body, depth) AS (
    SELECT id, entry_id, parent, body, CAST(1 AS bigint) FROM conversation_entry
    WHERE session_id = ?1 AND entry_id = ?2
    UNION ALL
    SELECT above.id, above.entry_id, above.parent, above.body, depth + 1
    FROM line JOIN conversation_entry AS above ON above.session_id = ?1 AND above.id = line.parent
    WHERE depth < ?3
  )
  SELECT line.entry_id, above.entry_id, line.body FROM line
  LEFT JOIN conversation_entry AS above ON above.session_id = ?1 AND above.id = line.parent
  ORDER BY line.id"""

_ENTRIES = """
  SELECT entry.entry_id, above.entry_id, entry.body FROM conversation_entry AS entry
  LEFT JOIN conversation_entry AS above ON above.session_id = entry.session_id AND above.id = entry.parent
  WHERE entry.session_id = ?"""


_ENTRY_ID = "SELECT entry_id FROM conversation_entry WHERE session_id = ? AND id = ?"


def record(reads: Queries, session_id: str, conversation_id: str) -> str | None:
    """A conversation's record, as it was saved."""
    row = reads.row(
        "SELECT record FROM conversation WHERE session_id = ? AND conversation_id = ?",
        (session_id, pack_id(conversation_id)),
    )
    return row[0] if row else None


def records(reads: Queries, session_id: str, scope: str | None, limit: int | None) -> list[str]:
    """A session's records, or those of one scope, newest first."""
    in_scope = "" if scope is None else " AND scope = ?"
    values = (session_id,) if scope is None else (session_id, pack_id(scope))
    sql = f"SELECT record FROM conversation WHERE session_id = ?{in_scope} ORDER BY updated_us DESC LIMIT ?"
    return [row[0] for row in reads.rows(sql, (*values, NO_LIMIT if limit is None else limit))]


def entry(reads: Queries, session_id: str, entry_id: str) -> Entry | None:
    """One entry."""
    row = reads.row(_ENTRIES + " AND entry.entry_id = ?", (session_id, pack_id(entry_id)))
    return _entry(row) if row else None


def entries_to(reads: Queries, session_id: str, entry_id: str, limit: int | None) -> list[Entry]:
    """The entries up to this one, or the last ``limit`` of them, in order; none if it does not exist."""
    rows = reads.rows(_LINE, (session_id, pack_id(entry_id), NO_LIMIT if limit is None else limit))
    return [_entry(row) for row in rows]


def items(reads: Queries, session_id: str, chat_no: int, limit: int | None) -> list[str]:
    """The last ``limit`` items of a history, or all, oldest first."""
    row = reads.row(
        "SELECT items_from, item_count FROM agent_history WHERE session_id = ? AND chat_no = ?",
        (session_id, chat_no),
    )
    if row is None:
        return []
    first, count = row
    after = first if limit is None else first + max(count - limit, 0)
    rows = reads.rows(reads.sql.items, (session_id, chat_no, after, first + count))
    return [body for (body,) in rows]


def item_count(reads: Queries, session_id: str, chat_no: int) -> int:
    """How many items a history has."""
    row = reads.row(
        "SELECT item_count FROM agent_history WHERE session_id = ? AND chat_no = ?", (session_id, chat_no)
    )
    return int(row[0]) if row else 0


# --- whole sessions, to be saved elsewhere --------------------------------------------------------


def all_entries(reads: Queries, session_id: str) -> list[Entry]:
    """All entries of a session, parents first."""
    return [_entry(row) for row in reads.rows(_ENTRIES + " ORDER BY entry.id", (session_id,))]


def all_conversations(reads: Queries, session_id: str) -> list[Conversation]:
    """All conversations of a session."""
    rows = reads.rows(
        "SELECT conversation_id, revision, entry_id, scope, updated_us, record, branches"
        " FROM conversation LEFT JOIN conversation_entry AS entry"
        " ON entry.session_id = conversation.session_id AND id = head"
        " WHERE conversation.session_id = ? ORDER BY updated_us",
        (session_id,),
    )
    found = []
    for conversation_id, revision, head_id, scope, updated_us, kept, branches in rows:
        ends = (reads.row(_ENTRY_ID, (session_id, number))[0] for number in json.loads(branches))
        found.append(
            Conversation(
                unpack_id(conversation_id),
                unpack_id(revision),
                unpack_id(head_id),
                tuple(map(unpack_id, ends)),
                unpack_id(scope),
                updated_us,
                kept,
            )
        )
    return found


def all_items(reads: Queries, session_id: str) -> list[tuple[int, list[str]]]:
    """The items of each of a session's histories, by chat number."""
    rows = reads.rows("SELECT chat_no FROM agent_history WHERE session_id = ? ORDER BY 1", (session_id,))
    return [(chat_no, items(reads, session_id, chat_no, None)) for (chat_no,) in rows]


def _entry(row: Any) -> Entry:
    entry_id, parent_id, body = row
    return Entry(unpack_id(entry_id), unpack_id(parent_id), body)
