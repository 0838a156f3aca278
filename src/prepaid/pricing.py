"""Quotes before, costs after. Pure integer arithmetic; each result is rounded once, up.

Prices are per million units (``records.Price``), so sums are kept in millionths of a base unit
until the end. Source: spec A10.
"""

from __future__ import annotations

from typing import Final

from prepaid.errors import CurrencyMismatch, InsufficientFee
from prepaid.records import Price, PriceTier, Quote, Unit, Usage

__all__ = [
    "BYTES_PER_TOKEN",
    "affordable_output",
    "check_fee",
    "check_offer",
    "cost",
    "output_paid",
    "quote",
    "units_of",
]

BYTES_PER_TOKEN: Final = 4
"""As is usual for English: how a limit or a price in tokens is read where bytes are paid, and the reverse."""

_MILLION: Final = 1_000_000


def quote(model: str, price: Price, input_units: int, output_units: int) -> Quote:
    """The worst case for ``input_units`` in and at most ``output_units`` out.

    Every input unit is taken at the dearest rate it can be billed at (cache writes cost more than plain
    input with some providers, and more again for an hour), in the dearest tier it can fall into.
    """
    input_rate, output_rate = _worst_rates(price, input_units)
    taken = input_units * input_rate
    whole = output_units * output_rate
    if price.output_max is not None:
        whole = price.output_max * _MILLION
    return Quote(
        model=model,
        price=price,
        input_units=input_units,
        output_units=output_units,
        amount=price.fees_max + _ceil_millionths(taken + whole),
        minimum=price.fees_max + _ceil_millionths(taken + min(whole, min(1, output_units) * output_rate)),
    )


def output_paid(price: Price, input_units: int) -> int | None:
    """The output units that ``price.output_max`` pays for in full; ``None`` where it sets no limit."""
    _, output_rate = _worst_rates(price, input_units)
    if price.output_max is None or output_rate == 0:
        return None
    return price.output_max * _MILLION // output_rate


def affordable_output(quoted: Quote, granted: int) -> int:
    """The output limit that a hold of ``granted`` base units pays for, at most the quote's.

    ``granted`` is at least ``quoted.minimum``, so the result is at least 1 where output costs anything;
    with less, it is 0: not even the input is paid for.
    """
    if granted >= quoted.amount:
        return quoted.output_units
    if granted < quoted.minimum:
        return 0
    input_rate, output_rate = _worst_rates(quoted.price, quoted.input_units)
    if output_rate == 0:  # only a caller's ``output_max`` reserves anything for free output
        return quoted.output_units
    budget = (granted - quoted.price.fees_max) * _MILLION - quoted.input_units * input_rate
    return min(quoted.output_units, budget // output_rate)


def cost(price: Price, usage: Usage) -> int:
    """What ``usage`` costs at ``price``: base units, rounded up once.

    Cached tokens are part of the input, so what a provider reports of them beyond the input is not
    billed: no usage within a quote's units and searches costs more than the quote.
    """
    fees = price.per_request + usage.searches * price.per_search
    if price.unit is Unit.BYTE:
        tier = _tier(price, usage.input_bytes)
        millionths = usage.input_bytes * tier.input_per_million
        millionths += _output_millionths(price, tier, usage.output_bytes)
        return fees + _ceil_millionths(millionths)
    tier = _tier(price, usage.input_tokens)
    written = min(usage.cache_write_tokens, usage.input_tokens)
    hour = min(usage.cache_write_1h_tokens, written)
    read = min(usage.cache_read_tokens, usage.input_tokens - written)
    millionths = (
        (usage.input_tokens - written - read) * tier.input_per_million
        + read * tier.cache_read_per_million
        + (written - hour) * tier.cache_write_per_million
        + hour * tier.hour_write_per_million
        + _output_millionths(price, tier, usage.output_tokens)
    )
    return fees + _ceil_millionths(millionths)


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


def check_offer(offered: Price, asked: Price, input_units: int) -> None:
    """Refuse a caller's price that is below the model's, or whose ``output_max`` pays for no output.

    ``input_units``, in the unit of ``asked``, say which of the model's tiers holds. Where one price counts
    tokens and the other bytes, a token is taken as ``BYTES_PER_TOKEN``.

    Raises:
        InsufficientFee: naming the offer and the least that would do (spec A11).
        CurrencyMismatch: the two cannot be compared.
    """
    if offered.asset != asked.asset:
        raise CurrencyMismatch(f"The fee is in {offered.asset}, the model's price in {asked.asset}.")
    offer, tier = offered.tiers[0], _tier(asked, input_units)
    unit = f"per million {offered.unit}s"
    input_least = _converted(tier.input_per_million, asked.unit, offered.unit)
    output_least = _converted(tier.output_per_million, asked.unit, offered.unit)
    check_fee(offer.input_per_million, input_least, f"request fee {unit}")
    check_fee(offer.output_per_million, output_least, f"response fee {unit}")
    check_fee(offered.per_request, asked.per_request, "fee per request")
    check_fee(offered.per_search, asked.per_search, "fee per search")
    if offered.output_max is not None:
        check_fee(offered.output_max, _ceil_millionths(offer.output_per_million), "total response fee")


def _converted(rate: int, counted: Unit, wanted: Unit) -> int:
    """A rate per ``counted`` as the least whole rate per ``wanted`` that pays as much."""
    if counted is wanted:
        return rate
    return rate * BYTES_PER_TOKEN if wanted is Unit.TOKEN else -(-rate // BYTES_PER_TOKEN)


def _output_millionths(price: Price, tier: PriceTier, units: int) -> int:
    whole = units * tier.output_per_million
    return whole if price.output_max is None else min(whole, price.output_max * _MILLION)


def _worst_rates(price: Price, input_units: int) -> tuple[int, int]:
    reachable = [tier for tier in price.tiers if tier.input_above <= input_units]
    input_rate = max(
        max(
            tier.input_per_million,
            tier.cache_read_per_million,
            tier.cache_write_per_million,
            tier.hour_write_per_million,
        )
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
