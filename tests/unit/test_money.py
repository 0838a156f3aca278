"""Amounts: exact, bounded, and refused with a reason."""

from contextlib import suppress
from decimal import Decimal, localcontext
from enum import IntEnum
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prepaid.errors import (
    AmountNotExact,
    AmountNotFinite,
    AmountNotPositive,
    AmountTooLarge,
    AmountTooPrecise,
    CurrencyMismatch,
    InvalidAmount,
)
from prepaid.money import AMOUNT_MAX, EUR, USD, USDT, Currency, currency, format_amount, parse_amount

YEN = Currency("JPY", 0)
WEI = Currency("DAI", 18)
assets = st.sampled_from([USD, EUR, USDT, YEN, WEI])
amounts = st.integers(1, AMOUNT_MAX)


def parsed(value, asset):
    """Base units, or ``None`` for what is refused; any error that is not ours passes through."""
    with suppress(InvalidAmount):
        return parse_amount(value, asset)
    return None


@given(amounts, assets)
@example(AMOUNT_MAX, USD)
@example(1, WEI)
@example(1_234_560_000, USD)
def test_what_is_formatted_is_read_back_to_the_unit(units, asset):
    assert parse_amount(format_amount(units, asset), asset) == units


@given(amounts, assets)
def test_int_decimal_and_text_say_the_same(units, asset):
    whole = Decimal(units).scaleb(-asset.decimals)
    assert parse_amount(units, asset) == units
    assert parse_amount(whole, asset) == units
    assert parse_amount(f"{whole:f}", asset) == units
    assert parse_amount(f"  {whole:f}{asset.code.lower()} ", asset) == units
    assert parse_amount(f"{whole:e} {asset.code}", asset) == units


@given(st.text(max_size=80) | st.text("0123456789.,eE+-_ nNaAiIfFUSD×９", max_size=66), assets)
def test_any_text_is_an_exact_amount_or_one_of_our_errors(text, asset):
    units = parsed(text, asset)
    if units is not None:
        number = text.strip().upper().removesuffix(asset.code).replace(",", "")
        assert Fraction(units, 10**asset.decimals) == Fraction(Decimal(number))
        assert 1 <= units <= AMOUNT_MAX


@given(st.decimals(), assets)
@example(Decimal("sNaN"), USD)
@example(Decimal("NaN123"), USD)
@example(Decimal("1e-999999999"), USD)
def test_any_decimal_is_an_exact_amount_or_one_of_our_errors(number, asset):
    units = parsed(number, asset)
    if units is not None:
        assert Fraction(units, 10**asset.decimals) == Fraction(number)
        assert 1 <= units <= AMOUNT_MAX


@given(st.integers() | st.integers(AMOUNT_MAX - 3, AMOUNT_MAX + 3))
def test_an_int_is_base_units(units):
    if 1 <= units <= AMOUNT_MAX:
        assert parse_amount(units, USD) == units
    else:
        with pytest.raises(AmountTooLarge if units > 0 else AmountNotPositive):
            parse_amount(units, USD)


@given(st.floats() | st.booleans() | st.none() | st.binary() | st.fractions() | st.lists(st.integers()))
def test_anything_else_is_no_amount(value):
    with pytest.raises((AmountNotExact, AmountNotFinite), match=r"Pass "):
        parse_amount(value, USD)


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("10 USD", 10_000_000),
        ("10 usd", 10_000_000),
        (" 10USD", 10_000_000),
        ("10\tUSD\n", 10_000_000),
        ("10\u00a0USD", 10_000_000),
        ("+0.000001", 1),
        (".5", 500_000),
        ("5.", 5_000_000),
        ("1e3 USD", 1_000_000_000),
        ("1.5E-3", 1_500),
        ("1,234.00 USD", 1_234_000_000),
        ("1,234,567.89", 1_234_567_890_000),
        ("000000000000000000000000000000000001", 1_000_000),
        ("1.000000000000000000000000000000000", 1_000_000),
        ("4,611,686,018,427.387904 USD", AMOUNT_MAX),
    ],
)
def test_text_that_is_an_amount(text, units):
    assert parse_amount(text, USD) == units


