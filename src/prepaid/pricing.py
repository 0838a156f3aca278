"""Quotes before, costs after. Pure integer arithmetic; each result is rounded once, up.

Prices are per million units (``records.Price``), so sums are kept in millionths of a base unit
until the end. Source: spec A10.
"""

from __future__ import annotations

from typing import Final

from prepaid.errors import InsufficientFee
from prepaid.records import Price, PriceTier, Quote, Unit, Usage

__all__ = ["affordable_output", "check_fee", "cost", "quote", "units_of"]

_MILLION: Final = 1_000_000


def quote(model: str, price: Price, input_units: int, output_units: int) -> Quote:
    """The worst case for ``input_units`` in and at most ``output_units`` out.

    Every input unit is taken at the dearest rate it can be billed at (cache writes cost more than
    plain input with some providers), in the dearest tier it can fall into.
    """
    return Quote(
        model=model,
        price=price,
        input_units=input_units,
        output_units=output_units,
        amount=_worst(price, input_units, output_units),
        minimum=_worst(price, input_units, min(1, output_units)),
    )


def affordable_output(quoted: Quote, granted: int) -> int:
    """The output limit that a hold of ``granted`` base units pays for, at most the quote's.

    ``granted`` is at least ``quoted.minimum``, so the result is at least 1 where output costs anything;
    with less, it is 0: not even the input is paid for.
    """
    if granted >= quoted.amount:
        return quoted.output_units
    if granted < quoted.minimum:
        return 0
    # Between minimum and amount, so output has a price: without one the two are equal.
    input_rate, output_rate = _worst_rates(quoted.price, quoted.input_units)
    budget = (granted - quoted.price.per_request) * _MILLION - quoted.input_units * input_rate
    return min(quoted.output_units, budget // output_rate)


def cost(price: Price, usage: Usage) -> int:
    """What ``usage`` costs at ``price``: base units, rounded up once.

    Cached tokens are part of the input, so what a provider reports of them beyond the input is not
    billed: no usage within a quote's units costs more than the quote.
    """
    if price.unit is Unit.BYTE:
        tier = _tier(price, usage.input_bytes)
        millionths = usage.input_bytes * tier.input_per_million + usage.output_bytes * tier.output_per_million
        return price.per_request + _ceil_millionths(millionths)
    tier = _tier(price, usage.input_tokens)
    written = min(usage.cache_write_tokens, usage.input_tokens)
    read = min(usage.cache_read_tokens, usage.input_tokens - written)
    millionths = (
        (usage.input_tokens - written - read) * tier.input_per_million
        + read * tier.cache_read_per_million
        + written * tier.cache_write_per_million
        + usage.output_tokens * tier.output_per_million
    )
    return price.per_request + _ceil_millionths(millionths)


def units_of(price: Price, usage: Usage) -> tuple[int, int]:
    """Input and output of ``usage`` in the unit that ``price`` counts."""
    if price.unit is Unit.BYTE:
        return usage.input_bytes, usage.output_bytes
    return usage.input_tokens, usage.output_tokens


def check_fee(offered_per_million: int, price_per_million: int, what: str) -> None:
    """Refuse a fee below the model's price.

    Raises:
        InsufficientFee: naming both (spec A11).
    """
    if offered_per_million < price_per_million:
        raise InsufficientFee(offered_per_million, price_per_million, what)


def _worst(price: Price, input_units: int, output_units: int) -> int:
    input_rate, output_rate = _worst_rates(price, input_units)
    return price.per_request + _ceil_millionths(input_units * input_rate + output_units * output_rate)


def _worst_rates(price: Price, input_units: int) -> tuple[int, int]:
    reachable = [tier for tier in price.tiers if tier.input_above <= input_units]
    input_rate = max(
        max(tier.input_per_million, tier.cache_read_per_million, tier.cache_write_per_million)
        for tier in reachable
    )
    return input_rate, max(tier.output_per_million for tier in reachable)


def _tier(price: Price, input_units: int) -> PriceTier:
    """The last tier that the input exceeds; the first tier's threshold of 0 counts for any input."""
    found = price.tiers[0]
    for tier in price.tiers[1:]:
        if input_units > tier.input_above:
            found = tier
    return found


def _ceil_millionths(millionths: int) -> int:
    return -(-millionths // _MILLION)
