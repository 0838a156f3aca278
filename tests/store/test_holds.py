"""Money reserved, and what becomes of it."""

from __future__ import annotations

import asyncio

import pytest

from prepaid.errors import (
    HoldNotFound,
    HoldResolved,
    IdempotencyConflict,
    InsufficientFunds,
    SessionAlreadyClosed,
    SessionExpired,
    SessionNotFound,
    SessionPaused,
)
from prepaid.records import HoldState, SessionState
from prepaid.store.operations import Held, SetState, Settled

from .books import (
    DEADLINE_MS,
    SESSION,
    START_MS,
    balance,
    close,
    create,
    deposit,
    fund,
    hold,
    kinds,
    progress,
    reconcile,
    release,
    settle,
)


async def test_a_hold_reserves(session):
    assert await session.submit(hold(300, "k")) == Held("k", 300)
    assert balance(session) == (700, 300, 0, 0)
    assert session.reads.held(SESSION) == 300
    assert session.reads.hold_state(SESSION, "k") == (HoldState.OPEN, 0)
    assert session.reads.hold_state(SESSION, "other") is None


async def test_a_capture_spends_and_gives_the_rest_back(session):
    await session.submit(hold(300, "k"))
    settled = await session.submit(settle(120, "k", model="m", input_units=7, output_units=5))
    assert settled == Settled("k", captured=120, released=180, shortfall=0, available=880)
    assert balance(session) == (880, 0, 120, 0)
    line = session.reads.transfers(SESSION)[-1]
    assert (line.kind, line.debit, line.credit, line.amount) == ("capture", "session", "revenue", 120)
    assert (line.model, line.input_units, line.output_units, line.actor) == ("m", 7, 5, "ann")


async def test_a_hold_gets_all_that_is_there_if_that_is_its_minimum(session):
    """Spec D1: the output is capped to what the balance can pay."""
    assert await session.submit(hold(5_000, "k", minimum=1_000)) == Held("k", 1_000)
    assert balance(session) == (0, 1_000, 0, 0)


async def test_a_hold_below_its_minimum_is_refused_with_the_numbers(session):
    """Spec A9: InsufficientFunds says needed and available, and what may come back."""
    await session.submit(hold(400, "k"))
    with pytest.raises(InsufficientFunds) as refused:
        await session.submit(hold(5_000, "k2", minimum=601))
    assert (refused.value.needed, refused.value.available, refused.value.held) == (601, 600, 400)
    assert balance(session) == (600, 400, 0, 0)


async def test_a_hold_of_nothing_is_a_hold(session):
    await session.submit(hold(1_000, "all"))
    assert await session.submit(hold(0, "free")) == Held("free", 0)
    assert (await session.submit(settle(0, "free"))).captured == 0
    assert session.reads.account(SESSION).request_count == 1
    assert kinds(session) == ["fund 1000"], "a line of nothing says nothing"


async def test_what_comes_back_counts_as_use(session, clock):
    for number, resolve in enumerate((settle(0, "k0"), settle(5, "k1"), release("k2"))):
        await session.submit(hold(10, f"k{number}"))
        clock.advance(7)
        await session.submit(resolve)
        assert session.reads.account(SESSION).last_used_ms == clock()


async def test_what_costs_more_than_its_hold_is_our_loss(session):
    await session.submit(hold(100, "k"))
    settled = await session.submit(settle(130, "k", model="m"))
    assert settled == Settled("k", captured=100, released=0, shortfall=30, available=900)
    assert balance(session) == (900, 0, 100, 0)
    assert kinds(session) == ["fund 1000", "capture 100", "shortfall 30"]
    assert session.reads.losses(SESSION) == 30


async def test_what_nobody_pays_is_booked_with_what_is_paid(session):
    """Spec P2, P3: what the provider bills above the price, and what it may bill beyond the answer."""
    await session.submit(hold(100, "k"))
    work = settle(130, "k", model="m", unpaid=7, exposure=11)
    settled = await session.submit(work)
    assert settled == Settled("k", captured=100, released=0, shortfall=37, available=900, exposure=11)
    assert kinds(session) == ["fund 1000", "capture 100", "shortfall 37", "exposure 11"]
    assert [line.model for line in session.reads.transfers(SESSION)[-2:]] == ["m", "m"]
    assert session.reads.losses(SESSION) == 48
    assert await session.submit(work) == settled
    assert session.reads.losses(SESSION) == 48


