"""The nouns of asking a model and being answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

__all__ = [
    "ChatRequest",
    "Finish",
    "FinishReason",
    "Message",
    "ModelEvent",
    "Role",
    "TextDelta",
    "Tool",
    "ToolCall",
    "Usage",
]


class Role(StrEnum):
    """Who speaks in a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model asks for a tool; ``arguments`` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One role's text. A tool's result carries the ``tool_call_id`` that it answers."""

    role: Role
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the model may call; ``parameters`` is a JSON schema."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What is asked of a model. ``extra`` is forwarded to the provider untouched.

    ``asker`` is on whose behalf, no more than a name: one asker's failures do not count against another's.
    """

    model: str
    messages: tuple[Message, ...]
    output_tokens_max: int | None = None
    tools: tuple[Tool, ...] = ()
    temperature: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    asker: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a request really used.

    ``input_tokens`` includes the cached ones, as OpenAI counts, and ``cache_write_tokens`` those that are
    kept for an hour. Bytes are UTF-8 bytes of text. ``searches`` are those that the provider made and bills.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    input_bytes: int = 0
    output_bytes: int = 0
    cache_write_1h_tokens: int = 0
    searches: int = 0


FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "cancelled"]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer, as it comes."""

    text: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of the answer; ``usage`` is ``None`` where the provider told none."""

    reason: FinishReason
    usage: Usage | None


ModelEvent = TextDelta | ToolCall | Finish
"""What a model's stream yields: any number of deltas and whole tool calls, then one ``Finish``."""
