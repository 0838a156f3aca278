"""Quotes before, costs after: against a reference in fractions."""

import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from prepaid.errors import InsufficientFee
from prepaid.pricing import affordable_output, check_fee, check_offer, cost, quote, units_of
from prepaid.records import Price, PriceTier, Unit, Usage

rates = st.integers(0, 5) | st.integers(0, 10**9)
units = st.integers(0, 20) | st.integers(0, 10**7)
million = 1_000_000


@st.composite
def prices(draw, unit=None):
    thresholds = [0, *sorted(draw(st.sets(st.integers(1, 15) | st.integers(1, 10**6), max_size=3)))]
    tiers = tuple(
        PriceTier(threshold, *(draw(rates) for _ in range(4)), draw(st.none() | rates))
        for threshold in thresholds
    )
    return Price(
        "USD",
        unit or draw(st.sampled_from(Unit)),
        tiers,
        draw(st.integers(0, 10**6)),
        per_search=draw(st.integers(0, 10**6)),
        searches_max=draw(st.integers(0, 20)),
    )


@st.composite
def usages(draw, input_max, output_max, searches_max=20):
    """Any usage within the limits, sensible or not: cached tokens may be claimed beyond the input."""
    return Usage(
        input_tokens=draw(st.integers(0, input_max)),
        output_tokens=draw(st.integers(0, output_max)),
        cache_read_tokens=draw(st.integers(0, 2 * input_max)),
        cache_write_tokens=draw(st.integers(0, 2 * input_max)),
        input_bytes=draw(st.integers(0, input_max)),
        output_bytes=draw(st.integers(0, output_max)),
        cache_write_1h_tokens=draw(st.integers(0, 2 * input_max)),
        searches=draw(st.integers(0, searches_max)),
    )


def exact_cost(price, usage):
    """The cost before rounding, written the slow way."""
    used_in, used_out = units_of(price, usage)
    tier = [tier for tier in price.tiers if tier.input_above == 0 or used_in > tier.input_above][-1]
    if price.unit is Unit.BYTE:
        billed = [(used_in, tier.input_per_million)]
    else:
        written = min(usage.cache_write_tokens, used_in)
        read = min(usage.cache_read_tokens, used_in - written)
        billed = [
            (used_in - written - read, tier.input_per_million),
            (read, tier.cache_read_per_million),
        ]
        hour = min(usage.cache_write_1h_tokens, written)
        dear = tier.cache_write_1h_per_million
        dear = tier.cache_write_per_million if dear is None else dear
        billed += [(written - hour, tier.cache_write_per_million), (hour, dear)]
    billed.append((used_out, tier.output_per_million))
    fees = price.per_request + usage.searches * price.per_search
    return fees + sum(Fraction(count * rate, million) for count, rate in billed)


@given(st.data(), prices(), units, units)
def test_no_usage_within_a_quote_costs_more_than_the_quote(data, price, input_units, output_units):
    """Spec A10, D1, P11: the hold is the worst case, in every tier, with every use of the cache, all searches."""
    quoted = quote("m", price, input_units, output_units)
    usage = data.draw(usages(input_units, output_units, price.searches_max))
    assert 0 <= cost(price, usage) <= quoted.amount
    assert quoted.minimum <= quoted.amount


@given(st.data(), prices())
def test_a_cost_is_rounded_once_and_up(data, price):
    """Spec A10."""
    usage = data.draw(usages(10**7, 10**7))
    assert cost(price, usage) == math.ceil(exact_cost(price, usage))


@given(prices(), units, units, st.integers(0, 2**62))
def test_the_affordable_output_is_the_largest_whose_quote_fits(price, input_units, output_units, spare):
    """Spec D1: an output cut to what the balance can pay, and not a unit shorter."""
    quoted = quote("m", price, input_units, output_units)
    granted = quoted.minimum + spare % (quoted.amount - quoted.minimum + 2)
    affordable = affordable_output(quoted, granted)
    assert 0 <= affordable <= output_units
    assert quote("m", price, input_units, affordable).amount <= granted
    if affordable < output_units:
        assert affordable >= 1
        assert quote("m", price, input_units, affordable + 1).amount > granted


