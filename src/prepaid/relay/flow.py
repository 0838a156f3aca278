"""One streamed answer on its way through: passed on as it came, counted, and cut where the hold ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

from prepaid.errors import ProviderError, ProviderResponseInvalid, ProviderStreamBroken, ProviderTimeout
from prepaid.meter import PaidCall
from prepaid.models.events import EventBytes, EventTooLong, check_event_stream, event_json
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
        self._reader = order.api.reader(target.host.name, order.asked)
        self._events = EventBytes(target.host.name, EVENT_BYTES_MAX)
        self._is_done = False
        self._is_cut = False
        self._size = 0
        self._tokens = 0
        """Of all output, as last measured."""
        self._told: Any = None
        self._texts_told = 0
        """How many texts had come when the usage was last told."""
        self._size_max = self.limit * order.asked.choices
        if target.counts_tokens:
            self._size_max = self._size_max * _CUT_CHARACTERS_PER_TOKEN + _CUT_CHARACTERS_MORE
        call.measure = self.usage_delivered

    @property
    def has_spoken(self) -> bool:
        """Whether there was output that can be seen."""
        return self._reader.least_characters > 0

    @property
    def is_hidden(self) -> bool:
        """Whether the provider bills now what nobody can see: leaving would hide it from the books (spec P3).

        Nothing may have come yet, or some of it cannot be read, or only the usage is still to come.
        """
        if not self.is_asked or not self.target.info.is_billed:
            return False
        reader = self._reader
        hides = reader.hides_output or bool(self.target.host.hides_output)
        return not self.has_spoken or reader.is_ended or hides

    @property
    def is_ended_by_leaving(self) -> bool:
        """Whether the provider bills nothing more once its connection is closed.

        By its operator's promise, and only of a model that is known to show all that it bills.
        """
        is_shown = self.target.host.hides_output is False or not self.target.info.is_billed
        return self.target.info.stops_when_left and is_shown and not self.is_hidden

    @property
    def worst(self) -> int:
        """As for every attempt, at the price of the model that is answering."""
        quoted = self.target.quoted
        most = Usage(quoted.input_units, self.limit * self.order.asked.choices)
        return super().worst + self.dearer_by(self._reader.models, most)

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
        """What the whole answer came to; of one that was cut, what came until then."""
        reader = self._reader
        if self._is_cut and reader.usage is None:
            so_far = self.usage_so_far()
            return replace(so_far, output_tokens=max(so_far.output_tokens, self._tokens))
        usage = self.usage(reader.usage, reader.texts, reader.least_characters)
        if reader.usage is not None and not self._is_cut:
            self.note_hidden_output(usage, reader.texts, reader.usage)
        return usage

    def settled_charge(self, usage: Usage) -> tuple[Usage, int]:
        """What of ``usage`` is charged, and what the provider bills above that, in base units."""
        charged = self.charged(usage, self._reader.texts)
        return charged, self.unpaid(usage, charged, self._reader.models, self._reader.usage)

    def cut_exposure(self) -> int:
        """What the provider may bill of an answer that was cut, because it did not stop by itself.

        How far it goes on nobody knows: as much again as was held for it.
        """
        return self.worst if self._is_cut and self.target.info.is_billed else 0

    def usage_so_far(self) -> Usage:
        """By our own count."""
        return self.target.counted(self.order, self._reader.texts)

    def usage_delivered(self) -> Usage:
        """What was told so far and came after it, else what was delivered; nothing before the first word."""
        reader = self._reader
        if reader.usage is None:
            return self.usage_so_far() if self.has_spoken else Usage()
        usage = self.usage(reader.usage, reader.texts, reader.least_characters)
        after = "".join(reader.texts[self._texts_told :]) if reader.usage is self._told else ""
        more = self.target.host.estimate_tokens(after)
        return replace(usage, output_tokens=usage.output_tokens + more) if more else usage

    def failed_with(self) -> int:
        """What the provider bills for what it told or delivered before its own error, in base units.

        Where it has told nothing, and may have hidden what it made, that is all that was held for it.
        """
        reader = self._reader
        is_shown = self.target.host.hides_output is False and not reader.hides_output
        if reader.usage is None and reader.is_answer and not (self.has_spoken and is_shown):
            return self.worst
        usage = self.usage_so_far() if reader.usage is None else self.usage_delivered()
        return self.target.cost(usage) + self.dearer_by(reader.models, usage)

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
            except (ProviderTimeout, ProviderStreamBroken, ProviderResponseInvalid):
                # The whole answer is here; only its usage is missing, which is not worth failing for.
                if not self._reader.is_ended:
                    raise
        if not self._reader.is_answer or not (self._is_done or self._reader.is_ended):
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
        error: ProviderError | None = None
        try:
            for _, data in events:
                if data:
                    passed.append(await self._written(data))
                elif is_begun:
                    passed.append(_ALIVE)
                if self._is_done:
                    break
        except EventTooLong as too_long:
            if self.has_spoken:
                # Its client has all that came, and pays for it; whether there was more, nobody can read.
                passed.append(self._cut())
            else:
                error = too_long
        except ProviderError as failure:
            error = failure
        return self.masked(b"".join(passed)), error

    async def _written(self, data: bytes) -> bytes:
        """What the client gets of an event's data."""
        if data.strip() == _DONE:
            self._is_done = True
            return b""
        if self._is_passed(await self._json(data)):
            return self._reader.written(data)
        return self._cut() if self._is_cut else b""

    def _cut(self) -> bytes:
        self._is_cut = self._is_done = True
        return self._reader.cut(self.charged(self.usage_so_far(), self._reader.texts))

    async def _json(self, data: bytes) -> Body:
        name, values_max = self.target.host.name, self.order.api.reply_values_max
        if is_large(data):
            return await heavily(lambda: large_json(name, data, values_max))
        return event_json(name, data)

    def _is_passed(self, event: Body) -> bool:
        text, is_wanted = self._reader.see(event)
        if self._reader.usage is not self._told:
            self._told, self._texts_told = self._reader.usage, len(self._reader.texts)
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
