"""Operations on chats and their messages."""

from __future__ import annotations

from dataclasses import dataclass, field

from prepaid.records import Message
from prepaid.store.operations.base import Operation
from prepaid.store.operations.sessions import Limits

__all__ = [
    "AppendMessages",
    "ClearMessages",
    "CreateChat",
    "CurrentChat",
    "PopMessage",
    "SwitchChat",
    "UpdateChat",
]


@dataclass(frozen=True, slots=True)
class CreateChat(Operation):
    """Add a chat and make it current. Result: its number, from 1.

    ``lease_id`` adds it for the taker of a pooled session, who is then ``owner``; what is current for
    the session's own owner stays.
    """

    owner: str
    name: str
    config: str
    metadata: str = "{}"
    tags: tuple[str, ...] = ()
    message_max: int | None = None
    limits: Limits = field(default_factory=Limits)
    lease_id: str | None = None


@dataclass(frozen=True, slots=True)
class CurrentChat(Operation):
    """The current chat, opened where there is none yet. Result: its number."""

    owner: str
    config: str
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class SwitchChat(Operation):
    """Make a chat the current one."""

    owner: str
    chat_no: int


@dataclass(frozen=True, slots=True)
class UpdateChat(Operation):
    """Replace a chat's configuration, where it is at ``version``; ``lease_id`` as in ``CreateChat``."""

    owner: str
    chat_no: int
    config: str
    lease_id: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class AppendMessages(Operation):
    """Store messages that were not paid for here (imports, other libraries' agents). Result: their count."""

    owner: str
    chat_no: int
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class PopMessage(Operation):
    """Remove and return the chat's last message, or ``None``."""

    owner: str
    chat_no: int


@dataclass(frozen=True, slots=True)
class ClearMessages(Operation):
    """Remove all messages of a chat; ``lease_id`` as in ``CreateChat``."""

    owner: str
    chat_no: int
    lease_id: str | None = None
