"""Spec D3: one key of a user's is one payment, whichever session pays, at once and after ``kill -9``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.running import Gateway
from providers.fake_openai import FakeOpenAI

from .api import Api, operator_key

ASK = {"prompt": "Transfer the report.", "model": "m"}
TOML = """
[upstreams.fake]
base_url = "{url}"
models = ["m"]

[prices.m]
input_per_million = "1"
output_per_million = "2"
output_tokens_max = 1000
"""


@pytest.fixture(scope="module")
def fake():
    with FakeOpenAI() as server:
        yield server


@pytest.fixture
def gateway(tmp_path, fake):
    fake.reset()
    with Gateway(tmp_path, TOML.format(url=fake.base_url)) as running:
        yield running
        running.assert_sound()


@pytest.fixture
def operator(gateway):
    return Api(gateway, operator_key(gateway))


@pytest.fixture
def ann(gateway, operator):
    operator.did("POST", "/deposits", {"user_id": "ann", "amount": "1 USD"})
    return Api(gateway, operator.did("POST", "/keys", {"user_id": "ann"})["api_key"])


def spent(operator):
    return sum(each["spent"] for each in operator.did("GET", "/sessions?user_id=ann")["items"])


def test_the_session_that_paid_is_closed_in_between(ann, operator, fake):
    """Case 92 of the gateway."""
    session = ann.did("POST", "/sessions/start", {"amount": "0.5 USD"})
    first = ann.did("POST", "/requests", ASK, key="order-1")
    ann.did("POST", f"/sessions/{session['session_id']}/close")
    assert ann.did("POST", "/requests", ASK, key="order-1")["request_id"] == first["request_id"]
    assert (fake.served, spent(operator)) == (1, first["cost"])
    other = {**ASK, "prompt": "Transfer another."}
    assert ann.refused("POST", "/requests", other, key="order-1") == (409, "idempotency_conflict")


def test_eight_at_once_and_again_after_a_kill(gateway, ann, operator, fake):
    """Each would open a session of its own: none is there yet."""
    with ThreadPoolExecutor(8) as pool:
        replies = list(
            pool.map(lambda _: ann.post("/requests", json=ASK, headers={"Idempotency-Key": "o"}), range(8))
        )
    assert {reply.status_code for reply in replies} <= {201, 409}
    (request_id,) = {reply.json()["request_id"] for reply in replies if reply.status_code == 201}
    gateway.kill()
    gateway.start()
    again = ann.did("POST", "/requests", ASK, key="o")
    assert again["request_id"] == request_id
    assert (fake.served, spent(operator)) == (1, again["cost"])
    assert len(operator.did("GET", "/sessions?user_id=ann")["items"]) == 1


def test_a_user_s_keys_share_them_and_another_user_s_do_not(gateway, ann, operator, fake):
    first = ann.did("POST", "/requests", ASK, key="o")
    second = Api(gateway, operator.did("POST", "/keys", {"user_id": "ann"})["api_key"])
    assert second.did("POST", "/requests", ASK, key="o")["request_id"] == first["request_id"]
    operator.did("POST", "/deposits", {"user_id": "bob", "amount": "1 USD"})
    bob = Api(gateway, operator.did("POST", "/keys", {"user_id": "bob"})["api_key"])
    assert bob.did("POST", "/requests", ASK, key="o")["request_id"] != first["request_id"]
    assert fake.served == 2


def test_in_the_background(gateway, ann, fake):
    head = {"Prefer": "respond-async"}
    first = ann.did("POST", "/requests", ASK, key="o", **head)
    path = f"/sessions/{first['session_id']}"
    gateway.wait_until(
        lambda: ann.did("GET", f"{path}/requests/{first['request_id']}")["status"] == "SUCCESS"
    )
    ann.did("POST", f"{path}/close")
    assert ann.did("POST", "/requests", ASK, key="o", **head)["request_id"] == first["request_id"]
    assert fake.served == 1
