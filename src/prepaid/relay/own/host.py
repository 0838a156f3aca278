"""A model of ours as the host of its own answers."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final, cast

from pydantic_core import to_json

from prepaid.models.codecs.chat_stream import whole_text
from prepaid.models.contract import EmbeddingModel, Model
from prepaid.records import ChatRequest, ModelEvent, ModelInfo, TextDelta, ToolCall
from prepaid.relay.hosts import Reply
from prepaid.relay.order import Order
from prepaid.relay.own.chat import completion, completion_events
from prepaid.relay.own.embeddings import embeddings
from prepaid.relay.own.requests import chat_request
from prepaid.relay.own.responses import response, response_events
from prepaid.relay.own.speech import Speaking
from prepaid.relay.wire import Body, WireApi
from prepaid.turns.run import guarded

__all__ = ["OwnHost"]

_logger = logging.getLogger("prepaid.relay")


class OwnHost:
    """Answers as an upstream would, in this process."""

    secret = None
    limit_field = "max_tokens"
    retries_max = 0
    hides_output = False
    """What our own models say is all there is."""

    def __init__(self, model: Model) -> None:
        self.name = self.model = model.info.name
        self._model = model

    def input_tokens_max(self, order: Order, info: ModelInfo) -> int:  # noqa: ARG002 -- the model knows itself
        """The model's own bound."""
        if order.api.path == "/embeddings":
            return sum(self.estimate_tokens(text) for text in order.api.texts(order.body))
        return self._model.input_tokens_max(chat_request(order.api, order.body))

    def note_output(self, *, is_hidden: bool) -> None:
        """Nothing is learnt of it."""

    def note_odd_usage(self, what: str) -> None:
        """Log it: a model that an app passed in counts wrongly."""
        _logger.warning("model %s told an odd usage: %s", self.name, what)

    def estimate_tokens(self, text: str) -> int:
        """The model's own estimate."""
        return self._model.estimate_tokens(text)

    @asynccontextmanager
    async def ask(self, order: Order, body: Body) -> AsyncIterator[Reply]:
        """The model's answer, in OpenAI's words."""
        if order.api.path == "/embeddings":
            yield _Written(embeddings(cast("EmbeddingModel", self._model), body))
            return
        yield _Spoken(self._speaking, order.api, chat_request(order.api, body), body)

    async def _speaking(self, request: ChatRequest) -> AsyncGenerator[ModelEvent]:
        async with aclosing(guarded(self._model, request)) as events:
            async for event in events:
                yield _writable(event)


class _Written:
    """An answer that is there already."""

    content_type = "application/json"

    def __init__(self, reply: Body) -> None:
        self._reply = reply

    async def content(self) -> bytes:
        return to_json(self._reply)

    async def pieces(self) -> AsyncGenerator[bytes]:
        yield await self.content()

    async def finish(self) -> None:
        """Nothing is left."""


class _Spoken:
    """An answer that is written down as the model speaks."""

    def __init__(self, speaking: Speaking, api: WireApi, request: ChatRequest, body: Body) -> None:
        self._speaking = speaking
        self._writing = _WRITINGS[api.path]
        self._request = request
        self._body = body
        self.content_type = "text/event-stream" if body.get("stream") is True else "application/json"

    async def content(self) -> bytes:
        whole, _ = self._writing
        return to_json(await whole(self._speaking, self._request, self._body))

    async def pieces(self) -> AsyncGenerator[bytes]:
        _, events = self._writing
        async with aclosing(events(self._speaking, self._request, self._body)) as pieces:
            async for piece in pieces:
                yield piece

    async def finish(self) -> None:
        """Nothing is left that matters."""


_WRITINGS: Final = {
    "/chat/completions": (completion, completion_events),
    "/responses": (response, response_events),
}
"""How whole answers and streams of an API are written."""


def _writable(event: ModelEvent) -> ModelEvent:
    """JSON has no half surrogate pairs."""
    match event:
        case TextDelta(text):
            return event if text.isascii() else TextDelta(whole_text(text))
        case ToolCall(call_id, name, arguments):
            return ToolCall(whole_text(call_id), whole_text(name), whole_text(arguments))
        case _:
            return event