async def test_an_exposure_alone_leaves_a_line(session):
    await session.submit(hold(100, "k"))
    await session.submit(settle(0, "k", model="m", exposure=5))
    assert kinds(session) == ["fund 1000", "exposure 5"]
    assert balance(session) == (1_000, 0, 0, 0)


async def test_losses_without_bound_can_be_told(session):
    """Nothing bounds what a provider bills, so the sum may leave SQL's integers."""
    for key in "ab":
        await session.submit(hold(1, key))
        await session.submit(settle(2**62 + 1, key))
    assert session.reads.losses(SESSION) == 2**63


async def test_a_release_gives_all_back(session):
    await session.submit(hold(100, "k", sent=True))
    assert await session.submit(release("k", loss=40)) == Settled("k", 0, 100, 0, 1_000, 40)
    assert balance(session) == (1_000, 0, 0, 0)
    assert kinds(session) == ["fund 1000", "exposure 40"]


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (settle(60, "k"), settle(60, "k")),
        (settle(160, "k"), settle(160, "k")),
        (settle(0, "k"), settle(0, "k")),
        (release("k"), release("k")),
    ],
)
async def test_resolving_again_the_same_way_gives_the_same(first, again, session):
    """Guarantees 4 and 5."""
    await session.submit(hold(100, "k"))
    resolved = await session.submit(first)
    assert await session.submit(again) == resolved


@pytest.mark.parametrize(
    ("first", "second", "state", "captured"),
    [
        (settle(60, "k"), settle(61, "k"), "captured", 60),
        (settle(100, "k"), settle(101, "k"), "captured", 100),
        (settle(60, "k"), release("k"), "captured", 60),
        (release("k"), settle(60, "k"), "released", 0),
        (release("k"), settle(0, "k"), "released", 0),
    ],
)
async def test_resolving_again_another_way_is_refused(first, second, state, captured, session):
    """Guarantee 4."""
    await session.submit(hold(100, "k"))
    await session.submit(first)
    before = balance(session)
    with pytest.raises(HoldResolved) as refused:
        await session.submit(second)
    assert (refused.value.state, refused.value.captured) == (state, captured)
    assert balance(session) == before


@pytest.mark.parametrize("work", [settle(1, "none"), release("none")])
async def test_what_was_never_held_cannot_be_resolved(work, session):
    with pytest.raises(HoldNotFound):
        await session.submit(work)


async def test_a_lone_progress_or_reconcile_changes_nothing(session):
    assert await session.submit(progress(5, "none")) is False
    assert await session.submit(reconcile("none")) is None


