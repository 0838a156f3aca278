"""The JavaScript of seed 000, line by line in Python, against the contracts on a real node (spec B)."""

from __future__ import annotations

import pytest

from chain.world import ADMIN, ALICE, BOB, MODEL, NODE, QUICK, USDT, success
from prepaid import PoolEmpty
from prepaid.chain.deploying import Deployer, ManagerConfig
from prepaid.chain.manager import ManagerContract
from prepaid.routing import default_system_trust


@pytest.fixture
async def contract(chain, world):
    return await ManagerContract.at(chain, world.manager, ALICE, QUICK)


@pytest.fixture
async def admin(chain, world):
    return await ManagerContract.at(chain, world.manager, ADMIN, QUICK)


async def test_deploying_the_contract(chain, world):
    """``ethers.getContractFactory(…).deploy(aiAddress)``"""
    config = ManagerConfig(minimum_balance=10 * USDT, pool_size=7)
    address = await Deployer(chain, ALICE, QUICK).session_manager(world.ai, config)
    contract = await ManagerContract.at(chain, address, ALICE, QUICK)
    assert contract.ai.address == world.ai
    assert (await contract.get_pool_status()).capacity == 7


async def test_creating_and_using_sessions(contract, operator):
    """B1, B2, B3: create a session, ask with the session managed, be answered."""
    initial_balance = contract.token.units("50 USDT")
    usdt = contract.token
    await usdt.approve(contract.address, initial_balance)

    session_id = await contract.create_session(initial_balance)

    routing = default_system_trust()
    request = await contract.make_ai_request(
        "What is the weather like?", "gpt-3.5-turbo", routing, value_wei=10**17
    )
    assert request.session_id == session_id

    await operator.respond_to_request(request.encoded_terms, NODE, success("Fair."))
    settled = await contract.ai.settled(request)
    stats = await contract.get_session_stats(session_id)
    assert stats.balance == 50 * USDT - settled.cost
    assert (stats.owner, stats.is_active, stats.request_count) == (ALICE.address, True, 1)


async def test_session_pooling(contract, chain, world):
    """B7, B8, B10."""
    session_id = await contract.get_or_create_session()
    await contract.add_to_pool(session_id)
    assert (await contract.get_pool_status()).pooled == 1

    bob = await ManagerContract.at(chain, world.manager, BOB, QUICK)
    lease = await bob.get_from_pool()
    assert (lease.session_id, lease.taker) == (session_id, BOB.address)
    with pytest.raises(PoolEmpty):
        await bob.get_from_pool()
    assert await bob.return_to_pool(session_id) == 0


async def test_session_renewal(contract):
    """B6."""
    session_id = await contract.get_or_create_session()
    additional_balance = contract.token.units("25 USDT")

    await contract.token.approve(contract.address, additional_balance)
    assert await contract.renew_session(session_id, additional_balance) == 35 * USDT


async def test_session_management(contract):
    """B2, B10: finding one counts as a use."""
    session_id = await contract.get_or_create_session()
    assert await contract.get_or_create_session() == session_id
    stats = await contract.get_session_stats(session_id)
    assert (stats.balance, stats.request_count) == (10 * USDT, 1)
    assert await contract.get_user_session_count(ALICE.address) == 1
    pool_status = await contract.get_pool_status()
    assert (pool_status.pooled, pool_status.leased, pool_status.capacity) == (0, 0, 5)


async def test_cleanup_and_maintenance(contract, anvil, admin):
    """B5, B9: the refund reaches the user, whoever cleans up."""
    before = await contract.token.balance_of(ALICE.address)
    old = await contract.create_session("20 USDT")
    anvil.later(86_401)
    young = await contract.create_session("30 USDT")
    assert [each.session_id for each in await admin.cleanup_old_sessions()] == [old]
    assert await contract.token.balance_of(ALICE.address) == before - 30 * USDT

    assert [(each.session_id, each.refund) for each in await contract.close_all_sessions()] == [
        (young, 30 * USDT)
    ]
    assert await contract.token.balance_of(ALICE.address) == before


async def test_configuration_management(admin):
    """B11."""
    new_min_balance = admin.token.units("20 USDT")
    await admin.update_config(minimum_balance=new_min_balance, session_age_seconds=12 * 60 * 60, pool_size=10)
    assert await admin.get_config() == ManagerConfig(20 * USDT, 12 * 60 * 60, 10)


async def test_batch_operations(contract):
    """B13, as the seed has it: one after another, on one session."""
    prompts = ["What is AI?", "Explain blockchain", "How does DTN work?"]
    made = [
        await contract.make_ai_request(prompt, MODEL, default_system_trust(), value_wei=10**17)
        for prompt in prompts
    ]
    assert len({request.request_id for request in made}) == 3
    assert len({request.session_id for request in made}) == 1
