"""Spec D1, D8: a key that can pay 50, a thousand requests at once, an upstream that takes 300 ms; counted there.

Exactly 50 are served. One more would be overspending; one less, money that cannot be used.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

import pytest

from gateway.proof.books import assert_refunded, settled, total, with_manager, with_session
from gateway.proof.bursts import CLIENTS, QUESTION, burst
from gateway.sockets import sockets_of

PAID = 50
DELAY_SECONDS = 0.3
TEN = "w" + " word" * 9
"""Ten words: ten tokens upstream."""


def spend(gateway, key, body, **options):
    return asyncio.run(burst(gateway.url, key, body, **options))


def ask_once(gateway, key, body):
    asked = {"model": "fast", "messages": QUESTION, **body}
    return gateway.post("/v1/chat/completions", json=asked, headers={"authorization": f"Bearer {key}"})


def assert_spent_to_the_last(gateway, upstream, session_id, key, body, cost):
    """50 were paid, nothing is pinned, the next is told that it is no use, and money makes it work again."""
    account = settled(gateway, session_id)
    assert account.spent == PAID * cost
    assert account.available == account.funded - account.spent
    before = upstream.counts()["served"]
    reply = ask_once(gateway, key, body)
    assert reply.status_code == 402
    assert reply.json()["error"]["code"] == "insufficient_quota"
    assert reply.headers["x-should-retry"] == "false"
    assert upstream.counts()["served"] == before
    with_session(gateway, session_id, lambda session: session.fund(cost))
    assert ask_once(gateway, key, body).status_code == 200
    assert upstream.counts()["served"] == before + 1
    assert settled(gateway, session_id).spent == (PAID + 1) * cost
    assert_refunded(gateway, session_id)


def assert_fifty_of_a_thousand(outcome, upstream):
    assert outcome.ended == {200: PAID, 402: CLIENTS - PAID}
    counts = upstream.counts()
    assert (counts["served"], counts["answered"]) == (PAID, PAID)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_exact_estimate(gateway, upstream, stream):
    """What is held is what it costs, so all 50 run at once."""
    upstream.behave(text=TEN, delay_seconds=DELAY_SECONDS)
    session_id, key = gateway.fund(PAID * 10)
    body = {"max_tokens": 10, "stream": stream}
    outcome = spend(gateway, key, body)
    assert_fifty_of_a_thousand(outcome, upstream)
    assert set(outcome.refused) <= {429}
    assert outcome.lowered == 0
    assert_spent_to_the_last(gateway, upstream, session_id, key, body, 10)


def test_no_limit_in_the_request(gateway, upstream):
    """Twice as much is held as it costs; towards the end less, so that the last unit is used."""
    upstream.behave(
        usage={"prompt_tokens": 5, "completion_tokens": 512, "total_tokens": 517}, delay_seconds=DELAY_SECONDS
    )
    session_id, key = gateway.fund(PAID * 512)
    outcome = spend(gateway, key, {})
    assert_fifty_of_a_thousand(outcome, upstream)
    assert outcome.lowered >= 1
    limits = [request["max_tokens"] for request in upstream.requests()]
    assert max(limits) == 1024
    assert min(limits) >= 512
    assert_spent_to_the_last(gateway, upstream, session_id, key, {}, 512)


def test_an_upstream_that_counts_the_prompt_twice(gateway, upstream):
    """Five words are ten tokens then; they are paid for as it says, within what was held for them."""
    lie = {"text": TEN, "input_times": 2, "delay_seconds": DELAY_SECONDS}
    upstream.behave(**lie)
    body, cost = {"model": "reads", "max_tokens": 1}, 11
    held = int(ask_once(gateway, gateway.fund(1_000_000)[1], body).headers["x-prepaid-held"])
    upstream.behave(**lie)
    session_id, key = gateway.fund((PAID - 1) * cost + held)  # what is left after 50 is less than a hold
    assert_fifty_of_a_thousand(spend(gateway, key, body), upstream)
    assert_spent_to_the_last(gateway, upstream, session_id, key, body, cost)


def test_an_upstream_that_bills_three_times_the_limit(gateway, upstream):
    """Never captured above the hold; what is missing is booked as the operator's."""
    upstream.behave(text=TEN, limit_times=3, delay_seconds=DELAY_SECONDS)
    session_id, key = gateway.fund(PAID * 10)
    body = {"max_tokens": 10}
    assert_fifty_of_a_thousand(spend(gateway, key, body), upstream)
    assert total(gateway, session_id, "shortfall") == (PAID * 20, PAID)
    assert_spent_to_the_last(gateway, upstream, session_id, key, body, 10)


