"""What a provider may bill and nobody pays (spec P3, P4)."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepaid.errors import MayBill, ProviderError
from prepaid.meter import exposure

AMOUNTS = st.integers(0, 10**6)


def failure(may_bill):
    error = ProviderError("no")
    error.may_bill = may_bill
    return error


REASONS = st.sampled_from([None, asyncio.CancelledError(), RuntimeError(), *map(failure, MayBill)])


@pytest.mark.parametrize(
    ("reason", "booked"),
    [
        (failure(MayBill.NOTHING), 0),
        (failure(MayBill.DELIVERED), 30 - 10),
        (failure(MayBill.UNKNOWN), 100 - 10),
        (asyncio.CancelledError(), 100 - 10),
        (None, 100 - 10),
    ],
)
def test_how_it_ended_says_what_may_be_billed(reason, booked):
    assert exposure(reason, 100, charged=10, delivered=30) == booked


@given(reason=REASONS, worst=AMOUNTS, charged=AMOUNTS, delivered=AMOUNTS)
def test_never_below_zero_and_never_above_what_is_not_charged(reason, worst, charged, delivered):
    booked = exposure(reason, worst, charged=charged, delivered=delivered)
    assert 0 <= booked <= max(worst - charged, 0)
