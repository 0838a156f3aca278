"""Fees that the caller names: held by the formula, captured by the byte, never below the model's price."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paying.desk import asks
from paying.models import END, PER_BYTE, PER_TOKEN, Scripted
from prepaid import pricing
from prepaid.errors import AmountTooLarge, CurrencyMismatch, InsufficientFee, InsufficientFunds
from prepaid.records import Price, PriceTier, Unit, Usage

pytest_plugins = ["paying.fixtures"]

M = 1_000_000
FREE = Price.flat("USD", Unit.BYTE, 0, 0)


@given(
    st.integers(0, 10**6),
    st.integers(0, 10**12) | st.integers(0, 10).map(lambda fee: fee * M),
    st.integers(0, 10**12) | st.integers(0, 10).map(lambda fee: fee * M),
    st.integers(0, 10**9),
    st.integers(0, 10**6),
)
def test_the_formula(request_bytes, request_fee, response_fee, response_max, response_bytes):
    """Spec A10: ``requestBytes*feePerByteReq + totalFeePerRes`` held, and of it
    ``min(totalFeePerRes, responseBytes*feePerByteRes)`` plus the request part captured; rounded once, up."""
    price = Price.fee("USD", request_fee, response_fee, response_max)
    paid = pricing.output_paid(price, request_bytes)
    quoted = pricing.quote("m", price, request_bytes, 10**6 if paid is None else paid)
    taken = Fraction(request_bytes * request_fee, M)
    assert quoted.amount == math.ceil(taken + response_max)
    cost = pricing.cost(price, Usage(input_bytes=request_bytes, output_bytes=response_bytes))
    assert cost == math.ceil(taken + min(Fraction(response_max), Fraction(response_bytes * response_fee, M)))
    assert cost <= quoted.amount
    assert quoted.minimum <= quoted.amount
    if paid is not None:
        assert paid * response_fee <= response_max * M < (paid + 1) * response_fee


@given(st.data(), st.integers(0, 1_000), st.integers(0, 5 * M), st.integers(0, 5 * M), st.integers(0, 1_000))
def test_what_a_smaller_hold_affords(data, request_bytes, request_fee, response_fee, response_max):
    """Spec D1: the limit that a part of the fee pays never costs more than that part."""
    price = Price.fee("USD", request_fee, response_fee, response_max)
    paid = pricing.output_paid(price, request_bytes)
    quoted = pricing.quote("m", price, request_bytes, 10**6 if paid is None else paid)
    granted = data.draw(st.integers(quoted.minimum, quoted.amount))
    affordable = pricing.affordable_output(quoted, granted)
    assert 0 <= affordable <= quoted.output_units
    cost = pricing.cost(price, Usage(input_bytes=request_bytes, output_bytes=affordable))
    assert cost <= granted
    assert pricing.affordable_output(quoted, quoted.minimum - 1) == 0


async def test_a_fee_is_held_by_the_formula_and_captured_by_the_byte(desk):
    """Spec A10: ten bytes at 2, and at most 100 for a response at 7 a byte: fourteen bytes for 98."""
    payer = await desk.payer(1_000)
    fee = Price.fee("USD", 2 * M, 7 * M, 100)
    answer = await desk.turns.answer(asks(payer, Scripted(("hello", END), price=FREE), price=fee))
    assert (answer.held, answer.output_limit, answer.is_lowered) == (10 * 2 + 100, 14, False)
    assert answer.cost == 20 + 35
    desk.check(payer, spent=55)


async def test_a_response_is_cut_where_its_fee_ends(desk):
    payer = await desk.payer(1_000)
    fee = Price.fee("USD", 2 * M, 7 * M, 100)
    model = Scripted(("x" * 13 + "€", END), price=FREE)
    answer = await desk.turns.answer(asks(payer, model, price=fee))
    assert (answer.text, answer.finish_reason, answer.cost) == ("x" * 13, "length", 20 + 91)
    assert model.requests[0].output_tokens_max == 14  # a token has a byte at least
    desk.check(payer, spent=111)


async def test_a_limit_in_tokens_holds_too(desk):
    """The fee says how much is paid, the limit how much is wanted; the hold stays the formula's."""
    payer = await desk.payer(10_000)
    fee = Price.fee("USD", 0, M, 5_000)
    model = Scripted(("hi", END), price=FREE, output_max=900)
    answer = await desk.turns.answer(asks(payer, model, price=fee, limit=7))
    assert (model.requests[0].output_tokens_max, answer.held) == (7, 5_000)
    await desk.turns.answer(asks(payer, model, price=fee))
    assert model.requests[1].output_tokens_max == 900  # not the default limit: the fee is one
    desk.check(payer, spent=4)


