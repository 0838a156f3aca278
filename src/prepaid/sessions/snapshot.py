"""A session as plain data that JSON can carry (spec C10); ``saved_data`` reads it back."""

from __future__ import annotations

import json
from typing import Any, Final

from prepaid.errors import SessionNotFound
from prepaid.records import Account, ChatRecord, StoredMessage
from prepaid.sessions.values import from_json
from prepaid.store.operations import Conversation
from prepaid.store.queries import conversations as conversation_reads
from prepaid.store.queries.reads import Reads

__all__ = ["FORMAT", "VERSION", "snapshot"]

FORMAT: Final = "prepaid-session"
VERSION: Final = 1


def snapshot(reads: Reads, session_id: str) -> dict[str, Any]:
    """All that is kept of a session, as of one moment.

    Raises:
        SessionNotFound: it does not exist.
    """
    with reads.snapshot():
        record, account = reads.session(session_id), reads.account(session_id)
        if record is None or account is None:
            raise SessionNotFound(session_id)
        return {
            "format": FORMAT,
            "version": VERSION,
            "session_id": session_id,
            "user_id": record.owner,
            "state": record.state.label,
            "name": record.name,
            "metadata": from_json(record.metadata),
            "preferences": from_json(record.preferences),
            "tags": list(record.tags),
            "auto_save": record.auto_save,
            "created_ms": record.created_ms,
            "closed_ms": record.closed_ms,
            "expires_ms": record.expires_ms,
            "idle_ms": record.idle_ms,
            "current_chat": record.current_chat,
            "chats": [_chat(reads, chat) for chat in reads.chats(session_id)],
            "entries": [
                {"entry_id": entry.entry_id, "parent_id": entry.parent_id, "body": entry.body}
                for entry in conversation_reads.all_entries(reads, session_id)
            ],
            "conversations": [
                _conversation(each) for each in conversation_reads.all_conversations(reads, session_id)
            ],
            "items": [
                {"chat_no": chat_no, "items": items}
                for chat_no, items in conversation_reads.all_items(reads, session_id)
            ],
            "account": _account(account),
        }


def _chat(reads: Reads, chat: ChatRecord) -> dict[str, Any]:
    return {
        "chat_no": chat.chat_no,
        "name": chat.name,
        "config": json.loads(chat.config),
        "metadata": from_json(chat.metadata),
        "tags": list(chat.tags),
        "message_max": chat.message_max,
        "created_ms": chat.created_ms,
        "last_ms": chat.last_ms,
        "turn_count": chat.turn_count,
        "answering_ms": chat.answering_ms,
        "messages": [_message(stored) for stored in reads.messages(chat, limit=chat.message_count)],
    }


def _message(stored: StoredMessage) -> dict[str, Any]:
    message = stored.message
    kept: dict[str, Any] = {
        "turn": stored.turn,
        "at_ms": stored.at_ms,
        "role": message.role.value,
        "text": message.text,
    }
    if message.tool_calls:
        kept["tool_calls"] = [
            {"id": call.id, "name": call.name, "arguments": call.arguments} for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        kept["tool_call_id"] = message.tool_call_id
    return kept


def _conversation(kept: Conversation) -> dict[str, Any]:
    return {
        "conversation_id": kept.conversation_id,
        "revision": kept.revision,
        "head_id": kept.head_id,
        "branches": list(kept.branches),
        "scope": kept.scope,
        "updated_us": kept.updated_us,
        "record": kept.record,
    }


def _account(account: Account) -> dict[str, Any]:
    """For information: nothing of it is read back."""
    return {
        "asset": account.asset,
        "funded": account.funded,
        "available": account.available,
        "held": account.held,
        "spent": account.spent,
        "refunded": account.refunded,
        "request_count": account.request_count,
        "last_used_ms": account.last_used_ms,
    }