def test_four_workers(crew, upstream):
    upstream.behave(text=TEN, delay_seconds=DELAY_SECONDS)
    session_id, key = crew.fund(PAID * 10)
    body = {"max_tokens": 10}
    assert_fifty_of_a_thousand(spend(crew, key, body), upstream)
    assert_spent_to_the_last(crew, upstream, session_id, key, body, 10)


def test_a_worker_that_is_killed_in_mid_burst(crew, upstream):
    """Whoever was in flight there asks again under the same key. 50 get their answer and pay for it, and what
    the upstream did for nobody is the operator's."""
    upstream.behave(text=TEN, is_gated=True)
    session_id, key = crew.fund(PAID * 10)
    body = {"max_tokens": 10}

    def kill():
        crew.wait_until(lambda: upstream.counts()["served"] == PAID)
        pid, asked = busiest_worker(crew, upstream)
        os.kill(pid, signal.SIGKILL)
        upstream.open_gate()
        return asked

    async def burst_and_kill():
        asking = asyncio.create_task(burst(crew.url, key, body, keyed=True))
        return await asyncio.to_thread(kill), await asking

    lost, outcome = asyncio.run(burst_and_kill())
    assert outcome.ended == {200: PAID, 402: CLIENTS - PAID}
    assert outcome.broken >= lost > 0
    assert total(crew, session_id, "exposure") == (lost * 10, lost)
    assert upstream.counts()["served"] == PAID + lost
    assert_spent_to_the_last(crew, upstream, session_id, key, body, 10)


def test_clients_that_hang_up_in_mid_stream(gateway, upstream):
    """Each takes 10 words of 20 and goes: that is what it pays for, and the rest of its hold pays for others."""
    words = 10
    upstream.behave(text=" wod" * 20, hang_after=1 + words, delay_seconds=DELAY_SECONDS)
    session_id, key = gateway.fund(PAID * words)
    body = {"model": "shown", "max_tokens": 20, "stream": True}
    outcome = spend(gateway, key, body, words=[words])
    assert outcome.ended == {200: PAID, 402: CLIENTS - PAID}
    account = settled(gateway, session_id)
    assert (account.spent, account.available) == (PAID * words, 0)
    counts = gateway.wait_until(lambda: (found := upstream.counts())["dropped"] == PAID and found)
    assert (counts["served"], counts["answered"]) == (PAID, 0)
    assert_refunded(gateway, session_id)


def test_clients_that_hang_up_wherever_they_are(gateway, upstream):
    """While the words come. Nobody reads for nothing, and nobody pays for what was not made."""
    upstream.behave(text=" wod" * 40, chunk_delay_seconds=0.005)
    session_id, key = gateway.fund(2_000)
    outcome = spend(
        gateway, key, {"model": "shown", "max_tokens": 40, "stream": True}, clients=200, words=range(1, 5)
    )
    assert set(outcome.ended) <= {200, 402}
    account = settled(gateway, session_id)
    served = upstream.counts()["served"]
    assert served == outcome.ended[200] >= 50
    assert outcome.delivered <= account.spent <= served * 40
    assert_refunded(gateway, session_id)


def test_a_capped_key_of_a_rich_session(gateway, upstream):
    """The cap is what 50 cost, and the session could pay for all."""
    upstream.behave(text=TEN, delay_seconds=DELAY_SECONDS)
    session_id, _ = gateway.fund(1_000_000)
    issued = with_manager(
        gateway, lambda manager: manager.create_api_key(session_id=session_id, user_id="ann", cap=PAID * 10)
    )
    assert_fifty_of_a_thousand(spend(gateway, issued.api_key, {"max_tokens": 10}), upstream)
    assert settled(gateway, session_id).spent == PAID * 10
    assert_refunded(gateway, session_id)


def busiest_worker(crew, upstream):
    """The process that most of the upstream's requests came from, and how many did."""
    ports = Counter(upstream.ports())
    counts = {pid: sum(ports[each.port] for each in sockets_of(pid)) for pid in crew.workers()}
    return max(counts.items(), key=lambda each: each[1])
