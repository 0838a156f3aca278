"""A meter around any pydantic-ai model: hold the worst case before each call, settle after it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from pydantic_ai import RunContext
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelResponse,
    ModelResponsePart,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.models import Model as AgentModel
from pydantic_ai.models import ModelRequestContext, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.batch import BatchRequest, EncodedBatchRequest
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from prepaid import pricing
from prepaid.agents.conversion import to_messages, to_request
from prepaid.agents.settings import openai_fields
from prepaid.errors import ApiNotSupported, ModelNotPriced, ModelNotSupported
from prepaid.meter import Meter, PaidCall, Payer
from prepaid.models.apis import AGENTS_FIELDS, check_apis, check_extra
from prepaid.models.catalogue import Catalogue
from prepaid.models.codecs.dialects import DIALECTS
from prepaid.models.measure import (
    CUT_BYTES_PER_TOKEN,
    TOKENS_FOR_TOOLS,
    likely_usage,
    request_bytes,
    text_bytes,
)
from prepaid.models.price_book import shipped_book
from prepaid.models.usage import RESPONSES_USAGE, least_output_tokens, read_usage
from prepaid.records import ALL_CHAT_APIS, ModelInfo, Unit, Usage

__all__ = ["MeteredModel", "model_info"]

CONTEXT_TOKENS_DEFAULT: Final = 128_000


class MeteredModel(WrapperModel):
    """``wrapped``, paid by ``payer`` at the price in ``info``: what cannot be paid is not asked.

    Every request is held and settled by itself, so tool loops, retries and fallbacks are each paid for.
    A request that failed costs nothing; a stream that is left early costs what was delivered. Whoever
    meters several models with fallbacks puts each under its own meter.

    Raises:
        ModelNotPriced: there is no price.
    """

    def __init__(
        self,
        wrapped: AgentModel,
        *,
        meter: Meter,
        payer: Payer,
        info: ModelInfo | None,
        default_output_tokens: int,
    ) -> None:
        super().__init__(wrapped)
        if info is None:
            raise ModelNotPriced(self.wrapped.model_name)
        self._info = info
        self._meter = meter
        self._payer = payer
        self._default_output_tokens = default_output_tokens

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """The wrapped model's answer, paid.

        Raises:
            InsufficientFunds: not even the input and one token of output can be paid.
            ApiNotSupported: something in it is not text, or costs more than the hold.
            InvalidRequestError: extra fields that say again what was quoted.
            PrepaidError: as ``Meter.open``.
        """
        with self._meter.underway.step():
            call, settings = await self._open(messages, model_settings, model_request_parameters)
            try:
                response = await self.wrapped.request(messages, settings, model_request_parameters)
                await call.paid.settle(call.usage_of_response(response, is_whole=True))
            finally:
                await call.paid.abandon()
            return response

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """The wrapped model's answer as it comes, paid as far as it was delivered; raises as ``request``."""
        async with AsyncExitStack() as opened:
            with self._meter.underway.step():
                call, settings = await self._open(messages, model_settings, model_request_parameters)
                opened.push_async_callback(call.close)
                stream = await opened.enter_async_context(
                    self.wrapped.request_stream(messages, settings, model_request_parameters, run_context)
                )
            call.follow(stream)
            yield stream

    async def compact_messages(
        self,
        request_context: ModelRequestContext,  # noqa: ARG002 -- part of pydantic-ai's signature
        *,
        instructions: str | None = None,  # noqa: ARG002 -- the same
    ) -> ModelResponse:
        """Refused: what it costs cannot be held."""
        self._refuse("compaction")

    async def batch_encode(self, request: BatchRequest) -> EncodedBatchRequest:  # noqa: ARG002 -- the same
        """Refused: what it costs is known a day later."""
        self._refuse("batches")

    async def batch_create(self, requests: Any) -> Any:  # noqa: ARG002 -- the same
        """Refused, as ``batch_encode``."""
        self._refuse("batches")

    def _refuse(self, what: str) -> NoReturn:
        raise ApiNotSupported(self._info.name, what, tuple(sorted(self._info.apis)))

    async def _open(
        self, messages: list[ModelMessage], settings: ModelSettings | None, parameters: ModelRequestParameters
    ) -> tuple[_Call, ModelSettings]:
        """Hold the worst case; the settings with the output limit that it pays for."""
        name, price = self._info.name, self._info.price
        merged, prepared = self.wrapped.prepare_request(settings, parameters)
        told = "\n\n".join(part.content for part in prepared.instruction_parts or ())
        request = to_request(name, to_messages(name, told, messages), merged, prepared)
        check_extra((merged or {}).get("extra_body") or {})
        wishes = openai_fields(merged or {}, self._info.allow_fields)
        asked = replace(request, extra={**request.extra, **wishes})
        check_apis(self._info, asked, AGENTS_FIELDS)
        size = request_bytes(request)
        tokens_max = len(ModelMessagesTypeAdapter.dump_json(messages)) + size
        tokens_max += TOKENS_FOR_TOOLS if request.tools else 0
        if request.extra:  # the schema of an answer is a part of the prompt
            tokens_max += text_bytes(json.dumps(dict(request.extra), ensure_ascii=False, default=repr))
        limit = min(request.output_tokens_max or self._default_output_tokens, self._info.output_tokens_max)
        quoted = pricing.quote(name, price, size if price.unit is Unit.BYTE else tokens_max, limit)
        paid = await self._meter.open(self._payer, quoted)
        assert isinstance(paid, PaidCall), "without a key and a place there is nothing else"
        return _Call(paid, size), ModelSettings(**{**(settings or {}), "max_tokens": paid.output_limit})


