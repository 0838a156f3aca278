"""Guessing keys costs the guesser, and nobody else (spec P10)."""

from __future__ import annotations

import ipaddress
import secrets
import threading
from itertools import count

import httpx
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


class TestLookUpsOfWhoHasFailedTooOften:
    """Keys that could be one are looked up on, so many a second: behind an address there may be customers."""

    @staticmethod
    def failing(*addresses, clock):
        guessing = Guesses(60, clock)
        for address in addresses:
            for _ in range(60):
                guessing.failed(address, WRONG)
        return guessing

    @staticmethod
    def ids():
        return (f"pp_usr_{number}.1_" + "x" * 32 for number in count())

    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 150), st.floats(0, 0.2)), max_size=600))
    def test_they_are_bounded(self, asked):
        """Of all, of an address beside others, and of one id from there."""
        clock = Clock()
        guessing = self.failing("192.0.2.0", "192.0.2.1", "192.0.2.2", "192.0.2.3", clock=clock)
        seen = {}
        for host, number, pause in asked:
            clock.now += pause
            address = f"192.0.2.{host}"
            guessing.failed(address, WRONG)  # nothing is forgiven
            if not is_refused(guessing, address, f"pp_usr_{number}.1_" + "x" * 32):
                seen.setdefault(int(clock.now), []).append((host, number))
        for taken in seen.values():
            assert len(taken) <= 100
            assert all(taken.count(each) <= 5 for each in taken)

    def test_what_can_be_no_key_is_not_looked_up(self):
        guessing = self.failing("192.0.2.1", clock=Clock())
        for key in ("", "pp_new", "pp_op.1_" + "x" * 31, "pp_op.0_" + "x" * 32, "pp_usr_ö.1_" + "x" * 32):
            assert is_refused(guessing, "192.0.2.1", key)

    def test_who_guesses_one_key_leaves_the_others(self):
        clock = Clock()
        guessing = self.failing("192.0.2.1", clock=clock)
        assert sum(not is_refused(guessing, "192.0.2.1", WRONG) for _ in range(1_000)) == 5
        assert not is_refused(guessing, "192.0.2.1", next(self.ids()))

    def test_another_address_has_its_share(self):
        clock = Clock()
        guessing = self.failing("192.0.2.1", "192.0.2.2", clock=clock)
        ids = self.ids()
        for address in ("192.0.2.1", "192.0.2.2"):
            assert not is_refused(guessing, address, next(ids))
        clock.now += 1
        for address in ("192.0.2.1", "192.0.2.2"):
            guessing.failed(address, WRONG)  # what was forgiven meanwhile
            assert sum(not is_refused(guessing, address, next(ids)) for _ in range(1_000)) == 50

    def test_it_is_told_when_there_are_more(self):
        clock = Clock()
        guessing = Guesses(1, clock)
        guessing.failed("192.0.2.1", WRONG)
        while not is_refused(guessing, "192.0.2.1", WRONG):
            pass
        with pytest.raises(TooManyFailedKeys) as refused:
            guessing.check("192.0.2.1", WRONG)
        assert refused.value.after_seconds == 1

    def test_a_guesser_is_forgiven_as_before(self):
        """However many look-ups failed beyond the limit."""
        clock = Clock()
        guessing = self.failing("192.0.2.1", clock=clock)
        for _ in range(10_000):
            guessing.failed("192.0.2.1", WRONG)
        clock.now += 60
        assert sum(not is_refused(guessing, "192.0.2.1", "pp_new") for _ in range(3)) == 3


@pytest.mark.parametrize("guessed", ["one key", "any key"])
def test_customers_behind_a_guesser_s_address_are_served_after_a_restart(tmp_path, guessed):
    """Fifty guesses a second from the address of a proxy; nobody's key has worked in this process yet."""

    def guesses():
        while True:
            yield WRONG if guessed == "one key" else f"pp_usr_{secrets.token_hex(8)}.1_" + "x" * 32

    with Gateway(tmp_path) as gateway:
        keys = [gateway.fund("1 USD", f"user{number}")[1] for number in range(20)]
        gateway.stop()
        gateway.start()
        stop, told = threading.Event(), []

        def guess():
            with httpx.Client(base_url=gateway.url, timeout=60) as client:
                for key in guesses():
                    reply = client.get("/v1/models", headers={"authorization": f"Bearer {key}"})
                    told.append(reply.status_code)
                    if stop.wait(0.02):
                        return

        guesser = threading.Thread(target=guess)
        guesser.start()
        try:
            gateway.wait_until(lambda: len(told) > 80)  # well over the limit, of 60
            heads = [{"authorization": f"Bearer {key}"} for key in keys * 5]
            served = [gateway.get("/v1/models", headers=head).status_code for head in heads]
        finally:
            stop.set()
            guesser.join()
        assert served == [200] * 100
        assert set(told) <= {401, 429}


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
