"""One streamed answer on its way through: passed on as it came, counted, and cut where the hold ends."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Final

from pydantic_core import from_json

from prepaid.errors import ProviderError, ProviderResponseInvalid, ProviderStreamBroken, ProviderTimeout
from prepaid.meter import PaidCall
from prepaid.models.events import EventBytes, check_event_stream
from prepaid.models.measure import text_bytes
from prepaid.models.retrying import with_retries
from prepaid.models.usage import told_usage
from prepaid.records import Message, Usage
from prepaid.relay.order import Head, Order, Receipt
from prepaid.relay.targets import Target
from prepaid.relay.wire import Body

__all__ = ["Flow"]

EVENT_BYTES_MAX: Final = 16 * 1_048_576
"""The last event of a response repeats all of it."""

_DONE: Final = b"[DONE]"

_CUT_CHARACTERS_PER_TOKEN: Final = 8
_CUT_CHARACTERS_MORE: Final = 128
"""As in ``turns.run``: an answer of more characters than these for its limit is measured, and cut if it is
too long. No upstream that keeps to the limit is cut short."""

_MEASURE_EVERY: Final = 8
"""A long answer is measured anew when it has grown by an eighth."""


class Flow:
    """One target's streamed answer to an order, on a paid call."""

    def __init__(self, order: Order, target: Target, call: PaidCall) -> None:
        self.order = order
        self.target = target
        self.call = call
        self.limit = target.limit(order, call.granted)
        self.has_begun = False
        """Whether the client was given anything."""
        self.tail = b"data: [DONE]\n\n"
        """What ends the stream once it is settled."""
        self._reader = order.api.reader(target.host.name, target.host.secret, order.asked)
        self._events = EventBytes(target.host.name, EVENT_BYTES_MAX)
        self._is_done = False
        self._is_cut = False
        self._size = 0
        self._size_max = self.limit * order.asked.choices
        if target.counts_tokens:
            self._size_max = self._size_max * _CUT_CHARACTERS_PER_TOKEN + _CUT_CHARACTERS_MORE
        self._started = time.monotonic()
        call.quoted = target.quoted
        call.measure = self.usage_delivered

    @property
    def has_spoken(self) -> bool:
        """Whether there was any output."""
        return bool(self._reader.texts)

    @property
    def answering_ms(self) -> int:
        """How long it has taken so far."""
        return int((time.monotonic() - self._started) * 1000)

    @property
    def message(self) -> Message:
        """The answer so far, as a chat keeps it."""
        return self._reader.message()

    async def pieces(self) -> AsyncGenerator[Head | bytes]:
        """The head, then what the client gets of the answer, up to but without its tail.

        Raises:
            ProviderError: whatever went wrong upstream.
        """
        # Until it has answered at all, it may be asked again.
        head, source = await with_retries(self._begun, self.target.host.retries_max)
        async with aclosing(source):
            yield head
            async for piece in source:
                assert isinstance(piece, bytes)
                if piece:
                    self.has_begun = True
                    yield piece

    def usage(self) -> Usage:
        """What it came to: as the upstream told it, else by our own count.

        Raises:
            ProviderUsageInvalid: it told what cannot be.
        """
        told = None if self._is_cut else self._reader.usage
        if told is None:
            return self.usage_so_far()
        names = self.order.api.usage
        usage = told_usage(self.target.host.name, told, names)
        return self.target.with_bytes(usage, self._reader.texts)

    def usage_so_far(self) -> Usage:
        """By our own count."""
        return self.target.counted(self.order, self._reader.texts, self.call.granted)

    def usage_delivered(self) -> Usage:
        """As ``usage_so_far``, but nothing before the first word."""
        return self.usage_so_far() if self.has_spoken else Usage()

    def receipt(self, usage: Usage) -> Receipt:
        """What it comes to; what is available then is known when it is settled."""
        return self.target.receipt(usage, self.limit, self.call.granted)

    async def _begun(self) -> tuple[Head, AsyncGenerator[Head | bytes]]:
        source = self._source()
        try:
            head = await anext(source)
        except BaseException:
            await source.aclose()
            raise
        assert isinstance(head, Head)
        return head, source

    async def _source(self) -> AsyncGenerator[Head | bytes]:
        order, target = self.order, self.target
        body = order.api.sent(order.body, target.host.model, self.limit, target.host.limit_field)
        async with target.host.ask(order.api, body, order.payer.owner) as reply:
            check_event_stream(target.host.name, reply.content_type)
            try:
                async with aclosing(reply.pieces()) as pieces:
                    first = self._passed(self._events.feed(await anext(pieces, b"")))
                    yield self._head(reply.content_type)
                    yield first
                    async for piece in pieces:
                        yield self._passed(self._events.feed(piece))
                        if self._is_done:
                            break
                if not self._is_cut and self._is_done:
                    await reply.finish()
                yield self._passed(self._events.end())
            except (ProviderTimeout, ProviderStreamBroken):
                # The whole answer is here; only its usage is missing, which is not worth failing for.
                if not self._reader.is_ended:
                    raise
        if not self._is_done and not self._reader.is_ended:
            raise ProviderStreamBroken(f"Upstream {target.host.name!r} ended the stream before the answer.")

    def _head(self, content_type: str) -> Head:
        is_lowered = self.limit < self.target.tokens_max
        return Head(self.target.info.name, content_type, self.call.granted, self.limit, is_lowered)

    def _passed(self, events: Iterator[tuple[bytes, bytes]]) -> bytes:
        """What of these events the client gets."""
        passed = []
        for event, data in events:
            if self._is_done:
                break
            if data == _DONE:
                self._is_done = True
                self.tail = event
            elif not data or self._is_passed(self._parsed(data)):
                passed.append(event)
            elif self._is_cut:
                self._is_done = True
                passed.append(self._reader.cut(self.usage_so_far()))
        return b"".join(passed)

    def _is_passed(self, event: Body) -> bool:
        text, is_wanted = self._reader.see(event)
        if text:
            size = len(text) if self.target.counts_tokens else text_bytes(text)
            self._size += size
            if self._size > self._size_max and self._is_too_long():
                self._reader.texts.pop()
                self._is_cut = True
                return False
        return is_wanted

    def _is_too_long(self) -> bool:
        if not self.target.counts_tokens:
            return True
        tokens = self.target.host.estimate_tokens("".join(self._reader.texts))
        if tokens > self.limit * self.order.asked.choices:
            return True
        # Long, but within the limit by the host's own count: measured again when it has grown.
        self._size_max = self._size + self._size // _MEASURE_EVERY
        return False

    def _parsed(self, data: bytes) -> Body:
        try:
            event = from_json(data)
        except ValueError as error:
            raise self._malformed(str(error)) from None
        if type(event) is not dict:
            raise self._malformed("it is no JSON object")
        return event

    def _malformed(self, what: str) -> ProviderError:
        return ProviderResponseInvalid(f"Upstream {self.target.host.name!r} sent a malformed event: {what}.")
