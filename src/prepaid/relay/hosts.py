"""Who answers: an upstream over HTTP. Models of ours answer in ``own``, in the same words."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from pydantic_core import to_json

from prepaid.models.images import image_tokens_max
from prepaid.models.measure import TOKENS_FOR_TOOLS, TOKENS_PER_MESSAGE, likely_tokens
from prepaid.records import ModelInfo
from prepaid.relay.heavy import heavily
from prepaid.relay.wire import Body

if TYPE_CHECKING:  # it imports aiohttp, which only those who ask an upstream wait for
    from prepaid.models.upstream import Upstream
    from prepaid.relay.order import Order

__all__ = ["Host", "Reply", "UpstreamHost"]

_logger = logging.getLogger("prepaid.relay")


class Reply(Protocol):
    """An answer, read once."""

    @property
    def content_type(self) -> str:
        """As a header: that of JSON, or of an event stream."""

    async def content(self) -> bytes:
        """The whole body."""

    def pieces(self) -> AsyncGenerator[bytes]:
        """The body as it comes."""

    async def finish(self) -> None:
        """All that matters has come."""


class Host(Protocol):
    """Answers requests for one model."""

    @property
    def name(self) -> str:
        """Whose fault it is, for error messages."""

    @property
    def secret(self) -> str | None:
        """What must never be shown of it."""

    @property
    def model(self) -> str:
        """What the model is called there."""

    @property
    def limit_field(self) -> str | None:
        """Where a chat completion has its output limit there; ``None`` where its client may choose."""

    @property
    def retries_max(self) -> int:
        """How often it is asked again."""

    @property
    def hides_output(self) -> bool | None:
        """Whether it bills output that it does not show; ``None`` where nothing is known yet."""

    def note_output(self, *, is_hidden: bool) -> None:
        """An answer was read whole, and its usage told whether there was more than it showed."""

    def note_odd_usage(self, what: str) -> None:
        """Tell the operator that it told a usage that cannot be, in whole or in part."""

    def input_tokens_max(self, order: Order, info: ModelInfo) -> int:
        """An upper bound of the input tokens that the order can be billed for."""

    def estimate_tokens(self, text: str) -> int:
        """The likely tokens of a text, for answers whose usage nobody tells."""

    def ask(self, order: Order, body: Body) -> AbstractAsyncContextManager[Reply]:
        """Ask ``body`` for an order; leaving the block early drops the answer.

        Raises:
            ProviderError: no answer came.
        """


class UpstreamHost:
    """An upstream that speaks OpenAI's API."""

    __slots__ = ("limit_field", "model", "name", "retries_max", "secret", "upstream")

    def __init__(self, upstream: Upstream, model: str) -> None:
        self.upstream = upstream
        self.name = upstream.name
        self.secret = upstream.secret
        self.model = model
        self.limit_field = upstream.limit_field
        self.retries_max = upstream.settings.retries_max

    @property
    def hides_output(self) -> bool | None:
        """As it was seen in this process."""
        return self.upstream.hides_output.get(self.model)

    def note_output(self, *, is_hidden: bool) -> None:
        """Remember it: a model that has once hidden output does so again."""
        self.upstream.hides_output[self.model] = is_hidden or bool(self.hides_output)

    def note_odd_usage(self, what: str) -> None:
        """Count it for the metrics, and log it."""
        self.upstream.odd_usages += 1
        _logger.warning("upstream %s told an odd usage for %s: %s", self.name, self.model, what)

    def input_tokens_max(self, order: Order, info: ModelInfo) -> int:
        """No byte-level tokenizer makes more tokens than bytes; what a template adds, and images, on top."""
        asked = order.asked
        size = len(to_json(order.body)) - asked.image_bytes
        tokens = -(-size // self.upstream.settings.bytes_per_token) + TOKENS_PER_MESSAGE * asked.messages
        if asked.has_tools:
            tokens += TOKENS_FOR_TOOLS
        return tokens + sum(image_tokens_max(info, image) for image in asked.images)

    def estimate_tokens(self, text: str) -> int:
        """What the text likely is in today's vocabularies."""
        return likely_tokens(text)

    @asynccontextmanager
    async def ask(self, order: Order, body: Body) -> AsyncIterator[Reply]:
        """Over HTTP."""
        # Always written anew: with a name given twice, another parser might see another limit than we do.
        content = await heavily(lambda: _written(body)) if order.is_heavy else _written(body)
        path, payer = order.api.path, order.payer.owner
        async with self.upstream.ask(path, content, model=self.model, payer=payer) as reply:
            yield reply


def _written(body: Body) -> bytes:
    return to_json(body, inf_nan_mode="null")
