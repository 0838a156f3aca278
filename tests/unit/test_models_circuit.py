"""Who is left alone, and when: one payer's failures close the way for that payer, with that model (spec P10)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepaid.errors import MayBill, UpstreamUnavailable
from prepaid.models.circuit import MODELS_MAX, PAYERS_MAX, Circuit


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def circuit(clock):
    return Circuit("up", 4, 10.0, 2, clock)


def fail(circuit, payer, times=1, model="m"):
    for _ in range(times):
        circuit.seat(model, payer).failed()


def is_open(circuit, payer, model="m"):
    try:
        circuit.seat(model, payer)
    except UpstreamUnavailable:
        return True
    return False


def test_an_open_one_says_for_how_long_and_costs_nothing(circuit):
    fail(circuit, "bad", 4)
    with pytest.raises(UpstreamUnavailable, match="4 times") as caught:
        circuit.seat("m", "bad")
    assert (caught.value.after_seconds, caught.value.may_bill) == (10.0, MayBill.NOTHING)


def test_a_payer_who_fails_is_left_alone_and_tries_after_each_pause(circuit, clock):
    fail(circuit, "bad", 3)
    assert not is_open(circuit, "bad")
    fail(circuit, "bad")
    assert is_open(circuit, "bad")
    clock.now += 10
    fail(circuit, "bad")
    assert is_open(circuit, "bad")
    clock.now += 10
    circuit.seat("m", "bad").succeeded()
    assert not is_open(circuit, "bad")
    assert circuit.failures == 5


def test_a_try_of_which_nobody_hears_is_followed_by_another(circuit, clock):
    fail(circuit, "bad", 4)
    clock.now += 10
    circuit.seat("m", "bad")
    assert is_open(circuit, "bad")
    clock.now += 10
    assert not is_open(circuit, "bad")


@given(st.integers(1, 50), st.integers(2, 5), st.integers(1, 200))
def test_one_payer_closes_the_way_for_nobody_else(failures_max, payers, times):
    circuit = Circuit("up", failures_max, 10.0, payers, Clock())
    for _ in range(times):
        if not is_open(circuit, "bad"):
            circuit.failed("m", "bad")
    assert is_open(circuit, "bad") == (times >= failures_max)
    assert not circuit.is_open
    assert not is_open(circuit, "good")


def test_a_success_of_another_does_not_open_the_way_for_who_fails(circuit):
    for _ in range(4):
        fail(circuit, "bad")
        circuit.seat("m", "good").succeeded()
    assert is_open(circuit, "bad")


def test_several_payers_without_an_answer_between_them_close_it_for_all(circuit, clock):
    fail(circuit, "ann", 2)
    fail(circuit, "bob")
    assert not circuit.is_open
    fail(circuit, "bob")
    assert circuit.is_open
    assert is_open(circuit, "new")
    clock.now += 10
    fail(circuit, "new")
    circuit.seat("m", "ann").succeeded()
    assert not circuit.is_open
    assert not is_open(circuit, "new")


def test_an_answer_to_anybody_begins_the_row_anew(circuit):
    fail(circuit, "ann", 2)
    circuit.seat("m", "cyd").succeeded()
    fail(circuit, "bob", 2)
    assert not circuit.is_open


def test_who_fails_most_counts_for_a_share_only():
    circuit = Circuit("up", 9, 10.0, 3, Clock())
    fail(circuit, "bad", 8)
    fail(circuit, "ann")
    fail(circuit, "bob")
    assert not circuit.is_open


def test_whoever_tried_after_a_pause_leaves_the_next_try_to_others(circuit, clock):
    """Or a failing request, sent again and again, would keep it open for all."""
    fail(circuit, "ann", 2)
    fail(circuit, "bad", 2)
    clock.now += 10
    fail(circuit, "bad")
    assert is_open(circuit, "bad")
    assert not is_open(circuit, "cyd")
    assert is_open(circuit, "dan")  # as many as it takes payers have tried


def test_another_model_is_another_matter(circuit):
    fail(circuit, "ann", 4, "dear")
    fail(circuit, "bob", 2, "dear")
    assert circuit.is_open
    assert is_open(circuit, "ann", "dear")
    assert not is_open(circuit, "ann", "cheap")
    assert not is_open(circuit, "cyd", "cheap")


def test_what_is_remembered_is_bounded():
    circuit = Circuit("up", 10**6, 10.0, 3, Clock())
    for number in range(PAYERS_MAX + 500):
        fail(circuit, f"payer {number}", model=f"model {number}")
        fail(circuit, f"payer {number}")
    assert len(circuit._rows) == PAYERS_MAX
    assert len(circuit._crowds) <= MODELS_MAX
    assert max(len(crowd.failures) for crowd in circuit._crowds.values()) <= PAYERS_MAX