class TestKeys:
    """Guarantee 5: the same key and content give the same result, different content a conflict."""

    async def test_the_same_hold_again_is_the_same_hold(self, session):
        await session.submit(hold(300, "k"))
        assert await session.submit(hold(300, "k")) == Held("k", 300, replayed=True)
        assert balance(session) == (700, 300, 0, 0)

    async def test_a_granted_part_stays_what_it_was(self, session):
        await session.submit(hold(5_000, "k", minimum=1))
        await session.submit(fund(9_000, "f"))
        assert (await session.submit(hold(5_000, "k", minimum=1))).amount == 1_000

    async def test_a_resolved_hold_says_what_became_of_it(self, session):
        await session.submit(hold(300, "k"))
        await session.submit(settle(10, "k", response='{"text": "hi"}'))
        again = await session.submit(hold(300, "k"))
        assert again == Held("k", 300, replayed=True, state=HoldState.CAPTURED, response='{"text": "hi"}')
        await session.submit(hold(300, "k2"))
        await session.submit(release("k2"))
        assert (await session.submit(hold(300, "k2"))).state is HoldState.RELEASED

    async def test_different_content_conflicts(self, session):
        await session.submit(hold(300, "k"))
        with pytest.raises(IdempotencyConflict):
            await session.submit(hold(301, "k"))
        await session.submit(settle(10, "k", response="{}"))
        with pytest.raises(IdempotencyConflict):
            await session.submit(hold(301, "k"))
        assert balance(session) == (990, 0, 10, 0)

    async def test_a_refusal_is_kept_with_its_numbers(self, session):
        with pytest.raises(InsufficientFunds) as first:
            await session.submit(hold(2_000, "k"))
        await session.submit(fund(5_000, "f"))
        with pytest.raises(InsufficientFunds) as second:
            await session.submit(hold(2_000, "k"))
        assert vars(second.value) == vars(first.value)
        with pytest.raises(IdempotencyConflict):
            await session.submit(hold(2_001, "k"))
        assert (await session.submit(hold(2_000, "another"))).amount == 2_000

    async def test_a_refusal_for_money_that_is_only_held_is_not_kept(self, session):
        """Whoever waits for what is in flight comes back with the same key."""
        await session.submit(hold(600, "first"))
        with pytest.raises(InsufficientFunds) as refused:
            await session.submit(hold(600, "k"))
        assert refused.value.is_held
        await session.submit(release("first"))
        assert (await session.submit(hold(600, "k"))).amount == 600

    async def test_a_refusal_under_a_key_nobody_has_is_not_kept(self, session):
        with pytest.raises(InsufficientFunds):
            await session.submit(hold(2_000, "k", keep_refusal=False))
        await session.submit(fund(5_000, "f"))
        assert (await session.submit(hold(2_000, "k", keep_refusal=False))).amount == 2_000

    async def test_one_batch_may_have_a_key_twice(self, session):
        results = await asyncio.gather(*(session.submit(hold(300, "k")) for _ in range(5)))
        assert [result.replayed for result in results] == [False, True, True, True, True]

    async def test_two_sessions_may_use_one_key(self, session):
        await session.submit(create("ses_2", 50))
        await session.submit(hold(300, "k"))
        assert (await session.submit(hold(20, "k", "ses_2"))).replayed is False


class TestStrangers:
    """Spec A5: to anyone but its owner a session does not exist."""

    async def test_a_stranger_holds_nothing(self, session):
        with pytest.raises(SessionNotFound):
            await session.submit(hold(1, "k", owner="eve"))

    async def test_a_stranger_who_knows_a_key_gets_nothing_of_its_answer(self, session):
        await session.submit(hold(300, "k"))
        await session.submit(settle(10, "k", response="secret"))
        with pytest.raises(InsufficientFunds):
            await session.submit(hold(9_999, "refused"))
        for stolen in (hold(300, "k", owner="eve"), hold(9_999, "refused", owner="eve")):
            with pytest.raises(SessionNotFound):
                await session.submit(stolen)
        assert (await session.submit(hold(300, "k"))).response == "secret"

    async def test_a_strangers_refusal_is_not_the_owners(self, session):
        with pytest.raises(SessionNotFound):
            await session.submit(hold(300, "k", owner="eve"))
        assert (await session.submit(hold(300, "k"))).replayed is False

    async def test_a_session_that_is_not_there(self, store):
        with pytest.raises(SessionNotFound):
            await store.submit(hold(1, "k"))

    async def test_nothing_is_held_on_a_deposit(self, store):
        await store.submit(deposit(500, "d"))
        with pytest.raises(SessionNotFound):
            await store.submit(hold(1, "k", "deposit:ann"))


class TestStates:
    """Only an active session spends; what is in flight settles in any state."""

    async def test_paused(self, session):
        await session.submit(hold(10, "k"))
        await session.submit(SetState(SESSION, "ann", SessionState.PAUSED))
        with pytest.raises(SessionPaused):
            await session.submit(hold(1, "k2"))
        with pytest.raises(SessionPaused):
            await session.submit(hold(9_999, "k3"))
        assert (await session.submit(settle(4, "k"))).available == 996

    async def test_closed(self, session):
        await session.submit(close())
        with pytest.raises(SessionAlreadyClosed) as refused:
            await session.submit(hold(1, "k"))
        assert refused.value.refunded == 1_000

    async def test_expired(self, store, clock):
        await store.submit(create(expires_ms=START_MS + 10))
        await store.submit(hold(10, "k"))
        clock.advance(10)
        with pytest.raises(SessionExpired):
            await store.submit(hold(1, "k2"))
        assert (await store.submit(settle(4, "k"))).available == 996

    async def test_a_refusal_of_a_state_is_kept_too(self, session):
        """Guarantee 5: the retry of a refused request is not sold later."""
        await session.submit(SetState(SESSION, "ann", SessionState.PAUSED))
        with pytest.raises(SessionPaused):
            await session.submit(hold(1, "k"))
        await session.submit(SetState(SESSION, "ann", SessionState.ACTIVE))
        with pytest.raises(SessionPaused):
            await session.submit(hold(1, "k"))


