"""The operation that brings a session back from its saved data (spec C10)."""

from __future__ import annotations

from dataclasses import dataclass, field

from prepaid.records import ChatRecord, SessionRecord, StoredMessage
from prepaid.store.operations.base import Operation
from prepaid.store.operations.conversations import Conversation, Entry
from prepaid.store.operations.sessions import Limits

__all__ = ["RestoreSession", "SavedChat"]


@dataclass(frozen=True, slots=True)
class SavedChat:
    """A chat with all that was said in it. What it spent and where its messages lay is not brought back."""

    record: ChatRecord
    messages: tuple[StoredMessage, ...]


@dataclass(frozen=True, slots=True)
class RestoreSession(Operation):
    """Bring back a session that the store has lost, with a balance of zero: no saved data makes money.

    ``items`` are those of agents' histories by chat number. Result: whether it was done; not where a
    session with this id exists, whosever it is.
    """

    record: SessionRecord
    chats: tuple[SavedChat, ...] = ()
    entries: tuple[Entry, ...] = ()
    conversations: tuple[Conversation, ...] = ()
    items: tuple[tuple[int, tuple[str, ...]], ...] = ()
    limits: Limits = field(default_factory=Limits)
