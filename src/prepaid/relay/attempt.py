"""One target asked on a paid call: what its answer came to, and what its provider may bill without one."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any, Final, TypeVar

from prepaid.errors import MayBill, ProviderError, ProviderResponseInvalid, ValueTooLarge
from prepaid.meter import PaidCall, exposure
from prepaid.models.events import event_json
from prepaid.models.measure import BYTES_PER_TOKEN_LIKELY, text_bytes
from prepaid.models.retrying import with_retries
from prepaid.models.usage import least_output_tokens, read_usage, reasoning_tokens, told_cost_micros
from prepaid.records import Usage
from prepaid.relay.heavy import HEAVY_BYTES, check_structure
from prepaid.relay.order import Order, Receipt
from prepaid.relay.targets import Target
from prepaid.relay.wire import Body

__all__ = ["Attempt", "is_large", "large_json"]

_HIDDEN_TIMES: Final = 4
_HIDDEN_MORE: Final = 100
"""A provider that tells more output than these make of what it showed does not show all of it."""

_OVERSHOOT_TIMES: Final = 2
_OVERSHOOT_MORE: Final = 1_000
"""Some providers do not limit reasoning; more output than these make of the limit cannot be."""

_SECRET_LENGTH_MIN: Final = 8
"""A shorter key could be a word of any answer."""

T = TypeVar("T")

_logger = logging.getLogger("prepaid.relay")


class Attempt:
    """One target, asked to answer one order.

    A provider bills what it has generated, whether or not anybody pays for it. ``exposure`` says how much
    that may be, for an attempt that failed or was left (spec P3, P4).
    """

    def __init__(self, order: Order, target: Target, call: PaidCall) -> None:
        self.order = order
        self.target = target
        self.call = call
        self.limit = target.limit(order, call.granted)
        self.is_asked = False
        """Whether the request may have reached the provider."""
        self.is_left = False
        """Whether nobody waits for the answer any more."""
        self.delivered = 0
        """What that costs which the provider told or delivered before its own error, in base units."""
        self._started = time.monotonic()
        call.quoted = target.quoted

    @property
    def answering_ms(self) -> int:
        """How long it has taken so far."""
        return int((time.monotonic() - self._started) * 1000)

    @property
    def worst(self) -> int:
        """The most that the provider may bill for this request, in base units: all that is held for it."""
        return min(self.call.granted, self.target.quoted.amount)

    def body(self) -> Body:
        """The request as the provider gets it."""
        order, host = self.order, self.target.host
        return order.api.sent(order.body, host.model, self.limit, host.limit_field)

    async def with_retries(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What ``ask`` returns, asked again only where the provider cannot have begun (spec P4).

        Raises:
            ProviderError: the last failure.
        """

        async def asking() -> T:
            self.is_asked = True
            try:
                return await ask()
            except ProviderError as error:
                self.is_asked = error.may_bill is not MayBill.NOTHING
                error.can_resend = error.can_resend and not self.is_left
                raise

        return await with_retries(asking, self.target.host.retries_max)

    def exposure(self, reason: BaseException | None, charged: int = 0) -> int:
        """What the provider may bill beyond ``charged``, in base units, where ``reason`` ended it."""
        if not self.is_asked or not self.target.info.is_billed:
            return 0
        return exposure(reason, self.worst, charged=charged, delivered=self.delivered)

    def usage(self, told: Any, texts: list[str], least_characters: int) -> Usage:
        """What the answer came to: as the provider told it where that can be true, else by our own count.

        ``least_characters`` are those of output that is nothing else for sure: less than that cannot be told.
        """
        target, names = self.target, self.order.api.usage
        floor = least_output_tokens(least_characters)
        # Counting takes time and is hardly ever needed: at first, to know that there was something is enough.
        most = self.limit * self.order.asked.choices if target.counts_tokens else None
        read = read_usage(
            told, names, Usage(1, int(any(texts))), floor_output_tokens=floor, output_tokens_max=most
        )
        if read.repaired:
            counted = target.counted(self.order, texts)
            read = read_usage(told, names, counted, floor_output_tokens=floor, output_tokens_max=most)
            if told is not None:
                target.host.note_odd_usage(read.repaired)
        return target.with_bytes(read.usage, texts)

    def input_cost(self) -> int:
        """What the input alone costs by our own count, in base units."""
        return self.target.cost(self.target.counted(self.order, []))

    def masked(self, content: bytes) -> bytes:
        """What the client gets, without the operator's key, should the upstream have put it there (P12)."""
        secret = self.target.host.secret
        if secret is None or len(secret) < _SECRET_LENGTH_MIN:
            return content
        return content.replace(secret.encode(), b"***")

    def receipt(self, usage: Usage) -> Receipt:
        """What it comes to; what is available then is known when it is settled."""
        return self.target.receipt(usage, self.limit, self.call.granted)

    def charged(self, usage: Usage, texts: list[str]) -> Usage:
        """What of ``usage`` its customer pays.

        No more output than the limit that the provider was sent; and of what is far above it, or of input
        above the provable bound, our own count: that cannot be, whoever bills it (spec P3).
        """
        if not self.target.counts_tokens:
            return usage
        most = self.limit * self.order.asked.choices
        into, out = usage.input_tokens, usage.output_tokens
        if into > self.target.quoted.input_units or out > most * _OVERSHOOT_TIMES + _OVERSHOOT_MORE:
            counted = self.target.counted(self.order, texts)
            into = min(into, counted.input_tokens)
            out = min(out, counted.output_tokens)
        if (into, out) == (usage.input_tokens, usage.output_tokens) and out <= most:
            return usage
        read = min(usage.cache_read_tokens, into)
        written = min(usage.cache_write_tokens, into - read)
        return replace(
            usage,
            input_tokens=into,
            output_tokens=min(out, most),
            cache_read_tokens=read,
            cache_write_tokens=written,
            cache_write_1h_tokens=min(usage.cache_write_1h_tokens, written),
        )

    def unpaid(self, usage: Usage, charged: Usage, models: Iterable[Any], told: Any) -> int:
        """What the provider bills for ``usage`` above what is ``charged``, in base units (spec P2).

        ``models`` are those that it says have answered; the dearest counts. Prices are compared, not names: a
        dated snapshot or a deployment is the same model. Where the provider tells its own cost, that is
        compared too.
        """
        target = self.target
        if not target.info.is_billed:
            return 0
        paid = target.cost(charged)
        more = target.cost(usage) - paid + self.dearer_by(models, usage)
        own_cost = told_cost_micros(told)
        if own_cost is not None and target.is_in_micro_dollars:
            more = max(more, own_cost - paid)
        if more:
            _logger.warning(
                "upstream %s bills %d base units more for %s than was quoted; it answered as %s",
                target.host.name,
                more,
                target.info.name,
                ", ".join(map(str, models))[:80],
            )
        return more

    def dearer_by(self, models: Iterable[Any], usage: Usage) -> int:
        """What ``usage`` costs more where the dearest of ``models`` has answered, in base units."""
        target = self.target
        own = (target.host.model, target.info.name)
        others = (model for model in models if type(model) is str and model and model not in own)
        return max((target.dearer_by(model, usage) for model in others), default=0)

    def note_hidden_output(self, usage: Usage, texts: list[str], told: Any) -> None:
        """Learn whether the model bills output which it does not show."""
        shown = sum(map(text_bytes, texts)) // BYTES_PER_TOKEN_LIKELY
        told_much = usage.output_tokens > shown * _HIDDEN_TIMES + _HIDDEN_MORE
        reasoned = reasoning_tokens(told)
        is_hidden = told_much or (reasoned > 0 and usage.output_tokens > shown + reasoned // 2)
        self.target.host.note_output(is_hidden=is_hidden)


def is_large(content: bytes) -> bool:
    """Whether nobody else should wait while it is parsed."""
    return len(content) > HEAVY_BYTES


def large_json(upstream: str, content: bytes, values_max: int) -> Body:
    """``event_json`` of much, to be called in a thread.

    Raises:
        ProviderResponseInvalid: it has more parts than ``values_max``, which is seen before it is parsed, or
            is no JSON object.
    """
    try:
        check_structure(content, values_max, f"The answer of upstream {upstream!r}")
    except ValueTooLarge as error:
        raise ProviderResponseInvalid(error.what) from None
    return event_json(upstream, content)
