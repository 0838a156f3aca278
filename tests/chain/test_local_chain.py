"""A chain of one's own: what clients and nodes rely on, on every engine."""

from __future__ import annotations

import asyncio

import pytest

from chain.anvil import install
from chain.world import ADMIN, POLL_SECONDS, QUICK, USDT
from prepaid import ChainError
from prepaid.chain.ai import AiContract
from prepaid.chain.connection import Chain
from prepaid.chain.deploying import Deployer
from prepaid.chain.local import Engine, local_chain


@pytest.fixture(params=list(Engine))
async def local(request):
    install()
    async with local_chain(request.param) as running:
        yield running


async def test_contracts_are_deployed_money_moves_and_time_passes(local):
    await local.give_ether(ADMIN.address)
    async with await Chain.connect(local.url, chain_id=31_337, poll_seconds=POLL_SECONDS) as chain:
        deployer = Deployer(chain, ADMIN, QUICK)
        token = await deployer.test_token()
        ai = await AiContract.at(chain, await deployer.ai_contract(token), ADMIN, QUICK)
        await deployer.mint(token, ADMIN.address, 3 * USDT)
        session_id = await ai.start_user_session(2 * USDT)
        assert (await ai.session_of(session_id)).available == 2 * USDT
        before = await chain.time()
        await local.later(3_600)
        assert await chain.time() >= before + 3_600
        assert (await ai.close_user_session(session_id)).refund == 2 * USDT
        assert await ai.token.balance_of(ADMIN.address) == 3 * USDT


async def test_what_the_chain_refuses_is_told(local):
    with pytest.raises(ChainError, match="eth_nothing"):
        await local.rpc("eth_nothing")


async def test_a_port_that_is_taken(local):
    with pytest.raises(ChainError):
        async with local_chain(local.engine, port=local.port):
            pass


async def test_nothing_is_left_when_it_ends(local):
    async with local_chain(local.engine) as second:
        assert second.port != local.port
        assert await second.rpc("eth_chainId") == hex(31_337)
    with pytest.raises(OSError, match="Connect"):
        await asyncio.open_connection("127.0.0.1", second.port)
