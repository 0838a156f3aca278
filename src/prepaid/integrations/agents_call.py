"""One metered call of an agent's model: what it delivers is counted, and settled at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

from agents.items import TResponseStreamEvent
from agents.usage import Usage as AgentUsage
from openai.types.responses import ResponseUsage

from prepaid.errors import ProviderStreamBroken
from prepaid.meter import PaidCall
from prepaid.models.measure import CUT_BYTES_PER_TOKEN, likely_usage, text_bytes
from prepaid.models.usage import RESPONSES_USAGE, least_output_tokens, read_usage
from prepaid.records import Unit, Usage

__all__ = ["MeteredCall", "item_bytes"]

_LAST: Final = ("response.completed", "response.incomplete")


@dataclass(slots=True)
class MeteredCall:
    """A call and what came back so far."""

    paid: PaidCall
    input_bytes: int
    output_bytes: int = 0

    async def see(self, event: TResponseStreamEvent) -> None:
        """Count what an event delivers; settle with the last one.

        Raises:
            ProviderStreamBroken: the model goes on far beyond its limit; what it delivered is settled.
        """
        if event.type in _LAST:
            await self.settle(cast(Any, event).response.usage)
            return
        self.output_bytes += _event_bytes(event)
        if self.output_bytes:  # the input alone is not charged: an answer may begin and say nothing
            self.paid.usage = self._usage(None)
        per_unit = 1 if self.paid.quoted.price.unit is Unit.BYTE else CUT_BYTES_PER_TOKEN
        if self.output_bytes > self.paid.output_limit * per_unit:
            await self.settle_delivered()
            raise ProviderStreamBroken(
                f"Model {self.paid.quoted.model!r} went on beyond its limit of {self.paid.output_limit}"
                f" with {self.output_bytes} bytes; its stream was cut."
            )

    async def settle_delivered(self) -> None:
        """The caller is gone: what it was given is paid for; nothing is, if there was nothing."""
        if self.output_bytes and not self.paid.is_resolved:
            await self.paid.settle(self._usage(None))

    async def settle(self, told: AgentUsage | ResponseUsage | None) -> None:
        """Capture what the whole answer costs, as the provider tells it, or else by our own count."""
        await self.paid.settle(self._usage(told))

    def _usage(self, told: AgentUsage | ResponseUsage | None) -> Usage:
        counted = likely_usage(self.input_bytes, self.output_bytes, self.paid.output_limit)
        if told is None:
            return counted
        details = told.input_tokens_details
        counts = {
            "input_tokens": told.input_tokens,
            "output_tokens": told.output_tokens,
            "cached_tokens": getattr(details, "cached_tokens", None),
            "cache_write_tokens": getattr(details, "cache_write_tokens", None),
        }
        floor = least_output_tokens(self.output_bytes)
        return read_usage(counts, RESPONSES_USAGE, counted, floor_output_tokens=floor).usage


def _event_bytes(event: TResponseStreamEvent) -> int:
    """Bytes of text, reasoning and arguments that an event adds; a call's name when it is announced."""
    delta = getattr(event, "delta", None)
    if isinstance(delta, str):
        return text_bytes(delta)
    if event.type == "response.output_item.added":
        return text_bytes(getattr(event.item, "name", None) or "")
    return 0


def item_bytes(item: Any) -> int:
    """The same of a whole output item."""
    texts = [getattr(item, name, None) for name in ("name", "arguments")]
    for part in (*(getattr(item, "content", None) or ()), *(getattr(item, "summary", None) or ())):
        texts += [getattr(part, name, None) for name in ("text", "refusal")]
    return sum(text_bytes(text) for text in texts if isinstance(text, str))
