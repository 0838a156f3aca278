"""A session brought back from its saved data: every row but money (spec C10)."""

from __future__ import annotations

import json

from prepaid.errors import PrepaidError
from prepaid.records import SessionState
from prepaid.store.handlers.account_rows import open_account
from prepaid.store.handlers.conversation_rows import insert_items, restore_conversations
from prepaid.store.handlers.lifecycle import why_over_limit
from prepaid.store.messages import pack
from prepaid.store.operations.restoring import RestoreSession, SavedChat
from prepaid.store.unit import Unit, handles

_INSERT_SESSION = """
  INSERT INTO session (session_id, name, metadata, preferences, tags, created_ms, closed_ms, current_chat,
                       chat_count, auto_save, idle_ms, due_ms, seen_ms)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_INSERT_CHAT = """
  INSERT INTO chat (session_id, chat_no, name, config, metadata, tags, message_max, created_ms, message_count,
                    turn_count, answering_ms, last_ms, messages_from)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


@handles(RestoreSession)
def restore(unit: Unit, work: RestoreSession) -> bool | PrepaidError:
    """Write a lost session anew, with an empty account; ``False`` where its id is taken."""
    record = work.record
    if unit.one("SELECT 1 FROM account WHERE session_id = ?", (work.session_id,)):
        return False
    is_live = record.state < SessionState.CLOSED
    if is_live:
        limit = why_over_limit(unit, record.owner, work.limits)
        if limit is not None:
            return limit
    open_account(unit, work.session_id, record.owner, record.asset, record.state, record.expires_ms)
    _insert_session(unit, work, is_live=is_live)
    for chat in work.chats:
        _insert_chat(unit, chat)
    restore_conversations(unit, work.session_id, work.entries, work.conversations)
    for chat_no, items in work.items:
        insert_items(unit, work.session_id, chat_no, items)
    return True


def _insert_session(unit: Unit, work: RestoreSession, *, is_live: bool) -> None:
    record = work.record
    # Being brought back is use: idleness counts from now.
    idle_due = None if record.idle_ms is None else unit.now_ms + record.idle_ms
    due = min((at for at in (idle_due, record.expires_ms) if at is not None), default=None)
    unit.run(
        _INSERT_SESSION,
        (
            work.session_id,
            record.name,
            record.metadata,
            record.preferences,
            json.dumps(record.tags),
            record.created_ms,
            None if is_live else record.closed_ms or unit.now_ms,
            record.current_chat,
            len(work.chats),
            record.auto_save,
            record.idle_ms,
            due if is_live else None,
            unit.now_ms if is_live else None,
        ),
    )


def _insert_chat(unit: Unit, saved: SavedChat) -> None:
    record = saved.record
    (first,) = unit.one(unit.sql.messages_from)
    unit.run(
        _INSERT_CHAT,
        (
            record.session_id,
            record.chat_no,
            record.name,
            record.config,
            record.metadata,
            json.dumps(record.tags),
            record.message_max,
            record.created_ms,
            len(saved.messages),
            record.turn_count,
            record.answering_ms,
            record.last_ms,
            first,
        ),
    )
    for number, stored in enumerate(saved.messages, start=first + 1):
        kind, body = pack(stored.message)
        place = (record.session_id, record.chat_no, number)
        unit.run(unit.sql.insert_message, (*place, stored.turn, kind, stored.at_ms, body))