async def test_a_balance_below_the_fee_lowers_the_response(desk):
    payer = await desk.payer(20 + 30)
    fee = Price.fee("USD", 2 * M, 7 * M, 100)
    answer = await desk.turns.answer(asks(payer, Scripted(("x" * 20, END), price=FREE), price=fee))
    assert (answer.text, answer.held, answer.output_limit, answer.is_lowered) == ("xxxx", 50, 4, True)
    desk.check(payer, spent=48)
    poor = await desk.payer(26)
    with pytest.raises(InsufficientFunds) as refused:
        await desk.turns.answer(asks(poor, Scripted(("x", END), price=FREE), price=fee))
    assert refused.value.needed == 27


async def test_a_fee_for_a_free_response(desk):
    payer = await desk.payer(1_000)
    model = Scripted(("hello", END), price=FREE)
    answer = await desk.turns.answer(asks(payer, model, price=Price.fee("USD", M, 0, 50)))
    assert (answer.held, answer.cost, answer.output_limit) == (60, 10, 4 * 64)
    poor = await desk.payer(30)
    answer = await desk.turns.answer(asks(poor, model, price=Price.fee("USD", M, 0, 50)))
    assert (answer.held, answer.cost, answer.output_limit, answer.is_lowered) == (30, 10, 4 * 64, False)


async def test_a_whole_fee_in_tokens(desk):
    """A caller may name any price; one in tokens with a total is limited by both."""
    payer = await desk.payer(1_000)
    tier = PriceTier(0, M, 3 * M, M, M)
    offered = Price("USD", Unit.TOKEN, (tier,), output_max=10)
    model = Scripted(("a b", 2))
    answer = await desk.turns.answer(asks(payer, model, price=offered))
    assert (answer.held, answer.output_limit, answer.cost) == (13, 3, 3 + 6)
    answer = await desk.turns.answer(asks(payer, model, price=offered, limit=2))
    assert (answer.held, answer.output_limit) == (13, 2)


# --- spec A11: a fee below the model's price -----------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "named"),
    [
        (Price.fee("USD", M - 1, 2 * M, 100), "request fee per million bytes of 999999"),
        (Price.fee("USD", M, 2 * M - 1, 100), "response fee per million bytes of 1999999"),
        (Price.fee("USD", M, 2 * M, 1), "total response fee of 1 base units is below the model's price of 2"),
        (Price.fee("USD", M, 2 * M, -5), "total response fee of -5"),
        (Price.fee("USD", -M, 2 * M, 100), "request fee"),
        (Price.flat("USD", Unit.BYTE, M, M), "response fee"),
    ],
)
async def test_a_fee_below_the_models_price_is_refused(desk, offered, named):
    """Spec A11."""
    payer = await desk.payer(1_000)
    model = Scripted(("hi", END), price=PER_BYTE)
    with pytest.raises(InsufficientFee, match=named):
        await desk.turns.answer(asks(payer, model, price=offered))
    assert model.requests == []
    desk.check(payer, spent=0)


@pytest.mark.parametrize(
    "offered", [PER_BYTE, Price.fee("USD", M, 2 * M, 2), Price.fee("USD", M + 1, 3 * M, 100)]
)
async def test_the_models_price_and_more_is_accepted(desk, offered):
    payer = await desk.payer(1_000)
    await desk.turns.answer(asks(payer, Scripted(("h", END), price=PER_BYTE), price=offered))
    desk.check(payer)


