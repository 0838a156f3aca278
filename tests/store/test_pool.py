"""Sessions shared on lease: who spends what, within which cap, until when."""

from __future__ import annotations

import pytest

from prepaid.errors import (
    AlreadyPooled,
    IdempotencyConflict,
    InsufficientFunds,
    LeaseCapReached,
    LeaseNotFound,
    PoolEmpty,
    PoolFull,
    SessionNotFound,
    SessionPaused,
    TransitionRefused,
)
from prepaid.records import SessionState
from prepaid.store.operations import (
    AddToPool,
    EndLease,
    Lease,
    Limits,
    RemoveFromPool,
    SaveSettings,
    SetState,
    TakeFromPool,
)

from .books import DEADLINE_MS, SESSION, START_MS, balance, close, create, hold, reconcile, release, settle

LASTS_MS = 60_000


def share(session_id=SESSION, cap=None, pool_max=None, owner="ann"):
    return AddToPool(session_id, owner, cap, Limits(pool_max=pool_max))


def take(lease_id="lease", taker="bob"):
    return TakeFromPool("", taker, lease_id, LASTS_MS)


def spend(amount, key, lease_id="lease", taker="bob", session_id=SESSION, **fields):
    return hold(amount, key, session_id, owner=taker, lease_id=lease_id, **fields)


@pytest.fixture
async def shared(session):
    await session.submit(share(cap=300))
    return session


@pytest.fixture
async def leased(shared):
    await shared.submit(take())
    return shared


class TestSharing:
    """Spec B7."""

    async def test_once(self, session):
        assert await session.submit(share()) is None
        assert session.reads.pool_counts() == (1, 0)
        with pytest.raises(AlreadyPooled):
            await session.submit(share())

    async def test_while_there_is_room(self, store):
        for number in (1, 2, 3):
            await store.submit(create(f"s{number}"))
        await store.submit(share("s1", pool_max=2))
        await store.submit(share("s2", pool_max=2))
        with pytest.raises(PoolFull) as refused:
            await store.submit(share("s3", pool_max=2))
        assert refused.value.size == 2

    async def test_by_the_owner_of_an_active_one(self, session):
        with pytest.raises(SessionNotFound):
            await session.submit(share(owner="eve"))
        await session.submit(SetState(SESSION, "ann", SessionState.PAUSED))
        with pytest.raises(TransitionRefused, match="paused and cannot join the pool"):
            await session.submit(share())

    async def test_no_longer(self, shared):
        with pytest.raises(SessionNotFound):
            await shared.submit(RemoveFromPool(SESSION, "eve"))
        await shared.submit(RemoveFromPool(SESSION, "ann"))
        assert shared.reads.pool_counts() == (0, 0)
        with pytest.raises(TransitionRefused, match="not pooled"):
            await shared.submit(RemoveFromPool(SESSION, "ann"))
        with pytest.raises(PoolEmpty):
            await shared.submit(take())

    async def test_a_lease_outlives_the_sharing(self, leased, clock):
        await leased.submit(RemoveFromPool(SESSION, "ann"))
        assert (await leased.submit(spend(10, "k"))).amount == 10
        clock.advance(LASTS_MS)
        with pytest.raises(LeaseNotFound):
            await leased.submit(spend(10, "k2"))


class TestTaking:
    """Spec B8."""

    async def test_a_lease_says_what_it_allows(self, shared):
        assert await shared.submit(take()) == Lease(SESSION, "lease", "ann", "bob", 300, START_MS + LASTS_MS)
        assert shared.reads.pool_counts() == (1, 1)
        assert shared.reads.lease(SESSION, "lease") == (
            Lease(SESSION, "lease", "ann", "bob", 300, START_MS + LASTS_MS),
            0,
        )
        assert shared.reads.lease(SESSION, "other") is None

    async def test_none_is_free(self, leased):
        with pytest.raises(PoolEmpty) as refused:
            await leased.submit(take("second"))
        assert refused.value.size == 1

    async def test_the_one_that_waited_longest(self, store, clock):
        for number in (1, 2):
            await store.submit(create(f"s{number}"))
            await store.submit(share(f"s{number}"))
            clock.advance(1)
        assert (await store.submit(take("l1"))).session_id == "s1"
        await store.submit(EndLease("s1", "l1", "bob"))
        assert (await store.submit(take("l2"))).session_id == "s2"

    async def test_a_lease_that_ran_out_left_its_session_waiting(self, store, clock):
        for number, lease_id in ((2, "l2"), (1, "l1")):
            await store.submit(create(f"s{number}"))
            await store.submit(share(f"s{number}"))
            await store.submit(take(lease_id))
            clock.advance(1)
        clock.advance(2 * LASTS_MS)
        assert (await store.submit(take("l3"))).session_id == "s2"

    async def test_only_one_that_can_spend(self, store, clock):
        await store.submit(create("s1", expires_ms=START_MS + 5))
        await store.submit(create("s2"))
        for session_id in ("s1", "s2"):
            await store.submit(share(session_id))
        await store.submit(SetState("s2", "ann", SessionState.PAUSED))
        clock.advance(5)
        with pytest.raises(PoolEmpty):
            await store.submit(take())

    async def test_giving_back(self, leased):
        for session_id, lease_id, taker in (
            (SESSION, "lease", "eve"),
            (SESSION, "none", "bob"),
            ("x", "lease", "bob"),
        ):
            with pytest.raises(LeaseNotFound):
                await leased.submit(EndLease(session_id, lease_id, taker))
        await leased.submit(EndLease(SESSION, "lease", "bob"))
        assert leased.reads.pool_counts() == (1, 0)
        with pytest.raises(LeaseNotFound):
            await leased.submit(EndLease(SESSION, "lease", "bob"))
        with pytest.raises(LeaseNotFound):
            await leased.submit(spend(1, "k"))

    async def test_taking_back_only_when_overdue(self, leased, clock):
        with pytest.raises(LeaseNotFound):
            await leased.submit(EndLease(SESSION, "lease", None))
        clock.advance(LASTS_MS)
        await leased.submit(EndLease(SESSION, "lease", None))
        assert leased.reads.pool_counts() == (1, 0)

    async def test_a_taker_who_vanishes_drains_nothing(self, leased, clock):
        clock.advance(LASTS_MS)
        with pytest.raises(LeaseNotFound):
            await leased.submit(spend(1, "k"))
        assert (await leased.submit(take("second", "cyd"))).session_id == SESSION

    async def test_a_closed_session_is_nobodys(self, leased):
        await leased.submit(spend(10, "k", sent=True))
        await leased.submit(close())
        with pytest.raises(LeaseNotFound):
            await leased.submit(spend(1, "k2"))
        await leased.submit(settle(4, "k"))
        assert balance(leased) == (0, 0, 4, 996)


