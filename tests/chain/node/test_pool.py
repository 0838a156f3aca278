"""What becomes of an answer between the node and a block: refused, lost, replaced (spec A10)."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from chain.node.desk import deliveries, running, until
from chain.proxy import Proxy
from chain.world import MODEL, NODE, OPERATOR, QUICK, question
from prepaid.chain.fees import GasPrice
from prepaid.chain.sending import Sender
from prepaid.chain.values import ResponseStatus

FULL = {"error": {"code": -32000, "message": "txpool is full"}}


@pytest.fixture
def by_hand(anvil):
    """Blocks are made when the test says so."""
    anvil.rpc("evm_setAutomine", False)
    yield anvil
    anvil.rpc("anvil_dropAllTransactions")
    anvil.rpc("evm_setAutomine", True)


async def waiting(anvil):
    """Until one transaction is in the pool."""

    async def is_there():
        return anvil.rpc("txpool_status")["pending"] == "0x1"

    await until(is_there)


async def asked(alice, session_id, anvil):
    """A request in a block, while blocks are made by hand."""
    asking = asyncio.create_task(alice.request(session_id, MODEL, [NODE], question()))
    await waiting(anvil)
    anvil.rpc("evm_mine")
    return await asking


async def check(alice, desk, request):
    settled = await alice.settled(request, timeout_seconds=120)
    assert settled.response.status is ResponseStatus.SUCCESS
    assert await deliveries(alice) == [request.request_id]
    assert desk.fake.served == 1


async def test_a_pool_that_is_full(desk, world, alice, session_id, monkeypatch):
    """Tried again; the model is not."""
    async with Proxy(world.url) as proxy:
        proxy.fail("eth_sendRawTransaction", FULL, FULL)
        away = dataclasses.replace(world, url=proxy.url)
        async with running(desk.environment(away), monkeypatch):
            request = await alice.request(session_id, MODEL, [NODE], question())
            await check(alice, desk, request)


async def test_an_answer_that_the_pool_loses(desk, world, alice, session_id, monkeypatch, by_hand):
    async with running(desk.environment(world), monkeypatch):
        request = await asked(alice, session_id, by_hand)
        await waiting(by_hand)
        by_hand.rpc("anvil_dropAllTransactions")
        by_hand.rpc("evm_mine")
        await waiting(by_hand)
        by_hand.rpc("evm_mine")
        await check(alice, desk, request)


async def test_an_answer_that_is_replaced(desk, world, chain, alice, session_id, monkeypatch, by_hand):
    """By another transaction of the same wallet: the stored answer goes out again, in another one."""
    async with running(desk.environment(world), monkeypatch):
        request = await asked(alice, session_id, by_hand)
        await waiting(by_hand)
        sender = Sender(chain, OPERATOR, QUICK)
        draft = {"to": alice.contract.caller, "value": 1, "gas": 21_000, "from": OPERATOR.address}
        nonce = await chain.transactions_of(OPERATOR.address, "latest")
        await sender.push(await sender.signed(draft, nonce, GasPrice(10**12, 10**11)))
        by_hand.rpc("evm_mine")
        await waiting(by_hand)
        by_hand.rpc("evm_mine")
        await check(alice, desk, request)
