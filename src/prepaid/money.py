"""Amounts: integers of base units in a currency with fixed decimals. No floats, anywhere.

One base unit of USD is a micro-dollar. Prices per unit of use are kept per million units
(``pricing``), so that $0.15 per million tokens is exactly 150,000.

What an amount may look like is decided here, once:

- ``int``: base units. ``bool`` is none, nor is anything that only behaves like an integer.
- ``Decimal``: whole units, at most as fine as the currency's decimals.
- text of at most 64 characters: ASCII digits, a point, an exponent, then perhaps a currency code in
  either case ("10", "0.5 usd", "1e3 USD"). A comma groups thousands only where a point follows, as
  ``format_amount`` writes it ("1,234.00 USD"): "1,234" alone is 1234 to some and 1.234 to others, so
  it is refused, and so are "1_000", "0x10" and digits of other scripts.
- ``float`` never: it is not what was written.

The sign is judged before the size, and the size before the precision.
"""

from __future__ import annotations

import math
import re
import reprlib
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact
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
_EXPONENT_MAX: Final = (
    9_999  # beyond it no text of 64 characters is any amount; Decimal itself stops at 10**18
)
_SHOWN_BITS_MAX: Final = 256
_SHOWN_LENGTH_MAX: Final = 64
_TEXT: Final = re.compile(
    r"""
    (?!0[xX])                                   # not a number of another base with a word behind it
    (?P<sign>[+-]?)
    (?:
        (?P<special>(?i:s?nan[0-9]*|inf(?:inity)?))
      | (?P<mantissa>[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]+ | [0-9]+\.?[0-9]* | \.[0-9]+)
        (?:[eE](?P<exponent>[+-]?[0-9]+))?
    )
    \s*
    (?P<code>[A-Za-z]{3,10})?
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency, how many decimals its base unit has, and how many base units one amount may have.

    On chain the contracts decide about that: a token with 18 decimals needs more than a database holds.
    """

    code: str
    decimals: int
    amount_max: int = AMOUNT_MAX


USD: Final = Currency("USD", 6)
EUR: Final = Currency("EUR", 6)
USDT: Final = Currency("USDT", 6)
_KNOWN: Final = {known.code: known for known in (USD, EUR, USDT)}


def currency(code: str) -> Currency:
    """The currency with this code, upper or lower case.

    Raises:
        CurrencyMismatch: if it is not one we keep accounts in.
    """
    found = _KNOWN.get(code.upper()) if code.isascii() else None
    if found is None:
        raise CurrencyMismatch(
            f"Unknown currency {code[:16]!r}; known are {', '.join(sorted(_KNOWN))}.",
            remedy="Use one of these.",
        )
    return found


def parse_amount(value: int | Decimal | str, asset: Currency) -> int:
    """Base units of ``value`` in ``asset``, above zero and at most its ``amount_max``.

    An ``int`` is base units already; a ``Decimal`` or text without a code is in whole units;
    text may end in a currency code ("10 USD"), which must be the account's.

    Raises:
        InvalidAmount: one of its subclasses, by what is wrong.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise AmountNotFinite(f"{_shown(value)} is not an amount.")
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise AmountNotExact(f"{_shown(value)} is a {type(value).__name__}, not an exact amount.")
    if isinstance(value, int):
        return _in_range(int(value), value, asset)
    number = value if isinstance(value, Decimal) else _parse_text(value, asset)
    if not number.is_finite():
        raise AmountNotFinite(f"{_shown(value)} is not an amount.")
    if number <= 0:
        raise _not_positive(value)
    return _in_range(_to_base_units(number, asset, value), value, asset)


def format_amount(units: int, asset: Currency) -> str:
    """``units`` as text, with at least two decimals: ``"10.00 USD"``, ``"0.000125 USD"``.

    ``parse_amount`` reads it back to the unit.
    """
    sign, whole = ("-" if units < 0 else ""), abs(units)
    integer, fraction = divmod(whole, 10**asset.decimals)
    decimals = f"{fraction:0{asset.decimals}d}" if asset.decimals else ""
    return f"{sign}{integer:,}.{decimals.rstrip('0'):0<2} {asset.code}"


def _parse_text(text: str, asset: Currency) -> Decimal:
    if len(text) > _TEXT_LENGTH_MAX:
        raise AmountNotExact(
            f"{_shown(text)} has {len(text)} characters; an amount has at most {_TEXT_LENGTH_MAX}."
        )
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise AmountNotExact(f"{_shown(text)} is not an amount.")
    code = match["code"]
    if code is not None and code.upper() != asset.code:
        raise CurrencyMismatch(f"{_shown(text)} is in {code.upper()}; the account is in {asset.code}.")
    if match["special"] is not None:
        return Decimal("NaN")
    exponent = max(-_EXPONENT_MAX, min(int(match["exponent"] or 0), _EXPONENT_MAX))
    return Decimal(f"{match['sign']}{match['mantissa'].replace(',', '')}e{exponent}")


def _to_base_units(number: Decimal, asset: Currency, given: object) -> int:
    """``number``, which is above zero, in base units; the size is judged before any digit is computed."""
    if number.adjusted() + asset.decimals >= len(str(asset.amount_max)):
        raise _too_large(given, asset)
    exact = Context(prec=64, traps=[Inexact])
    try:
        return int(exact.to_integral_exact(exact.scaleb(number, asset.decimals)))
    except Inexact:
        raise AmountTooPrecise(
            f"{_shown(given)} has more than the {asset.decimals} decimals of {asset.code}."
        ) from None


def _in_range(units: int, given: object, asset: Currency) -> int:
    if units <= 0:
        raise _not_positive(given)
    if units > asset.amount_max:
        raise _too_large(given, asset)
    return units


def _not_positive(given: object) -> AmountNotPositive:
    return AmountNotPositive(f"{_shown(given)} is not above zero.")


def _too_large(given: object, asset: Currency) -> AmountTooLarge:
    limit = format_amount(asset.amount_max, asset)
    return AmountTooLarge(f"{_shown(given)} is above the limit of {asset.amount_max} base units ({limit}).")


def _shown(value: object) -> str:
    """``value`` as a message names it: short, whatever it is and however it prints itself."""
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS_MAX:
        return f"An integer of {value.bit_length()} bits"
    try:
        text = str(value) if isinstance(value, Decimal) else reprlib.repr(value)
    except Exception:  # noqa: BLE001 -- a stranger's __repr__ must not replace our error with its own
        return "An unprintable value"
    return text if len(text) <= _SHOWN_LENGTH_MAX else f"{text[:_SHOWN_LENGTH_MAX]}…"