class TestSpending:
    """Spec B8: accounted to the taker, bounded by the cap."""

    async def test_it_is_the_owners_money_and_the_takers_spending(self, leased):
        await leased.submit(spend(100, "k"))
        await leased.submit(settle(60, "k"))
        assert balance(leased) == (940, 0, 60, 0)
        assert leased.reads.lease(SESSION, "lease")[1] == 60
        assert leased.reads.leases(SESSION) == [("bob", 60)]
        assert leased.reads.transfers(SESSION)[-1].actor == "bob"

    async def test_the_cap_counts_what_is_held(self, leased):
        await leased.submit(spend(200, "k"))
        with pytest.raises(LeaseCapReached) as refused:
            await leased.submit(spend(101, "k2"))
        assert refused.value.limit == 300
        assert (await leased.submit(spend(101, "k3", minimum=1))).amount == 100
        await leased.submit(release("k"))
        assert (await leased.submit(spend(200, "k4"))).amount == 200

    async def test_what_a_lease_spent_stays_spent(self, leased):
        await leased.submit(spend(300, "k"))
        await leased.submit(settle(300, "k"))
        with pytest.raises(LeaseCapReached):
            await leased.submit(spend(1, "k2"))

    async def test_no_cap_but_the_balance(self, session):
        await session.submit(share())
        await session.submit(take())
        assert (await session.submit(spend(5_000, "k", minimum=1))).amount == 1_000
        with pytest.raises(InsufficientFunds):
            await session.submit(spend(1, "k2"))

    async def test_a_hold_of_a_lease_is_reconciled_as_any(self, leased, clock):
        await leased.submit(spend(100, "k", sent=True))
        clock.advance(DEADLINE_MS)
        await leased.submit(reconcile("k"))
        assert (await leased.submit(spend(300, "k2", at=clock()))).amount == 300

    async def test_only_with_the_lease(self, leased):
        for taker, lease_id in (("eve", "lease"), ("bob", "other")):
            with pytest.raises(LeaseNotFound):
                await leased.submit(spend(1, "k", lease_id, taker))
        with pytest.raises(SessionNotFound):
            await leased.submit(hold(1, "k", owner="bob"))

    async def test_a_paused_session_is_paused_for_takers_too(self, leased):
        await leased.submit(SetState(SESSION, "ann", SessionState.PAUSED))
        with pytest.raises(SessionPaused):
            await leased.submit(spend(1, "k"))

    async def test_keys_are_per_taker(self, leased, clock):
        """Two takers may choose one key; neither gets the other's answer."""
        await leased.submit(spend(100, "k"))
        await leased.submit(settle(60, "k", response="bob's"))
        assert (await leased.submit(spend(100, "k"))).response == "bob's"
        await leased.submit(EndLease(SESSION, "lease", "bob"))
        assert (await leased.submit(spend(100, "k"))).response == "bob's", "his own retry, after the lease"
        await leased.submit(take("second", "cyd"))
        with pytest.raises(IdempotencyConflict):
            await leased.submit(spend(100, "k", "second", "cyd"))
        with pytest.raises(IdempotencyConflict):
            await leased.submit(hold(100, "k"))
        with pytest.raises(LeaseNotFound):
            await leased.submit(spend(100, "k", "second", "eve"))

    async def test_a_takers_refusal_is_kept_for_that_taker(self, leased):
        with pytest.raises(LeaseCapReached):
            await leased.submit(spend(301, "k"))
        with pytest.raises(LeaseCapReached):
            await leased.submit(spend(301, "k"))
        with pytest.raises(IdempotencyConflict):
            await leased.submit(hold(301, "k"))


async def test_settings_are_kept(store, open_store):
    await store.submit(SaveSettings("", (("pool_size", "3"), ("minimum_balance", "10"))))
    await store.submit(SaveSettings("", (("pool_size", "4"),)))
    assert open_store().reads.settings() == {"pool_size": "4", "minimum_balance": "10"}