async def test_a_fee_by_the_byte_for_a_model_priced_by_the_token(desk):
    """Compared at four bytes a token, rounded against the offer."""
    payer = await desk.payer(1_000)
    model = Scripted(("hi", 1))  # 1 and 2 a token
    with pytest.raises(InsufficientFee, match=r"of 249999 .* price of 250000"):
        await desk.turns.answer(asks(payer, model, price=Price.fee("USD", 249_999, 500_000, 50)))
    answer = await desk.turns.answer(asks(payer, model, price=Price.fee("USD", 250_000, 500_000, 50)))
    assert (answer.held, answer.cost) == (53, 4)  # 2.5 and 50 held, 2.5 and 1 captured
    desk.check(payer, spent=4)


async def test_a_fee_by_the_token_for_a_model_priced_by_the_byte(desk):
    payer = await desk.payer(1_000)
    model = Scripted(("hi", 1), price=PER_BYTE)
    with pytest.raises(InsufficientFee, match=r"request fee per million tokens .* price of 4000000"):
        await desk.turns.answer(asks(payer, model, price=PER_TOKEN))
    offered = Price.flat("USD", Unit.TOKEN, 4 * M, 8 * M)
    assert (await desk.turns.answer(asks(payer, model, price=offered))).cost == 12 + 8


async def test_the_tier_that_the_request_falls_into_is_the_models_price(desk):
    payer = await desk.payer(100_000)
    tiers = (PriceTier(0, M, M, M, M), PriceTier(3, 5 * M, 5 * M, 5 * M, 5 * M))
    model = Scripted(("hi", 1), price=Price("USD", Unit.TOKEN, tiers, per_request=1))
    offered = Price("USD", Unit.TOKEN, (tiers[0],), per_request=1)
    assert (await desk.turns.answer(asks(payer, model, text="a b c", price=offered))).cost == 5
    with pytest.raises(InsufficientFee, match="price of 5000000"):
        await desk.turns.answer(asks(payer, model, text="a b c d", price=offered))
    with pytest.raises(InsufficientFee, match="fee per request of 0"):
        await desk.turns.answer(asks(payer, model, text="a", price=PER_TOKEN))


async def test_a_fee_in_another_currency(desk):
    payer = await desk.payer(1_000)
    with pytest.raises(CurrencyMismatch):
        await desk.turns.answer(asks(payer, Scripted(("hi", END)), price=Price.fee("EUR", M, M, 9)))
    euros = await desk.payer(1_000, asset="EUR")
    with pytest.raises(CurrencyMismatch, match="fee is in EUR"):
        await desk.turns.answer(asks(euros, Scripted(("hi", END)), price=Price.fee("EUR", M, M, 9)))


async def test_a_fallback_dearer_than_the_fee_is_left_out(desk):
    payer = await desk.payer(1_000)
    cheap = Scripted((ValueError("down"),), ("hi", END), price=FREE)
    dear = Scripted(("hi", END), name="dear", price=PER_BYTE)
    last = Scripted(("hi", END), name="last", price=FREE)
    answer = await desk.turns.answer(asks(payer, cheap, dear, last, price=Price.fee("USD", 10, 10, 5)))
    assert (answer.model, dear.requests) == ("last", [])


async def test_a_fee_that_no_account_can_hold(desk):
    """What is there is held; only an input that no account could ever pay is refused."""
    payer = await desk.payer(1_000)
    model = Scripted(("hi", END), price=FREE)
    answer = await desk.turns.answer(asks(payer, model, price=Price.fee("USD", 0, M, 2**80)))
    assert (answer.held, answer.cost) == (1_000, 2)
    with pytest.raises(AmountTooLarge):
        await desk.turns.answer(asks(payer, model, price=Price.fee("USD", 2**100, M, 9)))
    desk.check(payer, spent=2)
