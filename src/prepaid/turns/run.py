"""One model's answer as it comes: trusted in nothing, counted, and cut where the hold ends."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final

from prepaid import pricing
from prepaid.errors import PrepaidError, ProviderError, ProviderResponseInvalid, ProviderStreamBroken
from prepaid.meter import PaidCall, check_usage, exposure
from prepaid.models.codecs.chat_stream import whole_text
from prepaid.models.contract import Model
from prepaid.models.measure import event_bytes, request_bytes, text_bytes
from prepaid.records import ChatRequest, Finish, ModelEvent, TextDelta, ToolCall, Unit, Usage
from prepaid.turns.offers import Offer
from prepaid.turns.question import Answer

__all__ = ["Run", "guarded"]

_CUT_CHARACTERS_PER_TOKEN: Final = 8
_CUT_CHARACTERS_MORE: Final = 128
"""An answer of more characters than these for its limit in tokens is measured, and cut if it is too long.
Text has four or five, and no common tokenizer has a token above 128, so no provider that keeps to the limit
is cut short; one that does not costs us less than another hold."""

_MEASURE_EVERY: Final = 8
"""A long answer is measured anew when it has grown by an eighth: all measurings together stay linear."""


@dataclass(slots=True, eq=False)
class Run:
    """One model at work on a paid call.

    ``output_limit`` is what the hold pays for, in the price's units; ``tokens_max`` what the model is told.
    """

    call: PaidCall
    offer: Offer
    request: ChatRequest
    output_limit: int = field(init=False)
    tokens_max: int = field(init=False)
    text: list[str] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    output_bytes: int = 0
    is_cut: bool = False
    is_settled: bool = False
    _size: int = 0
    _size_max: int = field(init=False)
    _started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        quoted = self.offer.quoted
        self.output_limit = pricing.affordable_output(quoted, self.call.granted)
        # A token has a byte at least.
        self.tokens_max = min(self.output_limit, self.offer.output_tokens_max)
        self._size_max = self.output_limit
        if self._counts_tokens:
            self._size_max = self.tokens_max * _CUT_CHARACTERS_PER_TOKEN + _CUT_CHARACTERS_MORE
        self.call.quoted = quoted
        self.call.measure = self._usage_delivered

    @property
    def has_spoken(self) -> bool:
        """Whether the caller was given a part of the answer."""
        return bool(self.text or self.tool_calls)

    @property
    def answering_ms(self) -> int:
        """How long it has taken so far."""
        return int((time.monotonic() - self._started) * 1000)

    async def events(self) -> AsyncGenerator[ModelEvent]:
        """What of the answer the hold pays for, then one ``Finish``.

        Raises:
            ProviderError: whatever went wrong at the model.
        """
        request = replace(
            self.request,
            model=self.offer.quoted.model,
            output_tokens_max=self.tokens_max,
            asker=self.call.payer.owner,
        )
        finish: Finish | None = None
        async with aclosing(guarded(self.offer.model, request)) as events:
            async for event in events:
                if isinstance(event, Finish):
                    finish = event
                    break
                part = self._paid_part(event)
                if part is not None:
                    yield part
                if self.is_cut:
                    finish = Finish("length", None)
                    break
        if finish is None:
            raise ProviderStreamBroken(f"Model {request.model!r} ended the stream before its answer.")
        yield finish

    def exposure(self, reason: BaseException | None, charged: int = 0) -> int:
        """What the provider may bill beyond ``charged``, in base units, where ``reason`` ended the run.

        Of a model that the app made itself only what it delivered is known, and that it then stops.
        """
        info = self.offer.model.info
        if not info.is_billed:
            return max(self.call.delivered - charged, 0)
        if info.stops_when_left and self.has_spoken and not isinstance(reason, Exception):
            return 0
        worst = min(self.call.granted, self.offer.quoted.amount)
        return exposure(reason, worst, charged=charged, delivered=self.call.delivered)

    def usage_so_far(self) -> Usage:
        """What was used by our own count, for providers that tell nothing."""
        model = self.offer.model
        tokens = model.estimate_tokens("".join(self.text))
        tokens += sum(_call_tokens(model, call) for call in self.tool_calls)
        return Usage(
            input_tokens=_likely_input_tokens(model, self.request),
            output_tokens=min(tokens, self.tokens_max),
            input_bytes=request_bytes(self.request),
            output_bytes=self.output_bytes,
        )

    def usage_told(self, told: Usage | None) -> Usage:
        """What the provider says, with the bytes that we counted.

        Raises:
            ProviderUsageInvalid: it says what cannot be.
        """
        if told is None:
            return self.usage_so_far()
        check_usage(told, self.offer.quoted.model)
        return replace(told, input_bytes=request_bytes(self.request), output_bytes=self.output_bytes)

    def answer(self, finish: Finish, usage: Usage) -> Answer:
        """The answer as it will be once it is settled; ``available`` is known then."""
        cost, granted = pricing.cost(self.offer.quoted.price, usage), self.call.granted
        return Answer(
            text="".join(self.text),
            model=self.offer.quoted.model,
            finish_reason=finish.reason,
            tool_calls=tuple(self.tool_calls),
            usage=usage,
            held=granted,
            cost=min(cost, granted),
            available=0,
            output_limit=self.output_limit,
            is_lowered=self.output_limit < self.offer.quoted.output_units,
            shortfall=max(cost - granted, 0),
        )

    def _usage_delivered(self) -> Usage:
        return self.usage_so_far() if self.has_spoken else Usage()

    @property
    def _counts_tokens(self) -> bool:
        return self.offer.quoted.price.unit is Unit.TOKEN

    def _paid_part(self, event: TextDelta | ToolCall) -> TextDelta | ToolCall | None:
        """What of an event is passed on; ``is_cut`` if that is not all of it."""
        part = self._paid_text(event) if isinstance(event, TextDelta) else self._paid_call(event)
        if part is not None:
            self.output_bytes += event_bytes(part)
        return part

    def _paid_text(self, event: TextDelta) -> TextDelta | None:
        text = whole_text(event.text)
        size = len(text) if self._counts_tokens else text_bytes(text)
        if self._is_too_much(size, text):
            self.is_cut = True
            room = self._size_max - self._size
            text = text[:room] if self._counts_tokens else _cut_bytes(text, room)
            size = room
        if not text:
            return None
        self._size += size
        self.text.append(text)
        return TextDelta(text)

    def _paid_call(self, event: ToolCall) -> ToolCall | None:
        call = ToolCall(whole_text(event.id), whole_text(event.name), whole_text(event.arguments))
        size = len(call.name) + len(call.arguments) if self._counts_tokens else event_bytes(call)
        if self._is_too_much(size, call.name + call.arguments):
            self.is_cut = True
            return None
        self._size += size
        self.tool_calls.append(call)
        return call

    def _is_too_much(self, size: int, text: str) -> bool:
        if self._size + size <= self._size_max:
            return False
        if not self._counts_tokens:
            return True
        model, said = self.offer.model, "".join(self.text) + text
        tokens = model.estimate_tokens(said) + sum(_call_tokens(model, call) for call in self.tool_calls)
        if tokens > self.tokens_max:
            return True
        # Long, but within the limit by the model's own count: measured again when it has grown.
        self._size_max = self._size + size + (self._size + size) // _MEASURE_EVERY
        return False


async def guarded(model: Model, request: ChatRequest) -> AsyncGenerator[ModelEvent]:
    """A model's events, if that is what they are; whatever else it raises leaves as ``ProviderError``."""
    name = model.info.name
    try:
        async with aclosing(model.stream(request)) as events:
            async for event in events:
                yield _checked(event, name)
    except PrepaidError:
        raise
    except Exception as error:
        failure = ProviderError(f"Model {name!r} failed: {type(error).__name__}.")
        failure.detail = (
            f"{type(error).__name__}: {error}"  # for logs: it may speak of the operator's affairs
        )
        raise failure from error


def _checked(event: object, name: str) -> ModelEvent:
    match event:
        case TextDelta(str()) | ToolCall(str(), str(), str()) | Finish(str(), None | Usage()):
            return event
        case _:
            raise ProviderResponseInvalid(f"Model {name!r} said {repr(event)[:80]}.")


def _cut_bytes(text: str, room: int) -> str:
    """As much of ``text`` as ``room`` bytes hold, in whole characters."""
    return text.encode()[:room].decode(errors="ignore")


def _call_tokens(model: Model, call: ToolCall) -> int:
    return model.estimate_tokens(call.name) + model.estimate_tokens(call.arguments)


def _likely_input_tokens(model: Model, request: ChatRequest) -> int:
    """What the input likely was: its bound, which is held for, may be several times as much."""
    tokens = 0
    for message in request.messages:
        tokens += model.estimate_tokens(message.text)
        tokens += sum(_call_tokens(model, call) for call in message.tool_calls)
    for tool in request.tools:
        schema = json.dumps(dict(tool.parameters), ensure_ascii=False)
        tokens += sum(model.estimate_tokens(text) for text in (tool.name, tool.description, schema))
    return min(tokens, model.input_tokens_max(request))
