"""What chains and endpoints do to a node: reorganisations, gaps, limits, faults, several at once."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from contextlib import asynccontextmanager
from functools import partial

import pytest

from chain.anvil import Anvil
from chain.node.desk import deliveries, made, running, until
from chain.node.proxy import Proxy
from chain.proxy import Proxy as FaultyOnDemand
from chain.world import ALICE, MODEL, NODE, POLL_SECONDS, QUICK, USDT, build, question
from prepaid.chain.ai import AiContract
from prepaid.chain.connection import Chain
from prepaid.chain.values import ResponseStatus

ALL = "PREPAID_TEST_NODE_LONG" in os.environ
CONFIRMATIONS = 13
"""More than any reorganisation here is deep: 1 to 12."""

GAP = 6_000 if ALL else 1_000
"""Blocks, with a request in every quarter of them."""

ROUNDS_MAX = 30


async def test_blocks_that_are_taken_back(desk, world, alice, anvil, session_id, monkeypatch, ends):
    """Spec A10: a request that stays is answered once; one that goes, never, and no model is asked for it."""
    chain = {"confirmations": CONFIRMATIONS}
    kept, gone = [], []
    async with running(desk.environment(world, chain=chain), monkeypatch):
        for depth in range(1, CONFIRMATIONS):
            kept.append((await alice.request(session_id, MODEL, [NODE], question("kept"))).request_id)
            anvil.rpc("anvil_mine", hex(depth))
            gone.append((await alice.request(session_id, MODEL, [NODE], question("gone"))).request_id)
            anvil.rpc("anvil_reorg", depth, [])
            assert [each.request_id for each in await made(alice)] == kept
            anvil.rpc("anvil_mine", hex(CONFIRMATIONS))
            await until(partial(is_answered, alice, depth))
            anvil.rpc("anvil_reorg", depth, [])  # takes the answer back, unless it is deep enough
            async with mining(anvil):
                told = await ends(times=depth)
            assert (told[-1].request_id, told[-1].state) == (kept[-1], "confirmed")
    assert await deliveries(alice) == kept
    assert not {*kept} & {*gone}
    assert desk.fake.served == len(kept) == CONFIRMATIONS - 1


async def test_a_gap_of_thousands_of_blocks(desk, world, alice, anvil, session_id, monkeypatch):
    """Spec A10: whoever was away reads what was missed, in pieces that the endpoint allows."""
    proxy = Proxy(world.url, logs_max=GAP // 5)
    asked = []
    for _ in range(4):
        asked.append(await alice.request(session_id, MODEL, [NODE], question()))
        await asyncio.to_thread(anvil.rpc, "anvil_mine", hex(GAP // 4))
    async with proxy.serving() as url:
        away = dataclasses.replace(world, url=url)
        environment = desk.environment(away, node={"lookback_blocks": 2 * GAP, "deadline_margin_seconds": 1})
        async with running(environment, monkeypatch):
            settled = [await alice.settled(each, timeout_seconds=120) for each in asked]
    assert await alice.contract.chain.head() - asked[0].block_number >= GAP
    assert {each.response.status for each in settled} == {ResponseStatus.SUCCESS}
    assert sorted(await deliveries(alice)) == sorted(each.request_id for each in asked)
    assert max(proxy.ranges) > GAP // 5 >= min(proxy.ranges)


@pytest.mark.parametrize("seed", range(1, 9) if ALL else (1,))
async def test_an_endpoint_that_fails(seed, desk, world, alice, operator, session_id, monkeypatch, ends):
    """Spec A10: calls lost before and after they arrive, made twice, late: still one answer each."""
    proxy = Proxy(world.url, seed=seed, drop=0.1, lose_reply=0.1, twice=0.1, delay=0.1)
    async with proxy.serving() as url:
        faulty = dataclasses.replace(world, url=url)
        async with running(desk.environment(faulty), monkeypatch):
            await answered_once(desk, alice, operator, session_id, ends, lambda: True)


async def test_calls_and_replies_that_overtake_each_other(
    desk, world, alice, operator, session_id, monkeypatch, ends
):
    """Spec A10: what is asked first arrives later, and is told later: still one answer each."""
    proxy = Proxy(world.url, reorder=0.2)

    def have_overtaken():
        return proxy.requests.overtaken and proxy.replies.overtaken

    async with proxy.serving() as url:
        shuffled = dataclasses.replace(world, url=url)
        async with running(desk.environment(shuffled), monkeypatch):
            await answered_once(desk, alice, operator, session_id, ends, have_overtaken)


async def test_notices_that_overtake_each_other(
    desk, world, alice, operator, anvil, session_id, monkeypatch, ends
):
    """Spec A10: calls, replies and new blocks in another order over one WebSocket: still one answer each."""
    proxy = Proxy(anvil.socket_url, reorder=0.2)

    def have_overtaken():
        anvil.rpc("anvil_mine", hex(3))
        lanes = (proxy.requests, proxy.replies, proxy.notices)
        return all(lane.overtaken for lane in lanes)

    async with proxy.serving() as url:
        chain = {"rpc_url": url, "poll_seconds": 0.2}
        async with running(desk.environment(world, chain=chain), monkeypatch):
            await answered_once(desk, alice, operator, session_id, ends, have_overtaken)


async def answered_once(desk, alice, operator, session_id, ends, has_happened):
    """Ask, again and again until that has happened: chain, model and earnings know of one answer to each."""
    asked, settled = [], []
    for _ in range(ROUNDS_MAX):
        questions = (alice.request(session_id, MODEL, [NODE], question(f"{at}")) for at in range(4))
        more = await asyncio.gather(*questions)
        settled += [await alice.settled(each, timeout_seconds=120) for each in more]
        asked += more
        if has_happened():
            break
    else:
        pytest.fail(f"it did not happen in {ROUNDS_MAX} rounds")
    told = await ends(times=len(asked))
    assert sorted(each.request_id for each in told) == sorted(each.request_id for each in asked)
    assert {each.state for each in told} == {"confirmed"}
    assert sorted(await deliveries(alice)) == sorted(each.request_id for each in asked)
    assert await operator.earned(NODE) == sum(each.cost for each in settled)
    assert desk.fake.served == len(asked)


async def test_over_a_websocket(desk, world, alice, anvil, session_id, monkeypatch):
    """Blocks are told by subscription; requests come in without a poll."""
    chain = {"rpc_url": anvil.socket_url}
    async with running(desk.environment(world, chain=chain), monkeypatch):
        request = await alice.request(session_id, MODEL, [NODE], question())
        settled = await alice.settled(request, timeout_seconds=120)
    assert settled.response.status is ResponseStatus.SUCCESS


@pytest.mark.parametrize("refuses", [(), ("eth_subscribe",)], ids=["breaks", "breaks and has no notices"])
async def test_a_websocket_that(refuses, desk, world, alice, anvil, session_id, monkeypatch):
    """Spec A10: opened again, asked where it tells nothing; what was made meanwhile is answered, once."""
    proxy = Proxy(anvil.socket_url, refuses=refuses)
    asked = []
    async with (
        proxy.serving() as url,
        running(desk.environment(world, chain={"rpc_url": url}), monkeypatch),
    ):
        for _ in range(2):
            asked.append(await alice.request(session_id, MODEL, [NODE], question()))
            await alice.settled(asked[-1], timeout_seconds=120)
            await proxy.cut()
    assert await deliveries(alice) == [each.request_id for each in asked]
    assert desk.fake.served == len(asked)
    assert len(proxy.joined) > 1


async def test_logs_that_an_endpoint_does_not_have_yet(desk, world, alice, anvil, session_id, monkeypatch):
    """Spec A10: blocks are read again, and a request that was hidden then is found."""
    request = await alice.request(session_id, MODEL, [NODE], question())
    async with FaultyOnDemand(world.url) as endpoint:
        endpoint.fail("eth_getLogs", {"result": []})
        behind = dataclasses.replace(world, url=endpoint.url)

        async def is_read():
            return "eth_getLogs" in endpoint.seen

        async with running(desk.environment(behind), monkeypatch):
            await until(is_read)
            anvil.rpc("evm_mine")
            settled = await alice.settled(request, timeout_seconds=120)
    assert settled.response.status is ResponseStatus.SUCCESS
    assert await deliveries(alice) == [request.request_id]


async def test_several_chains_at_once(desk, world, alice, session_id, monkeypatch):
    """One node, one ledger, one journal; the same request id on two chains would be two requests."""
    anvil = await asyncio.to_thread(Anvil, "--chain-id", "4242")
    try:
        other = await build(anvil)
        table = {"rpc_url": other.url, "ai_contract": other.ai, "poll_seconds": 0.02, "chain_id": 4242}
        environment = desk.environment(world, node={"chains": {"other": table}})
        async with (
            await Chain.connect(other.url, poll_seconds=POLL_SECONDS) as chain,
            running(environment, monkeypatch),
        ):
            there = await AiContract.at(chain, other.ai, ALICE, QUICK)
            theirs = await there.start_user_session(10 * USDT)
            asked = [
                await alice.request(session_id, MODEL, [NODE], question()),
                await there.request(theirs, MODEL, [NODE], question()),
            ]
            settled = [await alice.settled(asked[0], timeout_seconds=120)]
            settled.append(await there.settled(asked[1], timeout_seconds=120))
    finally:
        anvil.stop()
    assert {each.response.status for each in settled} == {ResponseStatus.SUCCESS}
    assert desk.fake.served == 2


async def is_answered(ai, times):
    return len(await deliveries(ai)) == times


@asynccontextmanager
async def mining(anvil):
    """One block after another; none comes after this."""
    enough = asyncio.Event()

    async def mine():
        while not enough.is_set():
            await asyncio.to_thread(anvil.rpc, "evm_mine")
            await asyncio.sleep(0.02)

    task = asyncio.create_task(mine())
    try:
        yield
    finally:
        enough.set()
        await task
