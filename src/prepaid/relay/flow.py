"""One streamed answer on its way through: passed on as it came, counted, and cut where the hold ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from prepaid.errors import ProviderError, ProviderStreamBroken, ProviderTimeout
from prepaid.meter import PaidCall
from prepaid.models.events import EventBytes, check_event_stream, event_json
from prepaid.models.measure import text_bytes
from prepaid.records import Message, Usage
from prepaid.relay.attempt import Attempt, is_large, large_json
from prepaid.relay.heavy import heavily
from prepaid.relay.hosts import Reply
from prepaid.relay.order import Head, Order
from prepaid.relay.targets import Target
from prepaid.relay.wire import Body

__all__ = ["TAIL", "Flow"]

EVENT_BYTES_MAX: Final = 16 * 1_048_576
"""The last event of a response repeats all of it."""

_DONE: Final = b"[DONE]"
TAIL: Final = b"data: [DONE]\n\n"
"""What ends a stream once it is settled."""
_ALIVE: Final = b": waiting\n\n"
"""A comment, which clients pass over, in place of a provider's own."""

_CUT_CHARACTERS_PER_TOKEN: Final = 8
_CUT_CHARACTERS_MORE: Final = 128
"""As in ``turns.run``: an answer of more characters than these for its limit is measured, and cut if it is
too long. No upstream that keeps to the limit is cut short."""

_MEASURE_EVERY: Final = 8
"""A long answer is measured anew when it has grown by an eighth."""


class Flow(Attempt):
    """One target's streamed answer to an order, on a paid call."""

    def __init__(self, order: Order, target: Target, call: PaidCall) -> None:
        super().__init__(order, target, call)
        self.has_begun = False
        """Whether the client was given anything."""
        self._reader = order.api.reader(target.host.name, target.host.secret, order.asked)
        self._events = EventBytes(target.host.name, EVENT_BYTES_MAX)
        self._is_done = False
        self._is_cut = False
        self._size = 0
        self._tokens = 0
        """Of all output, as last measured."""
        self._size_max = self.limit * order.asked.choices
        if target.counts_tokens:
            self._size_max = self._size_max * _CUT_CHARACTERS_PER_TOKEN + _CUT_CHARACTERS_MORE
        call.measure = self.usage_delivered

    @property
    def has_spoken(self) -> bool:
        """Whether there was any output."""
        return bool(self._reader.texts)

    @property
    def is_hidden(self) -> bool:
        """Whether the provider bills now what nobody can see: leaving would hide it from the books (spec P3).

        Nothing may have come yet, or some of it cannot be read, or only the usage is still to come.
        """
        if not self.is_asked or not self.target.info.is_billed:
            return False
        reader = self._reader
        return not self.has_spoken or reader.is_ended or reader.hides_output or self.target.host.hides_output

    @property
    def is_ended_by_leaving(self) -> bool:
        """Whether the provider bills nothing more once its connection is closed."""
        return self.target.info.stops_when_left and not self.is_hidden

    @property
    def worst(self) -> int:
        """As for every attempt, at the price of the model that is answering."""
        quoted = self.target.quoted
        most = Usage(quoted.input_units, self.limit * self.order.asked.choices)
        return super().worst + self.dearer_by(self._reader.model, most)

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
        head, source = await self.with_retries(self._begun)
        async with aclosing(source):
            yield head
            async for piece in source:
                assert isinstance(piece, bytes)
                if piece:
                    self.has_begun = True
                    yield piece

    def settled_usage(self) -> Usage:
        """What the whole answer came to."""
        if self._is_cut:
            return self.usage_so_far()
        usage = self.usage(self._reader.usage, self._reader.texts)
        self.note_hidden_output(usage, self._reader.texts)
        return usage

    def settled_unpaid(self, usage: Usage) -> int:
        """What the provider bills above the quoted price for the whole answer, in base units."""
        return self.unpaid(usage, self._reader.model, self._reader.usage)

    def cut_exposure(self, usage: Usage) -> int:
        """What the provider may bill above ``usage`` where it did not stop, and the answer was cut."""
        if not self._is_cut or not self.target.info.is_billed:
            return 0
        generated = replace(usage, output_tokens=max(self._tokens, usage.output_tokens))
        return self.target.cost(generated) - self.target.cost(usage)

    def usage_so_far(self) -> Usage:
        """By our own count."""
        return self.target.counted(self.order, self._reader.texts, self.call.granted)

    def usage_delivered(self) -> Usage:
        """What was told so far, else what was delivered; nothing before the first word."""
        if self._reader.usage is None and not self.has_spoken:
            return Usage()
        return self.usage(self._reader.usage, self._reader.texts)

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
        async with target.host.ask(order, self.body()) as reply:
            check_event_stream(target.host.name, reply.content_type)
            try:
                async with aclosing(self._read(reply)) as pieces:
                    async for piece in pieces:
                        yield piece
            except (ProviderTimeout, ProviderStreamBroken):
                # The whole answer is here; only its usage is missing, which is not worth failing for.
                if not self._reader.is_ended:
                    raise
        if not self._is_done and not self._reader.is_ended:
            raise ProviderStreamBroken(f"Upstream {target.host.name!r} ended the stream before the answer.")

    async def _read(self, reply: Reply) -> AsyncGenerator[Head | bytes]:
        """The head once the first piece is here, then what passes of each piece.

        What came before an error in the same piece is passed on before the error is raised.
        """
        head: Head | None = self._head(reply.content_type)
        async with aclosing(reply.pieces()) as pieces:
            async for piece in pieces:
                passed, error = await self._passed(self._events.feed(piece), is_begun=head is None)
                if head is not None and (passed or error is None):
                    yield head
                    head = None
                if passed:
                    yield passed
                if error is not None:
                    raise error
                if self._is_done:
                    break
        if head is not None:
            yield head
        if self._is_done:
            if not self._is_cut:
                await reply.finish()
            return
        passed, error = await self._passed(self._events.end(), is_begun=True)
        yield passed
        if error is not None:
            raise error

    def _head(self, content_type: str) -> Head:
        is_lowered = self.limit < self.target.tokens_max
        return Head(self.target.info.name, content_type, self.call.granted, self.limit, is_lowered)

    async def _passed(
        self, events: Iterator[tuple[bytes, bytes]], *, is_begun: bool
    ) -> tuple[bytes, ProviderError | None]:
        """What of these events the client gets, up to the one that is an error.

        Events are written anew, with nothing but their data: what else a provider puts into a stream
        (comments, ids, events of its own) is between it and the operator (spec P12).
        """
        passed: list[bytes] = []
        try:
            for _, data in events:
                if not data:
                    if is_begun:
                        passed.append(_ALIVE)
                elif data.strip() == _DONE:
                    self._is_done = True
                elif self._is_passed(await self._json(data)):
                    passed.append(self._reader.written(data))
                elif self._is_cut:
                    self._is_done = True
                    passed.append(self._reader.cut(self.usage_so_far()))
                if self._is_done:
                    break
        except ProviderError as error:
            return self.masked(b"".join(passed)), error
        return self.masked(b"".join(passed)), None

    async def _json(self, data: bytes) -> Body:
        name, values_max = self.target.host.name, self.order.api.reply_values_max
        if is_large(data):
            return await heavily(lambda: large_json(name, data, values_max))
        return event_json(name, data)

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
        self._tokens = self.target.host.estimate_tokens("".join(self._reader.texts))
        if self._tokens > self.limit * self.order.asked.choices:
            return True
        # Long, but within the limit by the host's own count: measured again when it has grown.
        self._size_max = self._size + self._size // _MEASURE_EVERY
        return False
