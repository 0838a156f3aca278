"""One question, paid and answered: quote, hold, run, capture. The one way to a model.

A request that fails costs nothing. A caller that vanishes pays for what was produced. A stream is cut
where the hold ends; a provider that bills more than the hold does so at our expense, and it is booked.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from prepaid import pricing
from prepaid.errors import ProviderError
from prepaid.ledger import fingerprint
from prepaid.meter import Meter, PaidCall, Payer, Replay
from prepaid.models.contract import Model
from prepaid.models.measure import event_bytes, request_bytes, text_bytes
from prepaid.records import (
    ChatRequest,
    Finish,
    FinishReason,
    Message,
    Price,
    Quote,
    Role,
    TextDelta,
    ToolCall,
    Unit,
    Usage,
)
from prepaid.store.operations import Place, PlaceTaken, Turn

__all__ = ["Answer", "Question", "Turns"]

_CUT_BYTES_PER_TOKEN: Final = 6
"""A stream with more bytes than this per token of its limit is cut. Text has about four, so no provider
that keeps to the limit is cut short, and one that does not costs us half a hold at most."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, who pays, and who may answer: ``models`` are tried in order (spec C12).

    ``price`` replaces the models' own where the caller named the fee (spec A10). ``place`` saves
    question and answer as a turn of a chat; ``asked`` are the messages the turn begins with.
    """

    payer: Payer
    request: ChatRequest
    models: tuple[Model, ...]
    key: str | None = None
    price: Price | None = None
    place: Place | None = None
    asked: tuple[Message, ...] = ()


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


@dataclass(slots=True)
class _Run:
    """The state of one call while the model speaks."""

    call: PaidCall
    model: Model
    quoted: Quote
    limit: int
    input_bytes: int
    input_tokens: int
    started: float = field(default_factory=time.monotonic)
    text: list[str] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    output_bytes: int = 0
    output_tokens: int = 0

    def deliver(self, piece: str) -> str:
        """Count a piece of text; what of it the hold pays for."""
        if self.quoted.price.unit is Unit.BYTE:
            affordable = piece.encode("utf-8", "surrogatepass")[: self.limit - self.output_bytes]
            piece = affordable.decode("utf-8", "ignore")
        self.text.append(piece)
        self.output_bytes += text_bytes(piece)
        self.output_tokens += self.model.estimate_tokens(piece)
        self._tell()
        return piece

    def deliver_call(self, tool_call: ToolCall) -> None:
        """Count a tool call."""
        self.tool_calls.append(tool_call)
        self.output_bytes += event_bytes(tool_call)
        self.output_tokens += self.model.estimate_tokens(tool_call.arguments)
        self._tell()

    def _tell(self) -> None:
        self.call.usage = self.usage_so_far()

    @property
    def is_spent(self) -> bool:
        """Whether the output has reached what the hold pays for, and the provider goes on."""
        if self.quoted.price.unit is Unit.BYTE:
            return self.output_bytes >= self.limit
        return self.output_bytes > self.limit * _CUT_BYTES_PER_TOKEN

    def usage_so_far(self) -> Usage:
        """What was used by our own count, for providers that tell nothing."""
        return Usage(
            input_tokens=self.input_tokens,
            output_tokens=min(self.output_tokens, self.limit),
            input_bytes=self.input_bytes,
            output_bytes=self.output_bytes,
        )

    def usage_told(self, told: Usage | None) -> Usage:
        """What the provider says, with the bytes that we counted."""
        if told is None:
            return self.usage_so_far()
        return replace(told, input_bytes=self.input_bytes, output_bytes=self.output_bytes)


class Turns:
    """Answers questions, and has them paid."""

    def __init__(self, meter: Meter, default_output_tokens: int) -> None:
        self.meter = meter
        self._default_output_tokens = default_output_tokens

    async def answer(self, question: Question) -> Answer:
        """The whole answer at once; see ``stream``."""
        async with aclosing(self.stream(question)) as events:
            async for event in events:
                if isinstance(event, Answer):
                    return event
        raise AssertionError("a stream ends with its answer")

    async def stream(self, question: Question) -> AsyncGenerator[TextDelta | ToolCall | Answer]:
        """The answer as it comes; the last event is the ``Answer``, settled and durable by then.

        Raises:
            InsufficientFunds: not even the input and one unit of output can be paid.
            ProviderError: every model failed; it cost nothing.
            PrepaidError: as ``Meter.open``.
        """
        reserved = await self.reserve(question)
        assert not isinstance(reserved, PlaceTaken), "a question with a place is reserved first"
        async with aclosing(self.run(question, reserved)) as events:
            async for event in events:
                yield event

    async def reserve(self, question: Question) -> PaidCall | PlaceTaken | Replay:
        """The first half: quote and hold. With a place in a chat, it may turn out to be taken.

        The hold is the dearest quote of the models that may answer.
        """
        quotes = [self.quote(question, model) for model in question.models]
        dearest = max(quotes, key=lambda quoted: quoted.amount)
        first = replace(dearest, minimum=min(quoted.minimum for quoted in quotes))
        content = None
        if question.key is not None:
            content = fingerprint(_asked(question), question.price)
        return await self.meter.open(
            question.payer, first, key=question.key, content=content, place=question.place
        )

    def quote(self, question: Question, model: Model) -> Quote:
        """The worst case with this model: every input unit, and the whole output limit."""
        request = question.request
        price = question.price or model.info.price
        limit = min(request.output_tokens_max or self._default_output_tokens, model.info.output_tokens_max)
        units = request_bytes(request) if price.unit is Unit.BYTE else model.input_tokens_max(request)
        return pricing.quote(model.info.name, price, units, limit)

    async def run(
        self, question: Question, reserved: PaidCall | Replay
    ) -> AsyncGenerator[TextDelta | ToolCall | Answer]:
        """The second half: run the model, and settle."""
        if isinstance(reserved, Replay):
            payer = question.payer
            account = self.meter.ledger.account(payer.session_id, payer.owner)
            answer = replace(Answer.from_json(reserved.response), available=account.available)
            yield TextDelta(answer.text)
            yield answer
            return
        runs = self._runs(question, reserved)
        try:
            async with aclosing(self._first_to_answer(question, runs)) as events:
                async for event in events:
                    yield event
        except (GeneratorExit, asyncio.CancelledError):
            await self._settle_vanished(question, reserved, runs)
            raise
        except BaseException:
            await reserved.abandon()
            raise

    async def _first_to_answer(
        self, question: Question, runs: list[_Run]
    ) -> AsyncGenerator[TextDelta | ToolCall | Answer]:
        for run in runs:
            try:
                async with aclosing(self._events(question, run)) as events:
                    async for event in events:
                        yield event
            except ProviderError:
                # Where the caller has seen a part, another model cannot go on from there.
                if run.output_bytes or run is runs[-1]:
                    raise
            else:
                return

    def _runs(self, question: Question, call: PaidCall) -> list[_Run]:
        """One run for each model that the hold can pay, in order."""
        quotes = [(model, self.quote(question, model)) for model in question.models]
        size = request_bytes(question.request)
        return [
            _Run(
                call,
                model,
                quoted,
                limit=pricing.affordable_output(quoted, call.granted),
                input_bytes=size,
                input_tokens=model.input_tokens_max(question.request),
            )
            for model, quoted in quotes
            if call.granted >= quoted.minimum
        ]

    async def _events(self, question: Question, run: _Run) -> AsyncGenerator[TextDelta | ToolCall | Answer]:
        request = replace(question.request, model=run.model.info.name, output_tokens_max=run.limit)
        finish = Finish("length", None)
        async with aclosing(run.model.stream(request)) as events:
            async for event in events:
                match event:
                    case TextDelta(text):
                        yield TextDelta(run.deliver(text))
                        if run.is_spent:
                            break
                    case ToolCall():
                        run.deliver_call(event)
                        yield event
                    case Finish():
                        finish = event
        yield await self._settle(question, run, finish)

    async def _settle(self, question: Question, run: _Run, finish: Finish) -> Answer:
        usage = run.usage_told(finish.usage)
        answer = _answer(run, finish.reason, usage)
        response = answer.to_json() if run.call.is_keyed else None
        settled = await run.call.settle(
            usage, quoted=run.quoted, turn=_turn(question, run), response=response
        )
        return replace(answer, available=settled.available)

    async def _settle_vanished(self, question: Question, call: PaidCall, runs: list[_Run]) -> None:
        """The caller is gone: what it was given is paid for and saved, or it costs nothing."""
        for run in runs:
            if run.output_bytes:
                await call.settle(run.usage_so_far(), quoted=run.quoted, turn=_turn(question, run))
        await call.abandon()


def _asked(question: Question) -> object:
    """What a key stands for. In a chat that is the question alone: the history before it grows."""
    if question.place is None:
        return question.request
    request = question.request
    return question.place.chat_no, question.asked, request.model, request.output_tokens_max


def _turn(question: Question, run: _Run) -> Turn | None:
    if question.place is None:
        return None
    said = Message(Role.ASSISTANT, "".join(run.text), tuple(run.tool_calls))
    return Turn((*question.asked, said), int((time.monotonic() - run.started) * 1000))


def _answer(run: _Run, reason: FinishReason, usage: Usage) -> Answer:
    cost = pricing.cost(run.quoted.price, usage)
    return Answer(
        text="".join(run.text),
        model=run.model.info.name,
        finish_reason=reason,
        tool_calls=tuple(run.tool_calls),
        usage=usage,
        held=run.call.granted,
        cost=min(cost, run.call.granted),
        available=0,
        output_limit=run.limit,
        is_lowered=run.call.is_lowered,
        shortfall=max(cost - run.call.granted, 0),
    )
