"""Models behind an OpenAI-compatible API, streamed over one pooled HTTP client per upstream.

Imported only when an upstream is used. Retries are left to ``retrying``, fallbacks to ``turns``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from prepaid.errors import ProviderResponseInvalid, ProviderStreamBroken, ProviderTimeout
from prepaid.models.events import EventBytes, check_event_stream
from prepaid.models.measure import (
    TOKENS_FOR_TOOLS,
    TOKENS_PER_MESSAGE,
    event_bytes,
    likely_tokens,
    likely_usage,
    request_bytes,
    text_bytes,
)
from prepaid.models.openai_wire import Answer, prompt_text, request_body
from prepaid.models.upstream import Upstream
from prepaid.models.usage import CHAT_USAGE, least_output_tokens, read_usage
from prepaid.records import ChatRequest, Finish, ModelEvent, ModelInfo, Usage

__all__ = ["OpenAICompatibleModel"]

_log: Final = logging.getLogger(__name__)
_DONE: Final = b"[DONE]"


class OpenAICompatibleModel:
    """A ``Model`` that an upstream answers for, under the name ``upstream_model`` there."""

    def __init__(self, info: ModelInfo, upstream: Upstream, upstream_model: str) -> None:
        self._info = info
        self._upstream = upstream
        self._upstream_model = upstream_model

    @property
    def info(self) -> ModelInfo:
        """Name, pinned price and limits."""
        return self._info

    def input_tokens_max(self, request: ChatRequest) -> int:
        """No byte-level tokenizer makes more tokens than bytes; template tokens come on top."""
        has_tools = bool(request.tools) or "tools" in request.extra
        size = -(-text_bytes(prompt_text(request)) // self._upstream.settings.bytes_per_token)
        return size + TOKENS_PER_MESSAGE * len(request.messages) + (TOKENS_FOR_TOOLS if has_tools else 0)

    def estimate_tokens(self, text: str) -> int:
        """What the text likely is in today's vocabularies."""
        return likely_tokens(text)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ModelEvent]:
        """The upstream's answer as it comes.

        Raises:
            ProviderError: refused, timed out, broken off, or not what the protocol says.
        """
        answer = Answer(self._upstream.name)
        output_bytes = 0
        async with aclosing(self._deltas(request, answer)) as deltas:
            async for delta in deltas:
                output_bytes += event_bytes(delta)
                yield delta
        *calls, end = answer.end()
        for call in calls:
            output_bytes += event_bytes(call)
            yield call
        assert isinstance(end, Finish)
        yield Finish(end.reason, self._usage(answer.usage, request, output_bytes))

    def _usage(self, told: Any, request: ChatRequest, output_bytes: int) -> Usage | None:
        """What was told, repaired; ``None`` where nothing was told that can be."""
        input_bytes = request_bytes(request)
        counted = likely_usage(input_bytes, output_bytes)
        floor = least_output_tokens(output_bytes)
        read = read_usage(told, CHAT_USAGE, counted, floor_output_tokens=floor)
        if read.repaired and told is not None:
            _log.warning("Upstream %r told an odd usage: %s", self._upstream.name, read.repaired)
        return read.usage if read.is_told else None

    async def _deltas(self, request: ChatRequest, answer: Answer) -> AsyncGenerator[ModelEvent]:
        done = False
        try:
            async with aclosing(self._events(request)) as events:
                async for data in events:
                    if data.strip() == _DONE.decode():
                        done = True
                        break
                    for delta in answer.texts(data):
                        yield delta
        except (ProviderTimeout, ProviderStreamBroken):
            # The whole answer is here; only its usage is missing, which is not worth failing for.
            if not answer.ended:
                raise
        if not done and not answer.ended:
            raise ProviderStreamBroken(
                f"Upstream {self._upstream.name!r} ended the stream before the answer."
            )

    async def _events(self, request: ChatRequest) -> AsyncGenerator[str]:
        """The data of each server-sent event."""
        body = request_body(request, self._upstream_model, self._upstream.limit_field or "max_tokens")
        content = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
        asked = self._upstream.ask(
            "/chat/completions", content, model=self._upstream_model, payer=request.asker
        )
        async with asked as reply:
            check_event_stream(self._upstream.name, reply.content_type)
            events = EventBytes(self._upstream.name)
            async for piece in reply.pieces():
                for _, data in events.feed(piece):
                    if data.strip() == _DONE:
                        await reply.finish()
                        yield _DONE.decode()
                        return
                    if data:
                        yield self._decoded(data)
            for _, data in events.end():
                if data:
                    yield self._decoded(data)

    def _decoded(self, data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise ProviderResponseInvalid(
                f"Upstream {self._upstream.name!r} sent bytes that are not UTF-8."
            ) from None
