"""A meter around any model of the OpenAI Agents SDK: hold the worst case before each call, settle after."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, cast

from agents import (
    AgentOutputSchemaBase,
    Handoff,
    Model,
    ModelProvider,
    ModelResponse,
    ModelSettings,
    ModelTracing,
)
from agents import Tool as AgentTool
from agents.items import TResponseInputItem, TResponseStreamEvent
from agents.retry import ModelRetryAdvice, ModelRetryAdviceRequest
from openai.types.responses.response_prompt_param import ResponsePromptParam

from prepaid import pricing
from prepaid.errors import ApiNotSupported, ModelNotPriced, ModelNotSupported
from prepaid.integrations.agents_call import MeteredCall, item_bytes
from prepaid.integrations.agents_request import input_tokens_max, to_request
from prepaid.integrations.parts import payer_of, workspace_of
from prepaid.meter import PaidCall
from prepaid.models.catalogue import Catalogue
from prepaid.models.measure import request_bytes
from prepaid.models.price_book import shipped_book
from prepaid.records import ALL_CHAT_APIS, ModelInfo, Unit
from prepaid.sessions.leased import LeasedSession
from prepaid.sessions.session import Session

__all__ = ["MeteredAgentsModel", "MeteredModelProvider"]

_CONTEXT_TOKENS_DEFAULT: Final = 128_000


class MeteredAgentsModel(Model):
    """``model``, paid by ``session``: what cannot be paid is not asked.

    Every call is held and settled by itself, so tool loops, handoffs and retries are each paid for. A
    call that failed costs nothing; a stream that is left early costs what was delivered. The price is
    that of ``name``, or else of the model's own name, in the settings or the price book; or give ``info``.

    Raises:
        ModelNotPriced: there is no price, so it is not asked.
    """

    def __init__(
        self,
        session: Session | LeasedSession,
        model: Model,
        *,
        name: str | None = None,
        info: ModelInfo | None = None,
    ) -> None:
        workspace = workspace_of(session)
        self._model = model
        self._payer = payer_of(session)
        self._meter = workspace.meter
        self._default_output_tokens = workspace.settings.default_output_tokens
        self._info = info or _model_info(model, name, workspace.catalogue, self._payer.asset)

    async def get_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[AgentTool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None,
        conversation_id: str | None,
        prompt: ResponsePromptParam | None,
    ) -> ModelResponse:
        """The model's answer, paid.

        Raises:
            InsufficientFunds: not even the input and one token of output can be paid.
            ApiNotSupported: something in it is not text, so its worst case is not known.
            PrepaidError: as ``Meter.open``. Errors of the model are passed on.
        """
        self._refuse_memory(previous_response_id, conversation_id, prompt)
        with self._meter.underway.step():
            call, settings = await self._open(
                system_instructions, input, model_settings, tools, output_schema, handoffs
            )
            try:
                response = await self._model.get_response(
                    system_instructions,
                    input,
                    settings,
                    tools,
                    output_schema,
                    handoffs,
                    tracing,
                    previous_response_id=None,
                    conversation_id=None,
                    prompt=None,
                )
                call.output_bytes = sum(item_bytes(item) for item in response.output)
                await call.settle(response.usage)
            finally:
                await call.paid.abandon()
            return response

    def stream_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[AgentTool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None,
        conversation_id: str | None,
        prompt: ResponsePromptParam | None,
    ) -> AsyncGenerator[TResponseStreamEvent]:
        """The model's answer as it comes; settled before its last event is passed on. Raises as above."""
        self._refuse_memory(previous_response_id, conversation_id, prompt)
        events = self._streamed(
            system_instructions, input, model_settings, tools, output_schema, handoffs, tracing
        )
        return self._meter.underway.stream(events)

    async def _streamed(
        self,
        system_instructions: str | None,
        asked: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[AgentTool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff],
        tracing: ModelTracing,
    ) -> AsyncGenerator[TResponseStreamEvent]:
        call, settings = await self._open(
            system_instructions, asked, model_settings, tools, output_schema, handoffs
        )
        # Without being asked, chat completions tell no usage of a stream.
        settings = settings if settings.include_usage is not None else replace(settings, include_usage=True)
        events = self._model.stream_response(
            system_instructions,
            asked,
            settings,
            tools,
            output_schema,
            handoffs,
            tracing,
            previous_response_id=None,
            conversation_id=None,
            prompt=None,
        )
        try:
            async with _closing(events):
                try:
                    async for event in events:
                        await call.see(event)
                        yield event
                except (GeneratorExit, asyncio.CancelledError):
                    await call.settle_delivered()
                    raise
        finally:
            await call.paid.abandon()

    async def close(self) -> None:
        """Close the model."""
        await self._model.close()

    def get_retry_advice(self, request: ModelRetryAdviceRequest) -> ModelRetryAdvice | None:
        """The model's own."""
        return self._model.get_retry_advice(request)

    async def _cleanup_on_run_end(self, owner: object) -> None:
        await self._model._cleanup_on_run_end(owner)  # noqa: SLF001 -- the SDK calls it so

    def _refuse_memory(self, *remembered: object) -> None:
        """What the provider remembers is billed too, and nobody here knows how long it is."""
        if any(each is not None for each in remembered):
            raise ApiNotSupported(
                self._info.name, "conversations kept by the provider", tuple(sorted(self._info.apis))
            )

    async def _open(
        self,
        instructions: str | None,
        asked: str | list[TResponseInputItem],
        settings: ModelSettings,
        tools: list[AgentTool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff],
    ) -> tuple[MeteredCall, ModelSettings]:
        """Hold the worst case; the settings with the output limit that it pays for."""
        info = self._info
        request = to_request(info, instructions, asked, settings, tools, output_schema, handoffs)
        size = request_bytes(request)
        limit = min(request.output_tokens_max or self._default_output_tokens, info.output_tokens_max)
        units = size if info.price.unit is Unit.BYTE else input_tokens_max(request)
        quoted = pricing.quote(info.name, info.price, units, limit)
        paid = await self._meter.open(self._payer, quoted)
        assert isinstance(paid, PaidCall), "without a key and a place there is nothing else"
        return MeteredCall(paid, size), replace(settings, max_tokens=paid.output_limit)


