"""Our models under pydantic-ai: a request goes out as a ``ChatRequest``, its answer comes back as parts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, Final

from pydantic_ai import RunContext
from pydantic_ai.messages import (
    FinishReason,
    ModelMessage,
    ModelResponse,
    ModelResponsePart,
    ModelResponseStreamEvent,
    TextPart,
    ToolCallPart,
)
from pydantic_ai.models import Model as AgentModel
from pydantic_ai.models import ModelRequestParameters, StreamedResponse
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from prepaid import records
from prepaid.agents.conversion import to_messages, to_request
from prepaid.agents.handoff import Handoff, Sink
from prepaid.meter import Payer
from prepaid.models.contract import Model
from prepaid.records import ChatRequest, ModelInfo, TextDelta, ToolCall, Usage
from prepaid.turns import Answer, Question, Turns

__all__ = ["Ask", "BridgedModel", "Piece", "paid_model"]

Piece = TextDelta | ToolCall | Answer
Ask = Callable[[ChatRequest, str | None], AsyncGenerator[Piece]]
"""Answers a request as ``Turns.stream`` does: paid, and with an ``Answer`` at the end. With it comes the id
of the agent's run that asks, because a tool may hand its model on to another agent."""

_REASONS: Final[dict[records.FinishReason, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_call",
    "content_filter": "content_filter",
    "cancelled": "error",
}


class BridgedModel(AgentModel):
    """A pydantic-ai model whose requests are answered, and paid, by ``ask``.

    ``info`` is that of the model asked first. ``output_tools`` are those tools of the last request by
    which the model gives a structured answer.
    """

    _announces_lookalike_notes: ClassVar[bool] = False

    def __init__(self, info: ModelInfo, ask: Ask) -> None:
        super().__init__(profile=_profile(info))
        self._info = info
        self._ask = ask
        self.output_tools: frozenset[str] = frozenset()

    @property
    def model_name(self) -> str:
        """The name of the model asked first."""
        return self._info.name

    @property
    def system(self) -> str:
        """Who answers for it."""
        return self._info.provider

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """The whole answer.

        Raises:
            PrepaidError: whatever ``ask`` raises, unchanged.
        """
        request = self._to_request(messages, model_settings, model_request_parameters)
        answer: Answer | None = None
        async with aclosing(self._ask(request, _run_id(messages))) as pieces:
            async for piece in pieces:
                if isinstance(piece, Answer):
                    answer = piece
        assert answer is not None, "a stream ends with its answer"
        return ModelResponse(
            list(_parts(answer)),
            usage=_usage(answer.usage),
            model_name=answer.model,
            provider_name=self.system,
            finish_reason=_REASONS[answer.finish_reason],
        )

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,  # noqa: ARG002 -- part of pydantic-ai's signature
    ) -> AsyncGenerator[StreamedResponse]:
        """The answer as it comes; leaving early pays for what was delivered."""
        request = self._to_request(messages, model_settings, model_request_parameters)
        async with aclosing(Handoff(partial(self._pour, request, _run_id(messages)))) as pieces:
            # Taken before the stream is handed over, so that a refusal is raised where it is opened.
            first = await anext(pieces)
            yield _BridgedStream(model_request_parameters, self._info, first, pieces)

    async def _pour(self, request: ChatRequest, run_id: str | None, sink: Sink[Piece]) -> None:
        async with aclosing(self._ask(request, run_id)) as pieces:
            async for piece in pieces:
                await sink(piece)

    def _to_request(
        self, messages: list[ModelMessage], settings: ModelSettings | None, parameters: ModelRequestParameters
    ) -> ChatRequest:
        settings, parameters = self.prepare_request(settings, parameters)
        self.output_tools = frozenset(tool.name for tool in parameters.output_tools)
        told = self._get_instruction_parts(messages, parameters) or ()
        instructions = "\n\n".join(part.content for part in told)
        return to_request(
            self.model_name, to_messages(self.model_name, instructions, messages), settings, parameters
        )


def paid_model(turns: Turns, payer: Payer, models: tuple[Model, ...]) -> BridgedModel:
    """Our models as one for users' own agents: each call is paid when it is answered, by ``payer``.

    ``models`` are tried in order, each at its own price (spec C12).
    """

    async def ask(request: ChatRequest, _: str | None) -> AsyncGenerator[Piece]:
        answered = turns.stream(Question(payer, request, models))
        async with aclosing(turns.meter.underway.stream(answered)) as pieces:
            async for piece in pieces:
                yield piece

    return BridgedModel(models[0].info, ask)


@dataclass
class _BridgedStream(StreamedResponse):
    """One answer's pieces as pydantic-ai's events."""

    info: ModelInfo
    first: Piece
    pieces: Handoff[Piece, None]
    _answered: datetime = field(default_factory=lambda: datetime.now(UTC))
    _by: str = ""

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        for event in self._events(self.first):
            yield event
        async for piece in self.pieces:
            for event in self._events(piece):
                yield event

    def _events(self, piece: Piece) -> Iterator[ModelResponseStreamEvent]:
        match piece:
            case TextDelta(text):
                yield from self._parts_manager.handle_text_delta(vendor_part_id="text", content=text)
            case ToolCall(call_id, name, arguments):
                yield self._parts_manager.handle_tool_call_part(
                    vendor_part_id=call_id, tool_name=name, args=arguments, tool_call_id=call_id
                )
            case Answer():
                self._usage = _usage(piece.usage)
                self.finish_reason = _REASONS[piece.finish_reason]
                self._by = piece.model

    async def close_stream(self) -> None:
        """Drop the connection to the provider; what was delivered is settled."""
        await self.pieces.aclose()

    @property
    def model_name(self) -> str:
        """Who answers; which of several is known at the end."""
        return self._by or self.info.name

    @property
    def provider_name(self) -> str:
        """Who answers for it."""
        return self.info.provider

    @property
    def provider_url(self) -> None:
        """Not told."""
        return

    @property
    def timestamp(self) -> datetime:
        """When the answer began."""
        return self._answered


def _run_id(messages: list[ModelMessage]) -> str | None:
    return messages[-1].run_id if messages else None


def _parts(answer: Answer) -> Iterator[ModelResponsePart]:
    if answer.text:
        yield TextPart(answer.text)
    for call in answer.tool_calls:
        yield ToolCallPart(call.name, call.arguments, call.id)


def _usage(usage: Usage) -> RequestUsage:
    return RequestUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )


def _profile(info: ModelInfo) -> ModelProfile:
    has_tools = "tools" in info.apis
    has_schemas = "structured_output" in info.apis
    return ModelProfile(
        supports_tools=has_tools,
        supports_json_schema_output=has_schemas,
        supports_inline_system_prompts=True,
        default_structured_output_mode="tool" if has_tools else "native" if has_schemas else "prompted",
    )
