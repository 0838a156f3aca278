"""The session manager contract from Python: what it refuses, and in which words (spec B)."""

from __future__ import annotations

import pytest

from chain.world import ADMIN, ALICE, BOB, MODEL, NODE, QUICK, USDT, question, success
from prepaid import (
    AlreadyPooled,
    BalanceTooLow,
    ContractReverted,
    InsufficientFunds,
    LeaseCapReached,
    LeaseNotFound,
    ModelNotSupported,
    PoolEmpty,
    PoolFull,
    SessionAlreadyClosed,
    SessionExpired,
    SessionNotFound,
)
from prepaid.chain.manager import ManagedState, ManagerContract
from prepaid.chain.values import BatchRequest
from prepaid.routing import default_system_trust, system_validated_any

ANY = system_validated_any()


@pytest.fixture
async def hers(chain, world):
    return await ManagerContract.at(chain, world.manager, ALICE, QUICK)


@pytest.fixture
async def his(chain, world):
    return await ManagerContract.at(chain, world.manager, BOB, QUICK)


@pytest.fixture
async def admin(chain, world):
    return await ManagerContract.at(chain, world.manager, ADMIN, QUICK)


async def test_less_than_the_minimum(hers):
    """B1, B14."""
    with pytest.raises(BalanceTooLow) as caught:
        await hers.create_session("9.999999 USDT")
    assert (caught.value.offered, caught.value.minimum) == (9_999_999, 10 * USDT)
    assert "Offer 10000000 or more" in str(caught.value)


async def test_more_than_the_wallet_has(hers):
    with pytest.raises(InsufficientFunds) as caught:
        await hers.create_session("1001 USDT")
    assert (caught.value.needed, caught.value.available) == (1001 * USDT, 1000 * USDT)


async def test_sessions_of_others_and_sessions_that_are_closed(hers, his):
    """B4, B14, A5."""
    session_id = await hers.create_session("10 USDT")
    for verb in (
        his.close_session(session_id),
        his.renew_session(session_id, 1),
        his.add_to_pool(session_id),
        his.close_session(7),
        his.get_session_stats(7),
    ):
        with pytest.raises(SessionNotFound):
            await verb
    closed = await hers.close_session(session_id)
    assert (closed.refund, closed.held) == (10 * USDT, 0)
    assert await hers.state_of(session_id) is ManagedState.CLOSED
    with pytest.raises(SessionAlreadyClosed):
        await hers.close_session(session_id)
    assert await hers.get_user_session_count() == 0


async def test_a_session_that_has_expired(hers, anvil):
    """B14: refused with its reason; get_or_create_session replaces it, and refunds it."""
    session_id = await hers.create_session("20 USDT")
    anvil.later(86_401)
    with pytest.raises(SessionExpired, match="idle for longer than 86400 seconds"):
        await hers.renew_session(session_id, "1 USDT")
    other = await hers.get_or_create_session()
    assert other != session_id
    assert await hers.state_of(session_id) is ManagedState.CLOSED
    assert await hers.token.balance_of(ALICE.address) == 990 * USDT


async def test_the_pool_and_what_it_refuses(hers, his, admin):
    """B7, B8, B14."""
    with pytest.raises(PoolEmpty):
        await his.get_from_pool()
    await admin.update_config(pool_size=1)
    first, second = await hers.create_session("10 USDT"), await hers.create_session("10 USDT")
    await hers.add_to_pool(first, cap=30_000, budget=50_000)
    with pytest.raises(AlreadyPooled) as pooled:
        await hers.add_to_pool(first)
    assert pooled.value.session_id == str(first)
    with pytest.raises(PoolFull) as full:
        await hers.add_to_pool(second)
    assert full.value.size == 1
    with pytest.raises(LeaseNotFound):
        await his.return_to_pool(first)
    lease = await his.get_from_pool(first)
    assert (lease.room, await hers.state_of(first)) == (30_000, ManagedState.LEASED)
    status = await hers.get_pool_status()
    assert (status.pooled, status.leased, status.capacity) == (1, 1, 1)


