"""Spec M1: the limits of a new key are those asked for, within those of the key that asks."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepaid.errors import KeyTooNarrow, ModelNotAllowed
from prepaid.records import NO_LIMITS, KeyLimits

MODELS = ("cheap", "dear", "other")
NAMES = st.lists(st.sampled_from(MODELS), min_size=1, max_size=3, unique=True).map(tuple)
LIMITS = st.builds(
    KeyLimits,
    models=st.none() | NAMES,
    expires_ms=st.none() | st.integers(0, 4_000_000_000_000),
    cap=st.none() | st.integers(0, 10),
)


def may(limits, model, now_ms):
    """Whether a key with these limits may ask this model at this time."""
    return (limits.models is None or model in limits.models) and (
        limits.expires_ms is None or now_ms < limits.expires_ms
    )


@given(LIMITS, LIMITS, st.sampled_from(MODELS), st.integers(0, 4_000_000_000_001))
def test_a_new_key_may_what_both_may(wanted, issuer, model, now_ms):
    none_left = wanted.models and issuer.models and not {*wanted.models} & {*issuer.models}
    if issuer.cap is not None or none_left:
        with pytest.raises(KeyTooNarrow, match=re.escape(str(issuer))):
            wanted.narrowed(issuer)
        return
    made = wanted.narrowed(issuer)
    assert may(made, model, now_ms) == (may(wanted, model, now_ms) and may(issuer, model, now_ms))
    assert made.cap == wanted.cap
    assert issuer.covers(made)


@given(LIMITS, LIMITS, LIMITS)
def test_covering_is_an_order(one, other, third):
    assert one.covers(one) == (one.cap is None)
    assert NO_LIMITS.covers(one)
    if one.covers(other) and other.covers(third):
        assert one.covers(third)
    if one.covers(other) and other.covers(one):
        assert {*(one.models or ())} == {*(other.models or ())}
        assert one.expires_ms == other.expires_ms


@given(LIMITS, LIMITS, st.sampled_from(MODELS), st.integers(0, 4_000_000_000_001))
def test_what_is_covered_may_nothing_more(one, other, model, now_ms):
    if one.covers(other) and may(other, model, now_ms):
        assert may(one, model, now_ms)


@given(LIMITS)
def test_a_capped_key_covers_nothing_and_makes_nothing(wanted):
    """Two keys with one cap each may spend twice as much."""
    capped = KeyLimits(cap=5)
    assert not capped.covers(wanted)
    with pytest.raises(KeyTooNarrow, match="cap of 5 base units"):
        wanted.narrowed(capped)


def test_models_beyond_the_list_are_refused_by_name():
    with pytest.raises(ModelNotAllowed, match="'dear'"):
        KeyLimits(("cheap",)).check_models(("cheap", "dear"))
    NO_LIMITS.check_models(("dear",))


def test_they_are_told_as_people_read_them():
    assert str(NO_LIMITS) == "nothing"
    assert str(KeyLimits(("a", "b"), 0, 5)) == (
        "models a, b, the time until 1970-01-01T00:00:00+00:00, a cap of 5 base units"
    )