@pytest.mark.parametrize(
    ("value", "error", "named"),
    [
        ("-5 USD", AmountNotPositive, "'-5 USD' is not above zero"),
        ("0 USD", AmountNotPositive, "'0 USD'"),
        ("-0", AmountNotPositive, "'-0'"),
        (0, AmountNotPositive, "0 is not above zero"),
        (-1, AmountNotPositive, "-1 is"),
        pytest.param(-(10**5000), AmountNotPositive, "An integer of 16610 bits", id="huge negative int"),
        (Decimal("-0.01"), AmountNotPositive, "-0.01"),
        (Decimal("0E+999999"), AmountNotPositive, "0E+999999"),
        ("-1e1000000 USD", AmountNotPositive, "'-1e1000000 USD'"),
        ("-0.0000001", AmountNotPositive, "'-0.0000001'"),
        ("1e30", AmountTooLarge, str(AMOUNT_MAX)),
        ("1e1000000 USD", AmountTooLarge, "'1e1000000 USD' is above the limit"),
        ("1e99999999999999999999999999999", AmountTooLarge, "4,611,686,018,427.387904 USD"),
        ("9" * 60, AmountTooLarge, "99999"),
        ("4,611,686,018,427.387905 USD", AmountTooLarge, str(AMOUNT_MAX)),
        (AMOUNT_MAX + 1, AmountTooLarge, str(AMOUNT_MAX + 1)),
        pytest.param(10**5000, AmountTooLarge, "An integer of 16610 bits", id="huge int"),
        (Decimal("1e999999"), AmountTooLarge, "1E+999999"),
        (Decimal("9" * 10_000), AmountTooLarge, "999…"),
        ("0.0000001 USD", AmountTooPrecise, "more than the 6 decimals of USD"),
        ("1e-1000000", AmountTooPrecise, "'1e-1000000'"),
        (Decimal("1." + "0" * 100 + "1"), AmountTooPrecise, "1.000"),
        (Decimal("1e-999999999"), AmountTooPrecise, "1E-999999999"),
        ("NaN", AmountNotFinite, "'NaN' is not an amount"),
        ("nan usd", AmountNotFinite, "'nan usd'"),
        ("sNaN123", AmountNotFinite, "'sNaN123'"),
        ("Infinity USD", AmountNotFinite, "'Infinity USD'"),
        ("-inf", AmountNotFinite, "'-inf'"),
        (float("nan"), AmountNotFinite, "nan"),
        (float("-inf"), AmountNotFinite, "-inf"),
        (Decimal("sNaN"), AmountNotFinite, "sNaN"),
        (Decimal("-Infinity"), AmountNotFinite, "-Infinity"),
        (1.5, AmountNotExact, "1.5 is a float"),
        (10.0, AmountNotExact, "10.0 is a float"),
        (True, AmountNotExact, "True is a bool"),
        (None, AmountNotExact, "None is a NoneType"),
        (b"10 USD", AmountNotExact, "b'10 USD' is a bytes"),
        (Fraction(1, 2), AmountNotExact, "Fraction(1, 2)"),
        ([10**5000], AmountNotExact, "is a list"),
        ("９ USD", AmountNotExact, "'９ USD'"),
        ("1_000", AmountNotExact, "'1_000'"),
        ("1,234", AmountNotExact, "'1,234'"),
        ("1,23.00", AmountNotExact, "'1,23.00'"),
        ("10,50 EUR", AmountNotExact, "'10,50 EUR'"),
        ("0x10", AmountNotExact, "'0x10'"),
        ("0xabc", AmountNotExact, "'0xabc'"),
        ("$10", AmountNotExact, "'$10'"),
        ("hello", AmountNotExact, "'hello'"),
        ("USD", AmountNotExact, "'USD'"),
        ("", AmountNotExact, "''"),
        (".", AmountNotExact, "'.'"),
        ("1e", AmountNotExact, "'1e'"),
        ("10 USD USD", AmountNotExact, "'10 USD USD'"),
        ("10 US", AmountNotExact, "'10 US'"),
        ("1" * 10_000, AmountNotExact, "has 10000 characters; an amount has at most 64"),
        ("10 EUR", CurrencyMismatch, "'10 EUR' is in EUR; the account is in USD"),
        ("10usdt", CurrencyMismatch, "'10usdt' is in USDT"),
        ("1EUR", CurrencyMismatch, "is in EUR"),
        ("-5 EUR", CurrencyMismatch, "is in EUR"),
    ],
)
def test_each_fault_has_its_own_error_naming_value_limit_and_remedy(value, error, named):
    with pytest.raises(InvalidAmount) as refused:
        parse_amount(value, USD)
    assert type(refused.value) is error
    assert named in str(refused.value)
    assert error.remedy
    assert str(refused.value).endswith(error.remedy)
    assert len(str(refused.value)) < 300


