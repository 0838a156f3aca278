"""A node that dies anywhere is followed by one that goes on: one answer each, one model call paid each."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import asynccontextmanager

from chain.node.child import KILLS
from chain.node.desk import FUND, deliveries, ended, until
from chain.world import ADMIN, MODEL, NODE, question
from prepaid.chain.values import ResponseStatus, decode_text
from providers.fake_openai import Behaviour

TEXT = "Hello from the fake provider."
COST = 2 + 2 * len(TEXT.split())
"""Of an answer to a question of two words, in the ledger's base units."""

BROKEN_OFF = ("after hold", "before settling")
"""At these the model may have been asked, and nobody knows what it said: the hold ends first."""


async def test_killed_at_every_step(desk, world, alice, operator, session_id):
    """Spec A10, D1: each request is answered once, the model asked once, and paid once.

    One node after another, each dying at the next step of its own request; the last one goes home.
    """
    lasting = desk.environment(world, more={"PREPAID_HOLD_SECONDS": "30"})
    asked = {}
    for kill_at in KILLS:
        process = desk.start(desk.environment(world) if kill_at in BROKEN_OFF else lasting, kill_at)
        await desk.said("ended", times=len(asked))
        asked[kill_at] = await alice.request(session_id, MODEL, [NODE], question(kill_at))
        assert await ended(process) == -signal.SIGKILL, kill_at
    async with last_life(desk, lasting, len(asked)):
        settled = {kill_at: await alice.settled(request) for kill_at, request in asked.items()}
    said = {kill_at: decode_text(each.response.response) for kill_at, each in settled.items()}
    assert said == dict.fromkeys(KILLS, TEXT)
    assert sorted(await deliveries(alice)) == sorted(each.request_id for each in asked.values())
    assert {line["state"] for line in desk.lines("ended")} == {"confirmed"}
    assert await operator.earned(NODE) == sum(each.cost for each in settled.values())
    served = Counter(told["messages"][-1]["content"] for told in desk.fake.requests)
    assert served == dict.fromkeys(KILLS, 1) | {"before settling": 2}
    spent, available = await desk.account()
    assert spent == FUND - available == COST * len(KILLS)


async def test_killed_while_the_model_speaks(desk, world, alice, session_id):
    """Spec A10: what was broken off is asked again, and paid once: the first was never delivered to us."""
    desk.fake.next(Behaviour(delay_seconds=3_600))
    environment = desk.environment(world)
    process = desk.start(environment)
    request = await alice.request(session_id, MODEL, [NODE], question("Two words"))

    async def is_asked():
        return desk.fake.served == 1

    await until(is_asked)
    process.kill()
    assert await ended(process) == -signal.SIGKILL
    async with last_life(desk, environment, 1):
        settled = await alice.settled(request)
    assert settled.response.status is ResponseStatus.SUCCESS
    assert await deliveries(alice) == [request.request_id]
    assert desk.fake.served == 2
    spent, available = await desk.account()
    assert spent == FUND - available == COST


async def test_killed_while_it_takes_its_earnings_out(desk, world, alice, operator, session_id):
    """Spec A10, A11: all of them arrive, and nothing else."""
    environment = desk.environment(world, node={"withdraw_above": 0, "withdraw_to": ADMIN.address})
    before = await alice.token.balance_of(ADMIN.address)
    asked = []
    for kill_at in ("before withdrawal", "after withdrawal"):
        process = desk.start(environment, kill_at)
        asked.append(await alice.request(session_id, MODEL, [NODE], question(kill_at)))
        assert await ended(process) == -signal.SIGKILL, kill_at
    async with last_life(desk, environment, len(asked)):
        owed = sum([(await alice.settled(each)).cost for each in asked])

        async def is_paid():
            return await alice.token.balance_of(ADMIN.address) - before == owed

        await until(is_paid)
    assert await operator.earned(NODE) == 0


async def test_killed_while_it_expires_what_others_left(desk, world, alice, anvil, session_id):
    """Spec A17: each is ended, and its owner has the money back."""
    node = {"models": {"another": "m"}, "expires_others": True}
    environment = desk.environment(world, node=node)
    asked = []
    for kill_at in ("before expiry", "after expiry"):
        process = desk.start(environment, kill_at)
        for earlier in asked:
            await alice.settled(earlier)
        asked.append(await alice.request(session_id, MODEL, [NODE], question(kill_at)))
        await desk.said("ended", times=len(asked))
        anvil.later(3_601)
        assert await ended(process) == -signal.SIGKILL, kill_at
    async with last_life(desk, environment, len(asked)):
        settled = [await alice.settled(each) for each in asked]
    assert {(each.response.status, each.cost) for each in settled} == {(ResponseStatus.TIMEOUT, 0)}
    assert sorted(await deliveries(alice, "RequestExpired")) == sorted(each.request_id for each in asked)
    assert (await alice.session_of(session_id)).held == 0


@asynccontextmanager
async def last_life(desk, environment, requests):
    """A node that is not killed; it knows the end of so many requests before it is told to stop."""
    lives = len(desk.lines("following"))
    process = desk.start(environment)
    try:
        await desk.said("following", times=lives + 1)
        yield
        await desk.said("ended", times=requests)
    finally:
        process.terminate()
        assert await ended(process) == 0
