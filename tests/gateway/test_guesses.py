"""Guessing keys costs the guesser, and nobody else (spec P10)."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.running import Gateway
from prepaid.errors import TooManyFailedKeys
from prepaid.gateway import guesses
from prepaid.gateway.guesses import Guesses, block_of

WRONG = "pp_op.1_" + "x" * 32


class Clock:
    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


def is_refused(guessing, address, key="pp_new"):
    try:
        guessing.check(address, key)
    except TooManyFailedKeys:
        return True
    return False


@given(st.integers(1, 100), st.lists(st.floats(0, 5), min_size=1, max_size=400))
def test_so_many_a_minute_whatever_the_pauses(limit, pauses):
    """Spec P10: never more than the limit and what was forgiven meanwhile."""
    clock = Clock()
    guessing = Guesses(limit, clock)
    tried, began = 0, clock.now
    for pause in pauses:
        clock.now += pause
        if not is_refused(guessing, "192.0.2.1"):
            guessing.failed("192.0.2.1", "pp_wrong")
            tried += 1
    assert tried <= limit + (clock.now - began) * limit / 60 + 1


def test_it_says_when_one_may_be_tried_again():
    clock = Clock()
    guessing = Guesses(60, clock)
    for _ in range(60):
        guessing.check("192.0.2.1", "pp_wrong")
        guessing.failed("192.0.2.1", "pp_wrong")
    with pytest.raises(TooManyFailedKeys) as refused:
        guessing.check("192.0.2.1", "pp_wrong")
    assert refused.value.limit == 60
    clock.now += refused.value.after_seconds
    guessing.check("192.0.2.1", "pp_wrong")
    assert not is_refused(guessing, "192.0.2.2")


def test_what_worked_goes_on_to_work_until_it_is_none_any_more():
    guessing = Guesses(1)
    guessing.worked("pp_good")
    guessing.failed("192.0.2.1", "pp_wrong")
    assert is_refused(guessing, "192.0.2.1")
    assert not is_refused(guessing, "192.0.2.1", "pp_good")
    guessing.failed("192.0.2.1", "pp_good")  # revoked
    assert is_refused(guessing, "192.0.2.1", "pp_good")


def test_none_are_counted_where_there_is_no_limit():
    guessing = Guesses(0)
    for _ in range(1_000):
        guessing.failed("192.0.2.1", "pp_wrong")
    assert not is_refused(guessing, "192.0.2.1")


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_who_has_a_network_has_one_address(network, one, another):
    addresses = [str(ipaddress.IPv6Address(network << 64 | host)) for host in (one, another)]
    if network:
        assert block_of(addresses[0]) == block_of(addresses[1])
    assert block_of(f"2001:db8::{one & 0xFFFF:x}") != block_of(f"2001:db9::{one & 0xFFFF:x}")
    assert block_of("::ffff:192.0.2.1") == block_of("192.0.2.1") != block_of("192.0.2.2")
    assert block_of("fe80::1%eth0") == block_of("fe80::2")
    assert block_of("") == ""


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(guesses, "_ADDRESSES_MAX", 10)
    monkeypatch.setattr(guesses, "_KEYS_MAX", 10)
    guessing = Guesses(5)
    for number in range(100):
        guessing.failed(f"192.0.2.{number}", f"pp_{number}")
        guessing.worked(f"pp_good{number}")
    assert (len(guessing._spent), len(guessing._known)) == (10, 10)


def test_guesses_cost_the_guesser_and_nobody_else(tmp_path):
    """Over both APIs; a key that worked goes on to work from the same address."""
    with Gateway(tmp_path, "[gateway]\nfailed_keys_per_minute = 5\n") as gateway:
        _, key = gateway.fund("1 USD")
        good, bad = ({"authorization": f"Bearer {each}"} for each in (key, WRONG))
        assert gateway.get("/v1/models", headers=good).status_code == 200
        paths = ("/v1/models", "/api/v1/sessions")
        seen = [gateway.get(paths[number % 2], headers=bad).status_code for number in range(30)]
        assert seen[:5] == [401] * 5
        assert 429 in seen
        refused = gateway.wait_until(
            lambda: next((r for r in (gateway.get("/v1/models", headers=bad),) if r.status_code == 429), None)
        )
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert int(refused.headers["retry-after"]) >= 1
        assert gateway.get("/v1/models").status_code == 401, "who sends none guesses nothing"
        assert gateway.get("/v1/models", headers=good).status_code == 200
        assert gateway.get("/healthz").status_code == 200