async def test_a_taker_spends_up_to_the_cap_and_it_is_his(hers, his, operator):
    """B8: accounted to the taker, bounded by the owner's cap."""
    session_id = await hers.create_session("20 USDT")
    await hers.add_to_pool(session_id, cap=20_000)
    await his.get_from_pool()
    made = await his.ask(session_id, BatchRequest(MODEL, question(), ANY))
    with pytest.raises(LeaseCapReached) as caught:
        await his.ask(session_id, BatchRequest(MODEL, question(), ANY))
    assert caught.value.limit == 20_000
    with pytest.raises(ContractReverted, match="SessionManager_RequestsInFlight"):
        await his.return_to_pool(session_id)
    await operator.respond_to_request(made.encoded_terms, NODE, success())
    spent = (await his.ai.settled(made)).cost
    assert await his.return_to_pool(session_id) == spent
    assert (await hers.get_session_stats(session_id)).balance == 20 * USDT - spent
    await hers.remove_from_pool(session_id)
    assert await hers.state_of(session_id) is ManagedState.ACTIVE


async def test_a_taker_who_vanishes(hers, his, admin, anvil):
    """B8: the lease has a deadline, and anybody ends it then."""
    session_id = await hers.create_session("10 USDT")
    await hers.add_to_pool(session_id)
    await his.get_from_pool()
    with pytest.raises(ContractReverted, match="SessionManager_LeaseRunning"):
        await admin.return_to_pool(session_id)
    anvil.later(3_601)
    with pytest.raises(LeaseNotFound):
        await his.ask(session_id, BatchRequest(MODEL, question(), ANY))
    assert await admin.return_to_pool(session_id) == 0
    assert await hers.state_of(session_id) is ManagedState.POOLED


async def test_a_request_creates_the_session_it_needs(hers):
    """B3: with the minimum; the allowance is given on the way."""
    made = await hers.make_ai_request("Hello?", MODEL, default_system_trust())
    stats = await hers.get_session_stats(made.session_id)
    assert stats.balance == 10 * USDT - made.hold
    assert await hers.get_user_sessions() == [made.session_id]


async def test_a_request_that_costs_more_than_one_wants(hers):
    """B3: the price may change at any time."""
    with pytest.raises(ContractReverted, match="SessionManager_CostAboveMax"):
        await hers.make_ai_request("Hello?", MODEL, default_system_trust(), cost_max=10)
    with pytest.raises(ModelNotSupported, match="'gpt-5'"):
        await hers.make_ai_request("Hello?", "gpt-5", default_system_trust())


async def test_a_batch(hers):
    """B13: each succeeds or fails on its own."""
    batch = [BatchRequest(MODEL, question(), ANY), BatchRequest("gpt-5", question(), ANY)]
    made, refused = await hers.make_ai_requests(0, batch)
    assert (await hers.get_session_stats(made.session_id)).balance == 10 * USDT - made.hold
    assert isinstance(refused, ModelNotSupported)


async def test_what_requests_give_back_after_a_close(hers, operator):
    """B4, A6: it comes to the user, and anybody can send it on."""
    session_id = await hers.create_session("10 USDT")
    made = await hers.ask(session_id, BatchRequest(MODEL, question(), ANY))
    closed = await hers.close_session(session_id)
    assert (closed.refund, closed.held) == (10 * USDT - made.hold, made.hold)
    await operator.respond_to_request(made.encoded_terms, NODE, success())
    back = made.hold - (await hers.ai.settled(made)).cost
    assert await hers.withdrawable() == back
    assert await hers.withdraw(ALICE.address) == back
    assert await hers.token.balance_of(ALICE.address) == 1_000 * USDT - made.hold + back
    with pytest.raises(ContractReverted, match="SessionManager_NothingToWithdraw"):
        await hers.withdraw()


async def test_only_the_administrator_configures(hers, admin):
    """B11."""
    with pytest.raises(ContractReverted, match="OwnableUnauthorizedAccount"):
        await hers.update_config(pool_size=100)
    with pytest.raises(ContractReverted, match="SessionManager_ConfigOutOfRange"):
        await admin.update_config(session_age_seconds=1)


async def test_closing_some_of_many(hers):
    """B5."""
    made = [await hers.create_session("10 USDT") for _ in range(3)]
    assert len(await hers.close_all_sessions(limit=2)) == 2
    assert len(await hers.close_all_sessions()) == 1
    assert await hers.get_user_session_count() == 0
    assert {await hers.state_of(each) for each in made} == {ManagedState.CLOSED}
    assert await hers.token.balance_of(ALICE.address) == 1_000 * USDT


async def test_a_page_of_sessions(hers):
    """B10: the current one first."""
    made = [await hers.create_session("10 USDT") for _ in range(3)]
    first = await hers.get_user_sessions(limit=2)
    assert first[0] == made[-1]
    rest = await hers.get_user_sessions(after=first[-1])
    assert sorted(first + rest) == sorted(made)