class MeteredModelProvider(ModelProvider):
    """Meters every model of a provider: ``RunConfig(model_provider=MeteredModelProvider(session, …))``.

    So agents that name their models only are paid as they are. A name that has no price is refused.
    """

    def __init__(self, session: Session | LeasedSession, provider: ModelProvider) -> None:
        self._session = session
        self._provider = provider

    def get_model(self, model_name: str | None) -> Model:
        """The provider's model, metered."""
        return MeteredAgentsModel(self._session, self._provider.get_model(model_name), name=model_name)

    async def aclose(self) -> None:
        """Close the provider."""
        await self._provider.aclose()


def _closing(events: AsyncIterator[TResponseStreamEvent]) -> contextlib.AbstractAsyncContextManager[Any]:
    """Closes a stream that can be closed; the SDK asks for an iterator only."""
    return aclosing(cast(Any, events)) if hasattr(events, "aclose") else contextlib.nullcontext()


def _model_info(model: Model, name: str | None, catalogue: Catalogue, currency: str) -> ModelInfo:
    """Price and limits: the settings', or else those of the price book for the model's provider."""
    named = name or str(getattr(model, "model", type(model).__name__))
    try:
        return catalogue.info(named)
    except ModelNotSupported:
        book = shipped_book()
    url = getattr(getattr(model, "_client", None), "base_url", None)
    provider = None if url is None else book.provider_at(str(url))
    found = None
    if provider is not None and book.currency == currency:
        found = book.find(provider, named, datetime.now(UTC).date())
    if provider is None or found is None:
        raise ModelNotPriced(named)
    context = found.context_tokens_max or _CONTEXT_TOKENS_DEFAULT
    return ModelInfo(named, found.price, context, context, ALL_CHAT_APIS, provider)
