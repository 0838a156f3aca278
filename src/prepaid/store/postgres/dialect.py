"""SQL as both databases understand it, in the form that PostgreSQL takes it in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from prepaid.store.unit import WriteSql

__all__ = ["WRITE_SQL", "named", "numbered"]

_PLACE: Final = re.compile(r"\?(\d*)")
_NAME: Final = re.compile(r"(?<!:):([a-z_]+)")

WRITE_SQL: Final = WriteSql(
    messages_from="SELECT 0",
    insert_message="INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?)",
    delete_message="""
  DELETE FROM message WHERE session_id = ? AND chat_no = ? AND seq = ? RETURNING kind, body""",
    delete_messages="DELETE FROM message WHERE session_id = ? AND chat_no = ? AND seq BETWEEN ? AND ?",
    items_from="SELECT 0",
    insert_item="INSERT INTO agent_item VALUES (?, ?, ?, ?)",
    delete_item="DELETE FROM agent_item WHERE session_id = ? AND chat_no = ? AND number = ? RETURNING body",
    delete_items="DELETE FROM agent_item WHERE session_id = ? AND chat_no = ? AND number BETWEEN ? AND ?",
    free_in_pool="""
  SELECT pool.session_id, pool.cap, account.owner FROM pool JOIN account USING (session_id)
  WHERE lease_id IS NULL AND account.state = 0 AND (account.expires_ms IS NULL OR account.expires_ms > ?)
  ORDER BY pooled_ms, session_id LIMIT 1""",
)


@cache
def numbered(sql: str) -> str:
    """``?`` and ``?2`` as ``$1`` and ``$2``; a bare one is the next after the highest, as on SQLite."""
    highest = 0

    def place(match: re.Match[str]) -> str:
        nonlocal highest
        number = int(match[1]) if match[1] else highest + 1
        highest = max(highest, number)
        return f"${number}"

    return _PLACE.sub(place, sql)


def named(sql: str, values: Mapping[str, Any]) -> tuple[str, Sequence[Any]]:
    """``:name`` as ``$1``, and the values in that order, as far as the statement names them."""
    text, names = _named(sql)
    return text, [values[name] for name in names]


@cache
def _named(sql: str) -> tuple[str, tuple[str, ...]]:
    names: list[str] = []

    def place(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    return _NAME.sub(place, sql), tuple(names)
