"""Rows of chats and messages, and the place that a turn reserves in a chat.

A chat has at most one open turn. It is opened with the hold and closed with the capture, in the same
statements' transaction, so answers follow their questions in every process at once (spec C5).
"""

from __future__ import annotations

import json

from prepaid.errors import ChatLimitReached, ChatNotFound, MessageLimitReached, PrepaidError
from prepaid.records import Message
from prepaid.store.handlers.account_rows import why_not_live
from prepaid.store.handlers.pool_rows import lender
from prepaid.store.messages import pack, unpack
from prepaid.store.operations import (
    AppendMessages,
    ClearMessages,
    CreateChat,
    CurrentChat,
    Place,
    PlaceTaken,
    PopMessage,
    SwitchChat,
    Turn,
    UpdateChat,
)
from prepaid.store.unit import Unit, handles
from prepaid.store.versions import text_version, why_not_version

__all__ = ["abandon_turn", "close_turn", "obstacle", "open_turn"]


def chat_id(session_id: str, chat_no: int) -> str:
    """The id that users see: the session's, a dot, the chat's number."""
    return f"{session_id}.{chat_no}"


def obstacle(unit: Unit, session_id: str, place: Place) -> PlaceTaken | PrepaidError | None:
    """What keeps a turn from standing at this place, or ``None``."""
    row = unit.one(
        "SELECT turn_count, message_count, message_max, open_turn FROM chat"
        " WHERE session_id = ? AND chat_no = ?",
        (session_id, place.chat_no),
    )
    if row is None:
        return ChatNotFound(chat_id(session_id, place.chat_no))
    turns, messages, message_max, open_key = row
    if open_key is not None:
        expires = unit.one(
            "SELECT expires_ms FROM hold WHERE session_id = ? AND key = ?", (session_id, open_key)
        )
        return PlaceTaken(open_key, expires[0] if expires else None)
    if turns != place.turns:
        return PlaceTaken(None, None)
    if message_max is not None and messages + place.messages > message_max:
        return MessageLimitReached("max_messages", message_max)
    return None


def open_turn(unit: Unit, session_id: str, chat_no: int, key: str) -> None:
    """Reserve the next place for the turn that this hold pays."""
    unit.run("UPDATE chat SET open_turn = ? WHERE session_id = ? AND chat_no = ?", (key, session_id, chat_no))


def abandon_turn(unit: Unit, session_id: str, chat_no: int) -> None:
    """Free the place of a turn that came to nothing: no question without its answer stays behind."""
    unit.run("UPDATE chat SET open_turn = NULL WHERE session_id = ? AND chat_no = ?", (session_id, chat_no))


def close_turn(unit: Unit, session_id: str, chat_no: int, captured: int, turn: Turn | None) -> None:
    """Save a turn's messages at its place; without a turn the model call was a step of a longer one."""
    if turn is None:
        unit.run(
            "UPDATE chat SET open_turn = NULL, spent = spent + ? WHERE session_id = ? AND chat_no = ?",
            (captured, session_id, chat_no),
        )
        return
    count, turns, first = unit.one(
        "UPDATE chat SET open_turn = NULL, spent = spent + ?1, turn_count = turn_count + 1,"
        " message_count = message_count + ?2, answering_ms = answering_ms + ?3, last_ms = ?4"
        " WHERE session_id = ?5 AND chat_no = ?6 RETURNING message_count, turn_count, messages_from",
        (captured, len(turn.messages), turn.answering_ms, unit.now_ms, session_id, chat_no),
    )
    _insert(unit, (session_id, chat_no), first + count - len(turn.messages), turns, turn.messages)


def _insert(unit: Unit, chat: tuple[str, int], after: int, turn: int, messages: tuple[Message, ...]) -> None:
    for message_id, message in enumerate(messages, start=after + 1):
        kind, body = pack(message)
        unit.run(unit.sql.insert_message, (*chat, message_id, turn, kind, unit.now_ms, body))


@handles(CreateChat)
def create_chat(unit: Unit, work: CreateChat) -> int | PrepaidError:
    """Add a chat to a live session and make it current for whoever owns it."""
    owner = lender(unit, work.session_id, work.owner, work.lease_id)
    if isinstance(owner, PrepaidError):
        return owner
    reason = why_not_live(unit, work.session_id, owner)
    if reason is not None:
        return reason
    (count,) = unit.one("SELECT chat_count FROM session WHERE session_id = ?", (work.session_id,))
    if work.limits.chats_max is not None and count >= work.limits.chats_max:
        return ChatLimitReached("max_chats_per_session", work.limits.chats_max)
    chat_no = int(count) + 1
    unit.run(
        "INSERT INTO chat (session_id, chat_no, name, config, metadata, tags, message_max, created_ms,"
        " messages_from) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            work.session_id,
            chat_no,
            work.name or f"Chat {chat_no}",
            work.config,
            work.metadata,
            json.dumps(work.tags),
            work.message_max,
            unit.now_ms,
            unit.one(unit.sql.messages_from)[0],
        ),
    )
    unit.run(
        "UPDATE session SET chat_count = ?1, current_chat = CASE WHEN ?2 THEN current_chat ELSE ?1 END"
        " WHERE session_id = ?3",
        (chat_no, work.lease_id is not None, work.session_id),
    )
    return chat_no