def test_the_longest_text_is_still_read_and_one_more_is_not():
    assert parse_amount("0" * 59 + "1 USD", USD) == 1_000_000
    with pytest.raises(AmountNotExact, match="at most 64"):
        parse_amount("0" * 60 + "1 USD", USD)


@pytest.mark.parametrize(
    "hostile", ["1e999999999", Decimal("1e999999999"), Decimal("-1e999999999"), "1" * 10**6]
)
def test_a_hostile_number_is_refused_before_its_digits_are_computed(hostile):
    """There is no clock here: computing 10**999999999 would simply never end."""
    with pytest.raises(InvalidAmount):
        parse_amount(hostile, USD)


def test_a_value_that_cannot_even_be_shown_gets_our_error_and_not_its_own():
    class Unprintable:
        def __repr__(self):
            raise RuntimeError

    with pytest.raises(AmountNotExact, match="is a Unprintable"):
        parse_amount(Unprintable(), USD)


def test_what_only_behaves_like_an_integer_is_refused_and_a_subclass_comes_out_plain():
    class Indexed:
        def __index__(self):
            return 5

    class Named(IntEnum):
        FIVE = 5

    with pytest.raises(AmountNotExact):
        parse_amount(Indexed(), USD)
    assert type(parse_amount(Named.FIVE, USD)) is int


def test_the_callers_decimal_context_changes_nothing():
    with localcontext() as context:
        context.prec = 2
        context.traps = dict.fromkeys(context.traps, True)
        assert parse_amount("1234567.891234 USD", USD) == 1_234_567_891_234
        assert parse_amount(Decimal("0.000001"), USD) == 1
        with pytest.raises(AmountNotFinite):
            parse_amount(Decimal("sNaN"), USD)


@pytest.mark.parametrize(
    ("units", "asset", "text"),
    [
        (10_000_000, USD, "10.00 USD"),
        (125, USD, "0.000125 USD"),
        (-125, USD, "-0.000125 USD"),
        (0, EUR, "0.00 EUR"),
        (1_234_500_000, USDT, "1,234.50 USDT"),
        (1_500, YEN, "1,500.00 JPY"),
        (1, WEI, "0.000000000000000001 DAI"),
    ],
)
def test_an_amount_is_shown_with_two_decimals_or_as_many_as_it_has(units, asset, text):
    assert format_amount(units, asset) == text


@pytest.mark.parametrize("code", ["USD", "usd", "Usd"])
def test_a_currency_is_found_in_either_case(code):
    assert currency(code) is USD


@pytest.mark.parametrize("code", ["XYZ", "", "uſd", "x" * 10_000])
def test_an_unknown_currency_is_refused_with_the_known_ones(code):
    with pytest.raises(CurrencyMismatch, match="known are EUR, USD, USDT") as refused:
        currency(code)
    assert len(str(refused.value)) < 120
