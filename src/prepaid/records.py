"""The nouns: frozen records that every layer passes on and none changes.

Amounts are base units of the account's currency; times are milliseconds since the Unix epoch
in database time (``at_ms``) or ``datetime`` in UTC where a user reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Final, Literal

__all__ = [
    "Account",
    "Api",
    "ChatRecord",
    "ChatRequest",
    "Finish",
    "FinishReason",
    "Hold",
    "HoldState",
    "Message",
    "ModelEvent",
    "ModelInfo",
    "Price",
    "PriceTier",
    "Quote",
    "Role",
    "SessionRecord",
    "SessionState",
    "StoredMessage",
    "TextDelta",
    "Tool",
    "ToolCall",
    "Transfer",
    "Unit",
    "Usage",
    "UsageLine",
]


class SessionState(IntEnum):
    """Where a session stands (docs/sessions.md). DEPOSIT marks an owner's unassigned money."""

    ACTIVE = 0
    PAUSED = 1
    CLOSED = 2
    EXPIRED = 3
    DEPOSIT = 4

    @property
    def label(self) -> str:
        """The state as users read it: ``"active"``."""
        return self.name.lower()


class HoldState(IntEnum):
    """A hold is open until it is captured or released, once (guarantee 4)."""

    OPEN = 0
    CAPTURED = 1
    RELEASED = 2


@dataclass(frozen=True, slots=True)
class Account:
    """One balance in the ledger: ``funded == available + held + spent + refunded``, always."""

    session_id: str
    owner: str
    asset: str
    state: SessionState
    funded: int
    available: int
    held: int
    spent: int
    refunded: int
    request_count: int
    last_used_ms: int
    expires_ms: int | None
    line_count: int
    head: bytes


@dataclass(frozen=True, slots=True)
class Hold:
    """Money reserved for one request; ``captured`` is at most ``amount``."""

    session_id: str
    key: str
    amount: int
    state: HoldState
    captured: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """One immutable line of a session's statement: ``amount`` from ``debit`` to ``credit``.

    ``digest`` chains it to the line before (``ledger.line_digest``).
    """

    seq: int
    kind: str
    debit: str
    credit: str
    amount: int
    key: str
    at_ms: int
    actor: str
    chat_no: int
    model: str
    input_units: int
    output_units: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """What is kept of a session beside its account. JSON fields are text as stored."""

    session_id: str
    owner: str
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
    key_digest: bytes | None


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
    """What is asked of a model. ``extra`` is forwarded to the provider untouched."""

    model: str
    messages: tuple[Message, ...]
    output_tokens_max: int | None = None
    tools: tuple[Tool, ...] = ()
    temperature: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a request really used.

    ``input_tokens`` includes the cached ones, as OpenAI counts. Bytes are UTF-8 bytes of text.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    input_bytes: int = 0
    output_bytes: int = 0


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


class Unit(StrEnum):
    """What a price counts."""

    TOKEN = "token"  # noqa: S105 -- a model token, not a credential
    BYTE = "byte"


@dataclass(frozen=True, slots=True)
class PriceTier:
    """Prices that hold for the whole request once its input exceeds ``input_above`` units."""

    input_above: int
    input_per_million: int
    output_per_million: int
    cache_read_per_million: int
    cache_write_per_million: int


@dataclass(frozen=True, slots=True)
class Price:
    """Base units of ``asset`` per million tokens or bytes, plus ``per_request`` once."""

    asset: str
    unit: Unit
    tiers: tuple[PriceTier, ...]
    """Ascending by ``input_above``; the first is 0."""
    per_request: int = 0

    @classmethod
    def flat(cls, asset: str, unit: Unit, input_per_million: int, output_per_million: int) -> Price:
        """A price without tiers, where cached input costs as much as other input."""
        tier = PriceTier(0, input_per_million, output_per_million, input_per_million, input_per_million)
        return cls(asset, unit, (tier,))


@dataclass(frozen=True, slots=True)
class Quote:
    """The worst case of one request, at a pinned price.

    ``amount`` pays for the whole ``output_units`` limit; ``minimum`` for the input and one unit of output.
    """

    model: str
    price: Price
    input_units: int
    output_units: int
    amount: int
    minimum: int


Api = Literal["chat", "tools", "images", "structured_output", "embeddings"]
ALL_CHAT_APIS: Final[frozenset[Api]] = frozenset({"chat", "tools", "images", "structured_output"})


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model as the catalogue lists it."""

    name: str
    price: Price
    context_tokens_max: int
    output_tokens_max: int
    apis: frozenset[Api]
    provider: str