@handles(CurrentChat)
def current_chat(unit: Unit, work: CurrentChat) -> int | PrepaidError:
    """The current chat of a live session; the first question opens one, however many come at once."""
    reason = why_not_live(unit, work.session_id, work.owner)
    if reason is not None:
        return reason
    (chat_no,) = unit.one("SELECT current_chat FROM session WHERE session_id = ?", (work.session_id,))
    if chat_no:
        return int(chat_no)
    return create_chat(unit, CreateChat(work.session_id, work.owner, "", work.config, limits=work.limits))


@handles(SwitchChat)
def switch_chat(unit: Unit, work: SwitchChat) -> PrepaidError | None:
    """Make another chat of a live session current."""
    reason = _why_not_chat(unit, work)
    if reason is None:
        unit.run("UPDATE session SET current_chat = ? WHERE session_id = ?", (work.chat_no, work.session_id))
    return reason


@handles(UpdateChat)
def update_chat(unit: Unit, work: UpdateChat) -> PrepaidError | None:
    """Replace a chat's configuration."""
    reason = _why_not_chat(unit, work)
    if reason is not None:
        return reason
    place = (work.session_id, work.chat_no)
    (kept,) = unit.one("SELECT config FROM chat WHERE session_id = ? AND chat_no = ?", place)
    what = f"The configuration of chat {chat_id(*place)}"
    conflict = why_not_version(what, work.version, text_version(kept))
    if conflict is None:
        unit.run("UPDATE chat SET config = ? WHERE session_id = ? AND chat_no = ?", (work.config, *place))
    return conflict


@handles(AppendMessages)
def append_messages(unit: Unit, work: AppendMessages) -> int | PrepaidError:
    """Add messages at the end of a chat, all or none."""
    reason = _why_not_chat(unit, work)
    if reason is not None:
        return reason
    count, limit, turns, first = unit.one(
        "SELECT message_count, message_max, turn_count, messages_from FROM chat"
        " WHERE session_id = ? AND chat_no = ?",
        (work.session_id, work.chat_no),
    )
    if limit is not None and count + len(work.messages) > limit:
        return MessageLimitReached("max_messages", limit)
    _insert(unit, (work.session_id, work.chat_no), first + count, turns, work.messages)
    unit.run(
        "UPDATE chat SET message_count = message_count + ?, last_ms = ? WHERE session_id = ? AND chat_no = ?",
        (len(work.messages), unit.now_ms, work.session_id, work.chat_no),
    )
    return int(count) + len(work.messages)


@handles(PopMessage)
def pop_message(unit: Unit, work: PopMessage) -> Message | PrepaidError | None:
    """Take the last message off a chat."""
    reason = _why_not_chat(unit, work)
    if reason is not None:
        return reason
    chat = (work.session_id, work.chat_no)
    row = unit.one(
        "UPDATE chat SET message_count = message_count - 1"
        " WHERE session_id = ? AND chat_no = ? AND message_count > 0"
        " RETURNING messages_from + message_count + 1",
        chat,
    )
    return None if row is None else unpack(*unit.one(unit.sql.delete_message, (*chat, row[0])))


@handles(ClearMessages)
def clear_messages(unit: Unit, work: ClearMessages) -> PrepaidError | None:
    """Empty a chat; what was paid for it stays in the statement."""
    reason = _why_not_chat(unit, work)
    if reason is None:
        chat = (work.session_id, work.chat_no)
        first, count = unit.one(
            "SELECT messages_from, message_count FROM chat WHERE session_id = ? AND chat_no = ?", chat
        )
        unit.run(unit.sql.delete_messages, (*chat, first + 1, first + count))
        unit.run("UPDATE chat SET message_count = 0 WHERE session_id = ? AND chat_no = ?", chat)
    return reason


def _why_not_chat(
    unit: Unit, work: SwitchChat | UpdateChat | AppendMessages | PopMessage | ClearMessages
) -> PrepaidError | None:
    lease_id = work.lease_id if isinstance(work, UpdateChat | ClearMessages) else None
    owner = lender(unit, work.session_id, work.owner, lease_id)
    if isinstance(owner, PrepaidError):
        return owner
    reason = why_not_live(unit, work.session_id, owner)
    if reason is not None:
        return reason
    row = unit.one("SELECT 1 FROM chat WHERE session_id = ? AND chat_no = ?", (work.session_id, work.chat_no))
    return None if row else ChatNotFound(chat_id(work.session_id, work.chat_no))
