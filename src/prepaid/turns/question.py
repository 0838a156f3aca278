"""What is asked, and what came back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from prepaid.ledger import fingerprint
from prepaid.meter import Payer
from prepaid.models.contract import Model
from prepaid.records import ChatRequest, FinishReason, Message, Price, ToolCall, Usage
from prepaid.store.operations import Place

__all__ = ["Answer", "Question"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, who pays, and who may answer.

    ``models`` are tried in order, at least one (spec C12); those after the first are left out where they
    cannot answer the request at all. ``price`` replaces the models' own where the caller named the fee
    (``Price.fee``, spec A10). ``place`` saves question and answer as a turn of a chat; ``asked`` are the
    messages that the turn begins with.
    """

    payer: Payer
    request: ChatRequest
    models: tuple[Model, ...]
    key: str | None = None
    price: Price | None = None
    place: Place | None = None
    asked: tuple[Message, ...] = ()

    @property
    def content(self) -> bytes:
        """What the key stands for: the same for a retry, another for a changed body (guarantee 5).

        A chat's history grows between two tries of one question, so there only what is asked counts.
        """
        request, place = self.request, self.place
        return fingerprint(
            request.model,
            request.messages if place is None else (place.chat_no, self.asked),
            request.output_tokens_max,
            [(tool.name, tool.description, _canonical(tool.parameters)) for tool in request.tools],
            request.temperature,
            _canonical(request.extra),
            self.price,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and what it cost in base units.

    ``is_lowered``: the balance could not pay the output limit asked for, so ``output_limit`` (in the
    price's units) is what it could pay. ``shortfall`` is what the provider billed above the hold.
    """

    text: str
    model: str
    finish_reason: FinishReason
    tool_calls: tuple[ToolCall, ...]
    usage: Usage
    held: int
    cost: int
    available: int
    output_limit: int
    is_lowered: bool
    shortfall: int
    replayed: bool = False

    def to_json(self) -> str:
        """The answer as kept for its idempotency key."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Answer:
        """The answer again, marked as replayed."""
        fields = json.loads(text)
        fields["tool_calls"] = tuple(ToolCall(**call) for call in fields["tool_calls"])
        fields["usage"] = Usage(**fields["usage"])
        fields["replayed"] = True
        return cls(**fields)


def _canonical(content: Mapping[str, Any]) -> str:
    """The same text for the same content, however it is ordered."""
    return json.dumps(dict(content), sort_keys=True, default=repr)