class TestReconciling:
    """A request that nobody watches any more: paid for what was delivered, not a unit more."""

    async def test_nothing_happens_before_the_deadline(self, session, clock):
        await session.submit(hold(100, "k"))
        clock.advance(DEADLINE_MS - 1)
        assert await session.submit(reconcile("k")) is None
        assert session.reads.overdue_holds(clock(), 10) == []

    async def test_never_sent_is_released_without_loss(self, session, clock):
        await session.submit(hold(100, "k"))
        clock.advance(DEADLINE_MS)
        assert session.reads.overdue_holds(clock(), 10) == [(SESSION, "k")]
        assert await session.submit(reconcile("k")) == Settled("k", 0, 100, 0, 1_000)
        assert kinds(session) == ["fund 1000"]

    async def test_sent_and_undelivered_is_released_and_exposed(self, session, clock):
        await session.submit(hold(100, "k", sent=True))
        clock.advance(DEADLINE_MS)
        assert await session.submit(reconcile("k")) == Settled("k", 0, 100, 0, 1_000, 100)
        assert kinds(session) == ["fund 1000", "exposure 100"]

    @pytest.mark.parametrize(("delivered", "captured", "exposed"), [(1, 1, 99), (100, 100, 0), (250, 100, 0)])
    async def test_delivered_is_captured(self, delivered, captured, exposed, session, clock):
        await session.submit(hold(100, "k", sent=True))
        assert await session.submit(progress(delivered, "k")) is True
        clock.advance(DEADLINE_MS)
        assert (await session.submit(reconcile("k"))).captured == captured
        lines = ["fund 1000", f"capture {captured}"] + ([f"exposure {exposed}"] if exposed else [])
        assert kinds(session) == lines
        assert session.reads.transfers(SESSION)[1].model == "interrupted"

    async def test_progress_never_goes_back(self, session, clock):
        await session.submit(hold(100, "k", sent=True))
        await session.submit(progress(70, "k", until=START_MS + 3 * DEADLINE_MS))
        await session.submit(progress(30, "k", until=START_MS))
        clock.advance(DEADLINE_MS)
        assert await session.submit(reconcile("k")) is None
        clock.advance(2 * DEADLINE_MS)
        assert (await session.submit(reconcile("k"))).captured == 70

    async def test_once(self, session, clock):
        await session.submit(hold(100, "k", sent=True))
        clock.advance(DEADLINE_MS)
        outcomes = await asyncio.gather(*(session.submit(reconcile("k")) for _ in range(4)))
        assert [outcome is not None for outcome in outcomes] == [True, False, False, False]
        assert await session.submit(progress(9, "k")) is False

    async def test_a_late_settle_is_told_even_if_it_costs_the_same(self, session, clock):
        """Guarantee 4: its turn was not saved, so it must not look as if it had been."""
        await session.submit(hold(100, "k", sent=True))
        await session.submit(progress(70, "k"))
        clock.advance(DEADLINE_MS)
        await session.submit(reconcile("k"))
        with pytest.raises(HoldResolved) as refused:
            await session.submit(settle(70, "k"))
        assert (refused.value.state, refused.value.captured) == ("captured", 70)

    async def test_in_a_closed_session_the_rest_goes_to_its_owner(self, session, clock):
        await session.submit(hold(100, "k", sent=True))
        await session.submit(progress(70, "k"))
        await session.submit(close())
        clock.advance(DEADLINE_MS)
        assert (await session.submit(reconcile("k"))).available == 0
        assert balance(session) == (0, 0, 70, 930)


async def test_the_order_of_submission_is_the_order_of_the_books(session):
    works = [hold(1, f"k{n}") for n in range(300)] + [settle(1, f"k{n}") for n in range(300)]
    await asyncio.gather(*map(session.submit, works))
    keys = [line.key for line in session.reads.transfers(SESSION) if line.kind == "capture"]
    assert keys == [f"k{n}" for n in range(300)]