@given(prices(), units, units, st.integers(-10, 2**62))
def test_less_than_the_minimum_affords_nothing_and_nothing_divides_by_zero(
    price, input_units, output_units, granted
):
    quoted = quote("m", price, input_units, output_units)
    assume(granted < quoted.minimum)
    assert affordable_output(quoted, granted) == 0


@given(
    request_bytes=units,
    response_bytes=units,
    fee_request=st.integers(0, 10**6),
    fee_response=st.integers(0, 10**6),
    total_fee_response=st.integers(0, 10**12),
)
@example(request_bytes=256, response_bytes=256, fee_request=1, fee_response=0, total_fee_response=0)
def test_the_seeds_formula_is_a_quote_and_a_cost_under_its_hold(
    request_bytes, response_bytes, fee_request, fee_response, total_fee_response
):
    """Spec A10: hold ``requestBytes*feePerByteReq + totalFeePerRes``, capture at most that."""
    price = Price.flat("USDT", Unit.BYTE, fee_request * million, fee_response * million)
    hold = quote("m", price, request_bytes, 0).amount + total_fee_response
    assert hold == request_bytes * fee_request + total_fee_response
    used = Usage(input_bytes=request_bytes, output_bytes=response_bytes)
    captured = min(hold, cost(price, used))
    assert captured == request_bytes * fee_request + min(total_fee_response, response_bytes * fee_response)


@given(units, st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_seeds_hold_is_the_quote_of_as_many_bytes_as_its_fee_pays_for(
    request_bytes, fee, limit, response_bytes
):
    """Spec A10: an output limit of ``totalFeePerRes / feePerByteRes`` bytes gives the same hold and capture."""
    price = Price.flat("USDT", Unit.BYTE, 3 * million, fee * million)
    quoted = quote("m", price, request_bytes, limit)
    total_fee = limit * fee
    assert quoted.amount == request_bytes * 3 + total_fee
    used = Usage(input_bytes=request_bytes, output_bytes=min(response_bytes, limit))
    assert cost(price, used) == request_bytes * 3 + min(total_fee, response_bytes * fee)


TIERED = Price(
    "USD",
    Unit.TOKEN,
    (
        PriceTier(0, 1_250_000, 10_000_000, 125_000, 1_500_000),
        PriceTier(200_000, 2_500_000, 15_000_000, 250_000, 3_000_000),
    ),
    per_request=7,
)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(), 7),
        (Usage(input_tokens=1), 7 + 2),
        (Usage(output_tokens=1), 7 + 10),
        (Usage(input_tokens=200_000), 7 + 250_000),
        (Usage(input_tokens=200_001), 7 + 500_003),
        (Usage(input_tokens=200_001, output_tokens=2), 7 + 500_033),
        (Usage(input_tokens=100, cache_read_tokens=80, cache_write_tokens=10), 7 + 38),
        (Usage(input_tokens=10, cache_read_tokens=80), 7 + 2),
        (Usage(input_tokens=10, cache_read_tokens=80, cache_write_tokens=80), 7 + 15),
    ],
)
def test_a_tier_holds_for_the_whole_request_once_its_input_exceeds_the_threshold(usage, expected):
    assert cost(TIERED, usage) == expected


def test_a_quote_takes_the_dearest_rate_of_the_tiers_in_reach():
    assert quote("m", TIERED, 199_999, 0).amount == 7 + math.ceil(199_999 * Fraction(3, 2))
    assert quote("m", TIERED, 200_001, 1).amount == 7 + 600_003 + 15


def test_a_quote_counts_with_a_shorter_input_in_a_tier_whose_output_is_dearer():
    cheaper_when_long = Price(
        "USD", Unit.TOKEN, (PriceTier(0, 1, 9 * million, 1, 1), PriceTier(10, 1, million, 1, 1))
    )
    quoted = quote("m", cheaper_when_long, 11, 5)
    assert quoted.amount == 46
    assert cost(cheaper_when_long, Usage(input_tokens=10, output_tokens=5)) == 46
    assert cost(cheaper_when_long, Usage(input_tokens=11, output_tokens=5)) == 6


