"""The nouns of sessions and chats, as they are kept."""

from __future__ import annotations

import json
from dataclasses import dataclass

from prepaid.records.ledger import SessionState
from prepaid.records.models import Message

__all__ = [
    "ChatRecord",
    "OwnedSession",
    "SessionRecord",
    "StoredMessage",
    "UsageLine",
]


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """What is kept of a session beside its account. JSON fields are text as stored."""

    session_id: str
    owner: str
    asset: str
    state: SessionState
    name: str
    metadata: str
    preferences: str
    tags: tuple[str, ...]
    created_ms: int
    closed_ms: int | None
    expires_ms: int | None
    current_chat: int
    chat_count: int
    auto_save: bool
    idle_ms: int | None


@dataclass(frozen=True, slots=True)
class OwnedSession:
    """A session on a page of many: what a handle on it is made of."""

    session_id: str
    owner: str
    asset: str


@dataclass(frozen=True, slots=True)
class ChatRecord:
    """What is kept of a chat. ``turn_count`` and ``message_count`` are those of settled turns."""

    session_id: str
    chat_no: int
    name: str
    config: str
    metadata: str
    tags: tuple[str, ...]
    message_max: int | None
    created_ms: int
    message_count: int
    turn_count: int
    spent: int
    answering_ms: int
    last_ms: int | None
    open_turn: str | None
    messages_from: int

    @property
    def taker(self) -> str | None:
        """Who opened it under a lease of a pooled session; nobody else who has it on lease sees it."""
        taker = json.loads(self.metadata).get("taker")
        return taker if isinstance(taker, str) else None


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message where it stands: ``seq`` counts a chat's messages from 1, ``turn`` its turns."""

    seq: int
    turn: int
    at_ms: int
    message: Message


@dataclass(frozen=True, slots=True)
class UsageLine:
    """One line of a usage report: what one model cost in one chat on one day (UTC)."""

    day: str
    chat_no: int
    model: str
    actor: str
    requests: int
    input_units: int
    output_units: int
    spent: int
