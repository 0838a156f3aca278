"""A node that dies anywhere is followed by one that goes on: one answer each, one model call paid each."""

from __future__ import annotations

import os
import signal

import pytest

from chain.node.child import KILLS
from chain.node.desk import FUND, deliveries, ended, until
from chain.world import MODEL, NODE, question
from prepaid.chain.values import ResponseStatus, decode_text
from providers.fake_openai import Behaviour

ALL = "PREPAID_TEST_NODE_LONG" in os.environ
EVERY_RUN = ("after event", "before answer", "after signed", "after sent", "before receipt")
"""Where a later step would redo the most; the long profile has all of them."""


@pytest.mark.parametrize("kill_at", KILLS if ALL else EVERY_RUN)
async def test_killed_at_a_step(kill_at, desk, world, alice, operator, session_id):
    """Spec A10, D1: the request is answered once, the model asked once, and paid once."""
    environment = desk.environment(world)
    process = desk.start(environment, kill_at)
    request = await alice.request(session_id, MODEL, [NODE], question())
    assert await ended(process) == -signal.SIGKILL
    again = desk.start(environment)
    try:
        settled = await alice.settled(request, timeout_seconds=30)
        (last,) = await desk.said("ended")
        assert (last["request_id"], last["state"]) == (request.request_id, "confirmed")
    finally:
        again.terminate()
        assert await ended(again) == 0
    assert settled.response.status is ResponseStatus.SUCCESS
    assert decode_text(settled.response.response) == "Hello from the fake provider."
    assert await deliveries(alice) == [request.request_id]
    assert await operator.earned(NODE) == settled.cost
    assert desk.fake.served == 1
    spent, available = await desk.account()
    assert 0 < spent == FUND - available


async def test_killed_while_the_model_speaks(desk, world, alice, session_id):
    """Spec A10: what was broken off is asked again, and paid once: the first was never delivered to us."""
    desk.fake.next(Behaviour(delay_seconds=30))
    environment = desk.environment(world)
    process = desk.start(environment)
    request = await alice.request(session_id, MODEL, [NODE], question())

    async def is_asked():
        return desk.fake.served == 1

    await until(is_asked)
    process.kill()
    assert await ended(process) == -signal.SIGKILL
    again = desk.start(environment)
    try:
        settled = await alice.settled(request, timeout_seconds=30)
        (last,) = await desk.said("ended")
        assert (last["request_id"], last["state"]) == (request.request_id, "confirmed")
    finally:
        again.terminate()
        assert await ended(again) == 0
    assert settled.response.status is ResponseStatus.SUCCESS
    assert await deliveries(alice) == [request.request_id]
    assert desk.fake.served == 2
    spent, available = await desk.account()
    words = len(["What", "is", "the", "weather", "like?"])
    assert spent == FUND - available == words + 2 * len(["Hello", "from", "the", "fake", "provider."])
