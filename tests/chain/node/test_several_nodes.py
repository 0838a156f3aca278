"""Answers that several nodes sign: three real processes, a liar and a sleeper among them (spec A12)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from eth_utils import keccak

from chain.node.desk import Desk, deliveries, ended, until
from chain.world import ADMIN, MODEL, QUICK, question, wallet
from ports import free_ports
from prepaid.chain.ai import AiContract
from prepaid.chain.values import ResponseStatus, decode_text
from prepaid.routing import Aggregation, Routing
from providers.fake_openai import Behaviour, FakeOpenAI

NAMES = ("one", "two", "three")
IDS = tuple(f"system.voter-{name}" for name in NAMES)
TRUTH = "Hello from the fake provider."


def routing(aggregation):
    return Routing((), IDS, 3, 51, aggregation)


@pytest.fixture
async def voters(chain, world, anvil, tmp_path, fake):
    """Three registered nodes, each with a desk of its own, and a provider that tells lies."""
    admin = await AiContract.at(chain, world.ai, ADMIN, QUICK)
    desks = []
    for name, node_id in zip(NAMES, IDS, strict=True):
        anvil.give_ether(wallet(name).address)
        await admin.register_node("system", node_id.partition(".")[2], wallet(name).address)
        folder = tmp_path / name
        folder.mkdir()
        desks.append(await Desk.make(folder, fake))
    with FakeOpenAI() as liar:
        liar.default = Behaviour(text="A lie.")
        yield desks, liar


@asynccontextmanager
async def started(desks, world):
    """The nodes, each a process that knows the others."""
    ports = free_ports(len(NAMES))
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    processes = []
    for name, node_id, desk, port in zip(NAMES, IDS, desks, ports, strict=True):
        if desk is None:
            continue
        peers = [url for url in urls if not url.endswith(f":{port}")]
        node = {"name": node_id, "peers": peers, "serve_port": port, "turn_seconds": 1}
        key = {"PREPAID_CHAIN_KEY": keccak(text=f"a key for tests: {name}").hex()}
        processes.append(desk.start(desk.environment(world, node=node, more=key)))
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        codes = await asyncio.gather(*(ended(process) for process in processes))
    assert codes == [0] * len(processes)


async def test_a_vote_with_a_liar(voters, world, alice, session_id):
    """Spec A12: two of three agree, are delivered, and are paid; who said something else is not."""
    desks, liar = voters
    desks[2].fake = liar
    async with started(desks, world):
        request = await alice.request(session_id, MODEL, routing(Aggregation.VOTE), question())
        settled = await alice.settled(request, timeout_seconds=120)
        for desk, state in zip(desks, ("confirmed", "confirmed", "lost"), strict=True):
            (end,) = await desk.said("ended")
            assert end["state"] == state
    assert decode_text(settled.response.response) == TRUTH
    assert await deliveries(alice) == [request.request_id]
    earned = [await alice.earned(node_id) for node_id in IDS]
    assert earned == [settled.cost // 2, settled.cost // 2, 0]


async def test_all_of_three(voters, world, alice, session_id):
    """Spec A12: each is paid, and one of them hands it in."""
    desks, _ = voters
    async with started(desks, world):
        request = await alice.request(session_id, MODEL, routing(Aggregation.ALL), question())
        settled = await alice.settled(request, timeout_seconds=120)
        for desk in desks:
            (end,) = await desk.said("ended")
            assert end["state"] == "confirmed"
    assert settled.response.status is ResponseStatus.SUCCESS
    assert await deliveries(alice) == [request.request_id]
    assert await relayers(alice) in [[wallet(name).address] for name in NAMES]
    assert [await alice.earned(node_id) for node_id in IDS] == [settled.cost // 3] * 3


async def test_a_vote_with_a_sleeper(voters, world, alice, session_id):
    """Spec A12: the other two suffice, and are paid."""
    desks, _ = voters
    async with started([*desks[:2], None], world):
        request = await alice.request(session_id, MODEL, routing(Aggregation.VOTE), question())
        settled = await alice.settled(request, timeout_seconds=120)
        for desk in desks[:2]:
            (end,) = await desk.said("ended")
            assert end["state"] == "confirmed"
    assert decode_text(settled.response.response) == TRUTH
    assert await relayers(alice) in [[wallet("one").address], [wallet("two").address]]
    earned = [await alice.earned(node_id) for node_id in IDS]
    assert earned == [settled.cost // 2, settled.cost // 2, 0]


@pytest.mark.parametrize("third", ["sleeps", "lies"])
async def test_all_of_three_but_one(third, voters, world, alice, anvil, session_id):
    """Spec A12, A17: nothing is delivered or paid, and the owner gets everything back."""
    desks, liar = voters
    desks[2].fake = liar
    awake = desks if third == "lies" else desks[:2]
    async with started([*awake, None][:3], world):
        request = await alice.request(session_id, MODEL, routing(Aggregation.ALL), question())

        async def have_tried():
            return all(desk.lines("will try again") for desk in awake)

        await until(have_tried)
        anvil.later(3_601)
        for desk in awake:
            (end,) = await desk.said("ended", seconds=120)
            assert end["state"] == "expired"
    await alice.expire(request.encoded_terms)
    assert await deliveries(alice) == []
    assert [await alice.earned(node_id) for node_id in IDS] == [0] * 3
    assert (await alice.session_of(session_id)).held == 0


async def relayers(ai):
    """Who handed in answers."""
    w3 = ai.contract.chain.w3
    query = {"address": ai.address, "topics": [ai.contract.topic("ResponseDelivered")], "fromBlock": 0}
    hashes = [log["transactionHash"] for log in await w3.eth.get_logs(query)]
    return [(await w3.eth.get_transaction(each))["from"] for each in hashes]
