"""Amounts: integers of base units in a currency with fixed decimals. No floats, anywhere.

One base unit of USD is a micro-dollar. Prices per unit of use are kept per million units
(``pricing``), so that $0.15 per million tokens is exactly 150,000.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Final

from prepaid.errors import (
    AmountNotExact,
    AmountNotFinite,
    AmountNotPositive,
    AmountTooLarge,
    AmountTooPrecise,
    CurrencyMismatch,
)

__all__ = ["AMOUNT_MAX", "EUR", "USD", "USDT", "Currency", "currency", "format_amount", "parse_amount"]

AMOUNT_MAX: Final = 2**62
"""Base units one amount or balance may have: below SQLite's and PostgreSQL's 2**63 with room to add two."""

_TEXT_LENGTH_MAX: Final = 64
_TEXT = re.compile(r"(?P<number>[^\s]+?)\s*(?P<code>[A-Za-z]{3,10})?")


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency and how many decimals its base unit has."""

    code: str
    decimals: int


USD: Final = Currency("USD", 6)
EUR: Final = Currency("EUR", 6)
USDT: Final = Currency("USDT", 6)
_KNOWN: Final = {known.code: known for known in (USD, EUR, USDT)}


def currency(code: str) -> Currency:
    """The currency with this code, upper or lower case.

    Raises:
        CurrencyMismatch: if it is not one we keep accounts in.
    """
    try:
        return _KNOWN[code.upper()]
    except KeyError:
        raise CurrencyMismatch(
            f"Unknown currency {code[:16]!r}; known are {', '.join(sorted(_KNOWN))}."
        ) from None


def parse_amount(value: int | Decimal | str, asset: Currency) -> int:
    """Base units of ``value`` in ``asset``, above zero and at most ``AMOUNT_MAX``.

    An ``int`` is base units already; a ``Decimal`` or text without a code is in whole units;
    text may end in a currency code ("10 USD"), which must be the account's.

    Raises:
        InvalidAmount: one of its subclasses, by what is wrong.
    """
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise AmountNotExact(f"{value!r} is a {type(value).__name__}, not an exact amount.")
    if isinstance(value, int):
        return _checked(value, value)
    number = value if isinstance(value, Decimal) else _parse_text(value, asset)
    if not number.is_finite():
        raise AmountNotFinite(f"{number} is not an amount.")
    return _checked(_to_base_units(number, asset), value)


def format_amount(units: int, asset: Currency) -> str:
    """``units`` as text, with at least two decimals: ``"10.00 USD"``, ``"0.000125 USD"``."""
    sign, whole = ("-" if units < 0 else ""), abs(units)
    integer, fraction = divmod(whole, 10**asset.decimals)
    decimals = f"{fraction:0{asset.decimals}d}" if asset.decimals else ""
    return f"{sign}{integer:,}.{decimals.rstrip('0'):0<2} {asset.code}"


def _parse_text(text: str, asset: Currency) -> Decimal:
    match = _TEXT.fullmatch(text.strip()) if len(text) <= _TEXT_LENGTH_MAX else None
    if match is None:
        raise AmountNotExact(f"{text[:_TEXT_LENGTH_MAX]!r} is not an amount.")
    number, code = match["number"], match["code"]
    try:
        # A trailing word may be part of the number itself: "NaN", "Infinity".
        parsed = Decimal(number if code is None else number + code)
    except InvalidOperation:
        parsed = None
    if parsed is not None:
        return parsed
    if code is not None and code.upper() != asset.code:
        raise CurrencyMismatch(f"{text!r} is in {code.upper()}; the account is in {asset.code}.")
    try:
        return Decimal(number)
    except InvalidOperation:
        raise AmountNotExact(f"{text!r} is not an amount.") from None


def _to_base_units(number: Decimal, asset: Currency) -> int:
    if number.adjusted() + asset.decimals > len(str(AMOUNT_MAX)):
        raise AmountTooLarge(f"{number} {asset.code} is above the limit of {AMOUNT_MAX} base units.")
    exact = Context(prec=64, traps=[Inexact, InvalidOperation])
    try:
        scaled = exact.scaleb(number, asset.decimals)
        return int(exact.quantize(scaled, Decimal(1)))
    except (Inexact, InvalidOperation):
        raise AmountTooPrecise(
            f"{number} {asset.code} has more than the {asset.decimals} decimals of {asset.code}."
        ) from None


def _checked(units: int, given: object) -> int:
    if units <= 0:
        raise AmountNotPositive(f"{given} is not above zero.")
    if units > AMOUNT_MAX:
        raise AmountTooLarge(f"{given} is above the limit of {AMOUNT_MAX} base units.")
    return units