@dataclass(slots=True)
class _Call:
    """A paid call while the wrapped model speaks."""

    paid: PaidCall
    input_bytes: int
    output_bytes: int = 0
    stream: StreamedResponse | None = None
    has_failed: bool = False

    def follow(self, stream: StreamedResponse) -> None:
        """Count what the stream delivers, and cut it where it goes beyond the hold.

        The stream itself stays the wrapped model's own: pydantic-ai looks at more of it than its events.
        """
        self.stream = stream
        events = stream._get_event_iterator  # noqa: SLF001 -- what pydantic-ai has models implement

        async def counted() -> AsyncGenerator[ModelResponseStreamEvent]:
            try:
                async for event in events():
                    self.output_bytes += _event_bytes(event)
                    self.paid.usage = self.usage_of(stream.usage, is_whole=False)
                    yield event
                    if self._is_spent():
                        return
            except Exception:
                self.has_failed = True
                raise
            except BaseException:  # nobody reads on: it was closed, cancelled, or stopped with all others
                await self.close()
                raise

        underway = self.paid.meter.underway
        stream._get_event_iterator = lambda: underway.stream(counted())  # type: ignore[method-assign]  # noqa: SLF001

    async def close(self) -> None:
        """Settle what was delivered; what failed by itself, or delivered nothing, costs nothing.

        Doing it again does nothing.
        """
        if self.paid.is_resolved:
            return
        response = None if self.stream is None or self.has_failed else self.stream.get()
        try:
            if response is not None and (response.parts or response.state == "complete"):
                await self.paid.settle(
                    self.usage_of_response(response, is_whole=response.state == "complete")
                )
        finally:
            await self.paid.abandon()

    def usage_of_response(self, response: ModelResponse, *, is_whole: bool) -> Usage:
        """What is billed for ``response``, whether its events were seen or not."""
        self.output_bytes = sum(_part_bytes(part) for part in response.parts)
        return self.usage_of(response.usage, is_whole=is_whole)

    def usage_of(self, told: RequestUsage, *, is_whole: bool) -> Usage:
        """What is billed: what is told, repaired where it cannot be; of a part, our count at least."""
        counted = likely_usage(self.input_bytes, self.output_bytes, self.paid.output_limit)
        counts = {
            "input_tokens": told.input_tokens,
            "output_tokens": told.output_tokens,
            "cache_read_input_tokens": told.cache_read_tokens,
            "cache_creation_input_tokens": told.cache_write_tokens,
        }
        floor = least_output_tokens(self.output_bytes)
        usage = read_usage(counts, RESPONSES_USAGE, counted, floor_output_tokens=floor).usage
        if is_whole:
            return usage
        # An answer cut off may come with no usage, or with that of its first pieces.
        return replace(usage, output_tokens=max(usage.output_tokens, counted.output_tokens))

    def _is_spent(self) -> bool:
        per_unit = 1 if self.paid.quoted.price.unit is Unit.BYTE else CUT_BYTES_PER_TOKEN
        return self.output_bytes > self.paid.output_limit * per_unit


def model_info(model: AgentModel, catalogue: Catalogue, currency: str) -> ModelInfo:
    """Price and limits of a pydantic-ai model: the settings', or else those of the price book of today.

    Raises:
        ModelNotPriced: neither knows it, or only in another currency.
    """
    dialect = model.system if model.system in DIALECTS else "openai"
    try:
        info = catalogue.info(model.model_name)
    except ModelNotSupported:
        book = shipped_book()
    else:
        return info if dialect == "openai" else replace(info, dialect=dialect)
    provider = (book.provider_at(model.base_url) if model.base_url else None) or model.system
    found = None
    if provider in book.providers and book.currency == currency:
        found = book.find(provider, model.model_name, datetime.now(UTC).date())
    if found is None:
        raise ModelNotPriced(model.model_name, _hole(provider, model.model_name))
    context = found.context_tokens_max or CONTEXT_TOKENS_DEFAULT
    return ModelInfo(
        model.model_name, found.price, context, context, ALL_CHAT_APIS, provider, dialect=dialect
    )


def _hole(provider: str, model: str) -> str:
    """What no price of the book covers."""
    book = shipped_book()
    return book.hole(provider, model, datetime.now(UTC).date()) if provider in book.providers else ""


def _event_bytes(event: ModelResponseStreamEvent) -> int:
    match event:
        case PartStartEvent(part=part):
            return _part_bytes(part)
        case PartDeltaEvent(delta=TextPartDelta(content_delta=str(text))):
            return text_bytes(text)
        case PartDeltaEvent(delta=ThinkingPartDelta(content_delta=str(text))):
            return text_bytes(text)
        case PartDeltaEvent(delta=ToolCallPartDelta() as delta):
            arguments = delta.args_delta
            return text_bytes(delta.tool_name_delta or "") + text_bytes(
                arguments if isinstance(arguments, str) else json.dumps(arguments or {})
            )
        case _:
            return 0


def _part_bytes(part: ModelResponsePart) -> int:
    match part:
        case TextPart(content=text) | ThinkingPart(content=text):
            return text_bytes(text)
        case ToolCallPart():
            return text_bytes(part.tool_name) + text_bytes(part.args_as_json_str())
        case _:
            return 0
