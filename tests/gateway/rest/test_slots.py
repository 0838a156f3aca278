"""Spec P10: a key has so many model calls in flight, whichever way it asks (`requests_per_key_max`)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.running import Gateway
from prepaid.gateway.limits import Slots
from providers.fake_openai import Behaviour, FakeOpenAI

from .api import Api, operator_key, problem

LIMIT = 5
TOML = """
[gateway]
requests_per_key_max = 5
[upstreams.fake]
base_url = "{url}"
models = ["fast"]
[prices.fast]
input_per_million = "1"
output_per_million = "2"
output_tokens_max = 1000
"""
ASKED = {"prompt": "Is it?", "model": "fast", "max_output_tokens": 5}


@pytest.fixture
def fake():
    with FakeOpenAI() as server:
        server.default = Behaviour(is_gated=True)
        yield server


@pytest.fixture
def user(fake, tmp_path):
    with Gateway(tmp_path, TOML.format(url=fake.base_url)) as gateway:
        operator = Api(gateway, operator_key(gateway))
        operator.did("POST", "/deposits", {"user_id": "ann", "amount": "10 USD"})
        yield Api(gateway, operator.did("POST", "/keys", {"user_id": "ann"})["api_key"])
        gateway.assert_sound()


@pytest.fixture
def sessions(user):
    return [user.did("POST", "/sessions/start", {"amount": "1 USD"})["session_id"] for _ in range(3)]


def test_a_batch_waits_for_itself(user, sessions, fake):
    """It is done within what the key has free, which leaves others of the key some room."""
    with ThreadPoolExecutor() as pool:
        path = f"/sessions/{sessions[0]}/batches"
        batch = pool.submit(user.did, "POST", path, {"requests": [ASKED] * 40})
        user.gateway.wait_until(lambda: len(fake.requests) >= 3)
        single = pool.submit(user.did, "POST", f"/sessions/{sessions[1]}/requests", ASKED)
        user.gateway.wait_until(lambda: len(fake.requests) >= 4)
        assert len(fake.requests) == 4
        fake.gate.set()
        told = batch.result()["results"]
        single.result()
    assert [each["status"] for each in told] == ["SUCCESS"] * 40
    assert len(fake.requests) == 41
    user.did("POST", path, {"requests": [ASKED] * 3})


def test_what_is_asked_in_the_background_keeps_its_slot(user, sessions, fake):
    """An issue's case: 480 at once, of a key with a limit of 5."""
    paths = [f"/sessions/{session_id}/requests" for session_id in sessions] * LIMIT

    def start(path):
        return user.post(path, json=ASKED, headers={"Prefer": "respond-async"})

    with ThreadPoolExecutor() as pool:
        told = list(pool.map(start, paths))
    assert sorted(reply.status_code for reply in told) == [202] * LIMIT + [429] * (len(paths) - LIMIT)
    user.gateway.wait_until(lambda: len(fake.requests) == LIMIT)
    assert problem(user.post(paths[0], json=ASKED))["code"] == "concurrency_limit_reached"
    assert start(paths[0]).status_code == 429
    fake.gate.set()
    begun = [reply.headers["location"].removeprefix("/api/v1") for reply in told if reply.status_code == 202]
    for path in begun:
        user.gateway.wait_until(lambda path=path: user.did("GET", path)["status"] == "SUCCESS")
    user.gateway.wait_until(lambda: start(paths[0]).status_code == 202)


@given(st.integers(1, 50), st.lists(st.integers(1, 120), max_size=8))
def test_who_spreads_leaves_others_some_room(limit, sizes):
    slots, open_ones = Slots(limit), []
    for size in sizes:
        if not slots.free("a"):
            break
        before = slots.free("a")
        taken = slots.taken("a")
        got = taken.__enter__().spread(size)
        open_ones.append(taken)
        assert 1 <= got <= size
        assert slots.free("a") == before - got >= (before - 1) // 2
    for taken in open_ones:
        taken.__exit__(None, None, None)
    assert slots.free("a") == limit
