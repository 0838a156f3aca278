"""Rows of what other libraries' agents keep with a session: conversations, their entries, and items."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from operator import itemgetter

from prepaid.errors import ChatNotFound, PrepaidError
from prepaid.store.handlers.account_rows import why_not_live
from prepaid.store.handlers.chat_rows import chat_id
from prepaid.store.ids import pack_id
from prepaid.store.operations.conversations import (
    AddItems,
    ClearItems,
    Conversation,
    DeleteConversation,
    Entry,
    PopItem,
    SaveConversation,
)
from prepaid.store.unit import Unit, handles

__all__ = ["insert_items", "restore_conversations", "write_conversation"]

_STORED = "SELECT revision, head, branches FROM conversation WHERE session_id = ? AND conversation_id = ?"
_ENTRY = "SELECT id FROM conversation_entry WHERE session_id = ? AND entry_id = ?"
_INSERT_ENTRY = """
  INSERT INTO conversation_entry (session_id, entry_id, parent, refs, body) VALUES (?, ?, ?, 0, ?)
  RETURNING id"""
_COUNT_REFS = "UPDATE conversation_entry SET refs = refs + ? WHERE session_id = ? AND id = ?"

_SAVE_CONVERSATION = """
  INSERT INTO conversation (session_id, conversation_id, revision, scope, updated_us, head, branches, record)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (session_id, conversation_id) DO UPDATE SET revision = excluded.revision,
    scope = excluded.scope, updated_us = excluded.updated_us, head = excluded.head,
    branches = excluded.branches, record = excluded.record"""

_UNREACHED = """
  WITH RECURSIVE unreached (id, parent) AS (
    SELECT id, parent FROM conversation_entry WHERE session_id = ?1 AND id = ?2 AND refs = 0
    UNION ALL
    SELECT above.id, above.parent
    FROM unreached JOIN conversation_entry AS above ON above.id = unreached.parent
    WHERE above.session_id = ?1 AND above.refs = 1
  )
  DELETE FROM conversation_entry WHERE session_id = ?1 AND id IN (SELECT id FROM unreached)
  RETURNING id, parent"""


@handles(SaveConversation)
def save_conversation(unit: Unit, work: SaveConversation) -> bool | PrepaidError:
    """Append entries and move the conversation there, if nobody else has moved it meanwhile."""
    reason = why_not_live(unit, work.session_id, work.owner)
    if reason is not None:
        return reason
    stored = unit.one(_STORED, (work.session_id, pack_id(work.conversation.conversation_id)))
    if (stored[0] if stored else None) != pack_id(work.expected_revision):
        return False
    return write_conversation(unit, work.session_id, work.conversation, work.entries)


def write_conversation(
    unit: Unit, session_id: str, conversation: Conversation, entries: Sequence[Entry]
) -> bool:
    """Replace a conversation, whatever its revision; ``False`` if something it points at is missing."""
    numbers = _numbers(unit, session_id, conversation, entries)
    if numbers is None:
        return False
    refs = _insert_entries(unit, session_id, entries, numbers)
    head = None if conversation.head_id is None else numbers[conversation.head_id]
    branches = [numbers[tip] for tip in conversation.branches]
    refs.update(_tips(head, branches))
    refs.subtract(_stored_tips(unit, session_id, conversation.conversation_id))
    unit.run(
        _SAVE_CONVERSATION,
        (
            session_id,
            pack_id(conversation.conversation_id),
            pack_id(conversation.revision),
            pack_id(conversation.scope),
            conversation.updated_us,
            head,
            json.dumps(branches),
            conversation.record,
        ),
    )
    _count(unit, session_id, refs)
    return True


def restore_conversations(
    unit: Unit, session_id: str, entries: Sequence[Entry], conversations: Iterable[Conversation]
) -> None:
    """Write the conversations of a session that has none; what they point at is among the entries."""
    _count(unit, session_id, _insert_entries(unit, session_id, entries, {}))
    for conversation in conversations:
        write_conversation(unit, session_id, conversation, ())


def _insert_entries(
    unit: Unit, session_id: str, entries: Iterable[Entry], numbers: dict[str, int]
) -> Counter[int]:
    """Insert entries, note their rows in ``numbers``, and count how often they point at each row."""
    refs: Counter[int] = Counter()
    for entry in entries:
        parent = None if entry.parent_id is None else numbers[entry.parent_id]
        (number,) = unit.one(_INSERT_ENTRY, (session_id, pack_id(entry.entry_id), parent, entry.body))
        numbers[entry.entry_id] = number
        if parent is not None:
            refs[parent] += 1
    return refs


def _numbers(
    unit: Unit, session_id: str, conversation: Conversation, entries: Sequence[Entry]
) -> dict[str, int] | None:
    """The rows of the entries that are pointed at and there already; ``None`` if one of them is not."""
    new: set[str] = set()
    wanted: list[str] = []
    for entry in entries:
        if entry.parent_id is not None and entry.parent_id not in new:
            wanted.append(entry.parent_id)
        if entry.entry_id in new or unit.one(_ENTRY, (session_id, pack_id(entry.entry_id))):
            return None
        new.add(entry.entry_id)
    tips = (
        conversation.branches
        if conversation.head_id is None
        else (conversation.head_id, *conversation.branches)
    )
    wanted += [tip for tip in tips if tip not in new]
    numbers = {}
    for entry_id in wanted:
        row = unit.one(_ENTRY, (session_id, pack_id(entry_id)))
        if row is None:
            return None
        numbers[entry_id] = row[0]
    return numbers


@handles(DeleteConversation)
def delete_conversation(unit: Unit, work: DeleteConversation) -> bool | PrepaidError:
    """Delete a conversation at this revision, and what only it reached."""
    reason = why_not_live(unit, work.session_id, work.owner)
    if reason is not None:
        return reason
    stored = unit.one(_STORED, (work.session_id, pack_id(work.conversation_id)))
    if stored is None or stored[0] != pack_id(work.expected_revision):
        return False
    refs: Counter[int] = Counter()
    refs.subtract(_stored_tips(unit, work.session_id, work.conversation_id))
    unit.run(
        "DELETE FROM conversation WHERE session_id = ? AND conversation_id = ?",
        (work.session_id, pack_id(work.conversation_id)),
    )
    _count(unit, work.session_id, refs)
    return True


def _stored_tips(unit: Unit, session_id: str, conversation_id: str) -> list[int]:
    stored = unit.one(_STORED, (session_id, pack_id(conversation_id)))
    return _tips(stored[1], json.loads(stored[2])) if stored else []


def _tips(head: int | None, branches: Iterable[int]) -> list[int]:
    return [*branches] if head is None else [head, *branches]


def _count(unit: Unit, session_id: str, refs: Counter[int]) -> None:
    """Apply changed counts; what nothing points at any more is deleted, and what only that pointed at."""
    for number, change in refs.items():
        if change:
            unit.run(_COUNT_REFS, (change, session_id, number))
    for number in [number for number, change in refs.items() if change < 0]:
        gone = unit.rows(_UNREACHED, (session_id, number))
        if gone:
            _, parent = min(
                gone, key=itemgetter(0)
            )  # the oldest; what it points at is still pointed at by something else
            if parent is not None:
                unit.run(_COUNT_REFS, (-1, session_id, parent))


# --- items ---------------------------------------------------------------------------------------


@handles(AddItems)
def add_items(unit: Unit, work: AddItems) -> int | PrepaidError:
    """Append items, all or none."""
    reason = _why_not_history(unit, work)
    return reason or insert_items(unit, work.session_id, work.chat_no, work.items)


def insert_items(unit: Unit, session_id: str, chat_no: int, items: Sequence[str]) -> int:
    """Append items to a history, which begins with the first; how many there are then."""
    unit.run(
        "INSERT INTO agent_history (session_id, chat_no, items_from) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (session_id, chat_no, unit.one(unit.sql.items_from)[0]),
    )
    count, first = unit.one(
        "UPDATE agent_history SET item_count = item_count + ? WHERE session_id = ? AND chat_no = ?"
        " RETURNING item_count, items_from",
        (len(items), session_id, chat_no),
    )
    for number, body in enumerate(items, start=first + count - len(items) + 1):
        unit.run(unit.sql.insert_item, (session_id, chat_no, number, body))
    return int(count)


@handles(PopItem)
def pop_item(unit: Unit, work: PopItem) -> str | PrepaidError | None:
    """Take the last item off a history."""
    reason = _why_not_history(unit, work)
    if reason is not None:
        return reason
    row = unit.one(
        "UPDATE agent_history SET item_count = item_count - 1"
        " WHERE session_id = ? AND chat_no = ? AND item_count > 0 RETURNING items_from + item_count + 1",
        (work.session_id, work.chat_no),
    )
    if row is None:
        return None
    (body,) = unit.one(unit.sql.delete_item, (work.session_id, work.chat_no, row[0]))
    return str(body)


@handles(ClearItems)
def clear_items(unit: Unit, work: ClearItems) -> PrepaidError | None:
    """Empty a history."""
    reason = _why_not_history(unit, work)
    row = None if reason is not None else _history(unit, work)
    if row is not None:
        first, count = row
        unit.run(unit.sql.delete_items, (work.session_id, work.chat_no, first + 1, first + count))
        unit.run(
            "UPDATE agent_history SET item_count = 0 WHERE session_id = ? AND chat_no = ?",
            (work.session_id, work.chat_no),
        )
    return reason


def _history(unit: Unit, work: ClearItems) -> tuple[int, int] | None:
    row: tuple[int, int] | None = unit.one(
        "SELECT items_from, item_count FROM agent_history WHERE session_id = ? AND chat_no = ?",
        (work.session_id, work.chat_no),
    )
    return row


def _why_not_history(unit: Unit, work: AddItems | PopItem | ClearItems) -> PrepaidError | None:
    reason = why_not_live(unit, work.session_id, work.owner)
    if reason is not None or not work.chat_no:
        return reason
    row = unit.one("SELECT 1 FROM chat WHERE session_id = ? AND chat_no = ?", (work.session_id, work.chat_no))
    return None if row else ChatNotFound(chat_id(work.session_id, work.chat_no))