def test_a_minimum_is_the_input_and_one_unit_of_output():
    quoted = quote("m", TIERED, 100, 1_000)
    assert quoted.minimum == 7 + 150 + 10
    assert quoted.amount == 7 + 150 + 10_000
    assert affordable_output(quoted, quoted.minimum) == 1
    assert affordable_output(quoted, quoted.minimum + 9) == 1
    assert affordable_output(quoted, quoted.minimum + 10) == 2
    assert affordable_output(quoted, quoted.minimum - 1) == 0
    assert affordable_output(quoted, 10**18) == 1_000


def test_output_that_costs_nothing_is_granted_whole_or_not_at_all():
    free_output = Price.flat("USD", Unit.TOKEN, million, 0)
    quoted = quote("m", free_output, 10, 500)
    assert quoted.minimum == quoted.amount == 10
    assert affordable_output(quoted, 10) == 500
    assert affordable_output(quoted, 9) == 0


def test_an_embedding_has_no_output_to_quote():
    quoted = quote("m", Price.flat("USD", Unit.TOKEN, million, million), 10, 0)
    assert quoted.minimum == quoted.amount == 10
    assert affordable_output(quoted, 10) == 0


def test_units_are_what_the_price_counts():
    usage = Usage(input_tokens=1, output_tokens=2, input_bytes=3, output_bytes=4)
    assert units_of(Price.flat("USD", Unit.TOKEN, 1, 1), usage) == (1, 2)
    assert units_of(Price.flat("USD", Unit.BYTE, 1, 1), usage) == (3, 4)


def test_a_fee_below_the_models_price_is_refused():
    """Spec A11."""
    check_fee(10, 10, "fee per response byte")
    with pytest.raises(InsufficientFee, match=r"fee per response byte of 9 .* price of 10") as refused:
        check_fee(9, 10, "fee per response byte")
    assert (refused.value.offered, refused.value.price) == (9, 10)


SEARCHING = Price(
    "USD",
    Unit.TOKEN,
    (PriceTier(0, 3 * million, 15 * million, 300_000, 3_750_000, 6 * million),),
    per_request=5_000,
    per_search=10_000,
    searches_max=3,
)


def test_searches_and_the_hour_in_the_cache_have_prices_of_their_own():
    """Spec P11."""
    written = Usage(
        100, 10, cache_read_tokens=40, cache_write_tokens=50, cache_write_1h_tokens=20, searches=2
    )
    tokens = 10 * 3 + 40 * 0.3 + 30 * 3.75 + 20 * 6 + 10 * 15
    assert cost(SEARCHING, written) == 5_000 + 2 * 10_000 + math.ceil(tokens)
    quoted = quote("m", SEARCHING, 100, 10)
    assert quoted.amount == 5_000 + 3 * 10_000 + 100 * 6 + 10 * 15
    assert quoted.minimum == 5_000 + 3 * 10_000 + 100 * 6 + 15
    assert affordable_output(quoted, quoted.minimum) == 1
    by_the_byte = replace(SEARCHING, unit=Unit.BYTE)
    assert cost(by_the_byte, Usage(input_bytes=1, searches=1)) == 5_000 + 10_000 + 3


def test_an_hour_costs_what_minutes_do_where_nobody_says_otherwise():
    tier = PriceTier(0, 1, 1, 1, 7)
    assert tier.hour_write_per_million == 7
    assert replace(tier, cache_write_1h_per_million=0).hour_write_per_million == 0


def test_a_fee_that_pays_for_no_search_is_refused_where_searches_cost():
    """Spec A11, P11."""
    asked = Price("USD", Unit.BYTE, Price.flat("USD", Unit.BYTE, 1, 1).tiers, per_search=1, searches_max=1)
    with pytest.raises(InsufficientFee, match="fee per search"):
        check_offer(Price.fee("USD", 1, 1, 1), asked, 1)
