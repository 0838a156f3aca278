"""Which models may answer an order, and at what price: decided before any money moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from prepaid import pricing
from prepaid.errors import CurrencyMismatch, InvalidRequestError, ValueTooLarge
from prepaid.models.apis import check_api
from prepaid.models.catalogue import Catalogue
from prepaid.models.codecs.dialects import check_others
from prepaid.models.images import likely_image_tokens
from prepaid.models.measure import text_bytes
from prepaid.records import Api, ModelInfo, Quote, Unit, Usage
from prepaid.relay.hosts import Host, UpstreamHost
from prepaid.relay.order import Order, Receipt
from prepaid.relay.own import OwnHost

__all__ = ["Target", "Targets"]

_CHARACTERS_PER_TOKEN_MAX: Final = 6
"""A request is refused as too long for its model only beyond this; what lies between, upstreams refuse."""
_NEEDED_BY: Final[Mapping[Api, tuple[str, ...]]] = {
    "images": ("messages", "input"),
    "structured_output": ("response_format", "text"),
    "tools": ("tools", "functions"),
}
"""The fields that need more than text, in whatever API."""


@dataclass(frozen=True, slots=True)
class Target:
    """One model that may answer: who hosts it, its quote, and the limit that one answer has at most."""

    host: Host
    info: ModelInfo
    quoted: Quote
    tokens_max: int
    catalogue: Catalogue

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens are what is paid for, and not bytes."""
        return self.quoted.price.unit is Unit.TOKEN

    def cost(self, usage: Usage) -> int:
        """What ``usage`` costs, in base units."""
        return pricing.cost(self.quoted.price, usage)

    @property
    def is_in_micro_dollars(self) -> bool:
        """Whether a base unit of the price is a millionth of a dollar."""
        return self.quoted.price.asset == "USD"

    def dearer_by(self, model: str, usage: Usage) -> int:
        """What ``usage`` costs more where ``model`` has answered instead, in base units; 0 if not dearer."""
        prices = self.catalogue.compared_prices(self.info.name, self.info.provider, model)
        if prices is None:
            return 0
        asked, answered = prices
        return max(pricing.cost(answered, usage) - pricing.cost(asked, usage), 0)

    def receipt(self, usage: Usage, limit: int, granted: int) -> Receipt:
        """What it comes to on a hold of ``granted``; what is available then is known when it is settled."""
        return Receipt(
            model=self.info.name,
            provider=self.info.provider,
            held=granted,
            cost=min(self.cost(usage), granted),
            available=0,
            usage=usage,
            output_limit=limit,
            is_lowered=limit < self.tokens_max,
        )

    def limit(self, order: Order, granted: int) -> int:
        """The tokens of one answer that a hold of ``granted`` base units pays for."""
        choices = order.asked.choices
        if choices == 0:
            return 0
        # Where bytes are paid: a token has one at least.
        return min(pricing.affordable_output(self.quoted, granted) // choices, self.tokens_max)

    def counted(self, order: Order, output: list[str]) -> Usage:
        """The usage of this output by our own count."""
        estimate = self.host.estimate_tokens
        tokens = sum(estimate(text) for text in order.api.texts(order.body))
        tokens += sum(likely_image_tokens(self.info, image) for image in order.asked.images)
        if self.counts_tokens:
            tokens = min(tokens, self.quoted.input_units)
        return self.with_bytes(Usage(tokens, estimate("".join(output))), output)

    def with_bytes(self, usage: Usage, output: list[str]) -> Usage:
        """``usage`` with the bytes that we counted, where they are what is paid for."""
        if self.counts_tokens:
            return usage
        size = sum(text_bytes(text) for text in output)
        return replace(usage, input_bytes=self.quoted.input_units, output_bytes=size)


class Targets:
    """Finds them in the catalogue."""

    def __init__(self, catalogue: Catalogue, default_output_tokens: int) -> None:
        self._catalogue = catalogue
        self._default_output_tokens = default_output_tokens

    def of(self, order: Order) -> list[Target]:
        """The model that was asked for, then those of its fallbacks that could answer.

        Raises:
            ModelNotSupported, ModelNotPriced: nobody serves it, or for no price.
            ApiNotSupported: it cannot do this, or no price covers it.
            FieldNotSupported: a field that nobody knows, or not the upstream that it would be sent to.
            ValueTooLarge: the request is longer than its context.
            CurrencyMismatch: its price is in another currency than the account.
        """
        name = order.asked.model
        targets = [self._target(order, name)]
        targets += self._others(order, self._catalogue.fallbacks(name))
        return targets

    def _others(self, order: Order, names: tuple[str, ...]) -> Iterator[Target]:
        """Nobody asked for them by name, so those that cannot answer are left out."""
        allowed = order.payer.models
        for name in names:
            if allowed is not None and name not in allowed:
                continue
            try:
                target = self._target(order, name)
            except InvalidRequestError:
                continue
            yield target

    def _target(self, order: Order, name: str) -> Target:
        model = self._catalogue.resolve(name)
        forwarding = self._catalogue.forwarding(name)
        host: Host = OwnHost(model) if forwarding is None else UpstreamHost(*forwarding)
        info, asked = model.info, order.asked
        for api in asked.apis:
            check_api(info, api, _needed_by(order, api))
        check_others(order.api.name, info, asked.others, order.body)
        if asked.unpriced:
            raise asked.unpriced.refused(info)
        price = info.price
        if price.asset != order.payer.asset:
            raise CurrencyMismatch(
                f"The price of {info.name} is in {price.asset}, the account in {order.payer.asset}."
            )
        _check_context(order, host, info)
        if price.unit is Unit.TOKEN:
            input_units = host.input_tokens_max(order, info)
        else:
            input_units = sum(map(text_bytes, order.api.texts(order.body))) + asked.image_bytes
        tokens = min(asked.limit or self._default_output_tokens, info.output_tokens_max)
        if not asked.choices:
            tokens = 0
        quoted = self._quote(order, info, input_units, tokens)
        return Target(host, info, quoted, tokens, self._catalogue)

    @staticmethod
    def _quote(order: Order, info: ModelInfo, input_units: int, tokens: int) -> Quote:
        choices, price = order.asked.choices, info.price
        units = tokens * choices
        if price.unit is Unit.BYTE:
            units *= pricing.BYTES_PER_TOKEN
        quoted = pricing.quote(info.name, price, input_units, units)
        if choices > 1:  # every choice has one unit at least
            least = pricing.quote(info.name, price, input_units, choices)
            quoted = replace(quoted, minimum=least.amount)
        return quoted


def _needed_by(order: Order, api: Api) -> str:
    """The field of a request for which its model must be able to do ``api``."""
    names = _NEEDED_BY.get(api, ())
    return next((name for name in names if order.body.get(name) is not None), "model")


def _check_context(order: Order, host: Host, info: ModelInfo) -> None:
    limit = info.context_tokens_max
    if order.size <= limit * _CHARACTERS_PER_TOKEN_MAX:
        return
    tokens = sum(host.estimate_tokens(text) for text in order.api.texts(order.body))
    if tokens > limit:
        raise ValueTooLarge(f"the request to {info.name}", tokens, limit, "tokens")
