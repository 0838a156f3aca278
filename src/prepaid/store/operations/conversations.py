"""Operations on what other libraries' agents keep with a session (spec D9). Bodies are their JSON."""

from __future__ import annotations

from dataclasses import dataclass

from prepaid.store.operations.base import Operation

__all__ = [
    "AddItems",
    "ClearItems",
    "Conversation",
    "DeleteConversation",
    "Entry",
    "PopItem",
    "SaveConversation",
]


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a log, right behind its parent."""

    entry_id: str
    parent_id: str | None
    body: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Where a conversation's log ends, and the record that goes with it.

    ``branches`` are the ends of what it has left; ``scope`` and ``updated_us`` are what lists go by.
    """

    conversation_id: str
    revision: str
    head_id: str | None
    branches: tuple[str, ...]
    scope: str | None
    updated_us: int
    record: str


@dataclass(frozen=True, slots=True)
class SaveConversation(Operation):
    """Append ``entries`` and move the conversation to them, all or nothing.

    Result: whether it was done. Not where the stored revision is another than ``expected_revision``
    (``None``: there is none yet), or something points at an entry that does not exist.
    """

    owner: str
    conversation: Conversation
    expected_revision: str | None
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class DeleteConversation(Operation):
    """Delete a conversation and the entries that no other one reaches. Result: whether, as when saving."""

    owner: str
    conversation_id: str
    expected_revision: str


@dataclass(frozen=True, slots=True)
class AddItems(Operation):
    """Append items, all or none, to a history: a chat's, or (chat 0) the session's. Result: their count."""

    owner: str
    chat_no: int
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PopItem(Operation):
    """Remove and return the last item, or ``None``."""

    owner: str
    chat_no: int


@dataclass(frozen=True, slots=True)
class ClearItems(Operation):
    """Remove all items."""

    owner: str
    chat_no: int
