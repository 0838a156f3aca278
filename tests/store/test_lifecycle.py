"""Sessions opened, paused, resumed, restarted, closed, expired; and the limits on how many there may be."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from prepaid.errors import (
    AmountTooLarge,
    BalanceTooLow,
    CurrencyMismatch,
    IdempotencyConflict,
    InsufficientFunds,
    SessionAlreadyClosed,
    SessionExpired,
    SessionLimitReached,
    SessionNotFound,
    TransitionRefused,
)
from prepaid.money import AMOUNT_MAX
from prepaid.records import SessionState
from prepaid.store.operations import (
    AddToPool,
    Closed,
    Created,
    GetOrCreate,
    Limits,
    Place,
    SetIdle,
    SetState,
)

from .books import (
    DEADLINE_MS,
    SESSION,
    START_MS,
    balance,
    chat,
    close,
    close_if_due,
    create,
    deposit,
    fund,
    hold,
    kinds,
    release,
    settle,
)

DEPOSIT = "deposit:ann"
MINUTE_MS = 60_000


def pause(session_id=SESSION, owner="ann"):
    return SetState(session_id, owner, SessionState.PAUSED)


def resume(session_id=SESSION, owner="ann", **limits):
    return SetState(session_id, owner, SessionState.ACTIVE, Limits(**limits))


def state(store, session_id=SESSION):
    return store.reads.account(session_id).state


class TestOpening:
    async def test_what_was_said_is_kept(self, store):
        """Spec C2."""
        created = await store.submit(
            create(
                name="work",
                metadata='{"a":1}',
                preferences='{"b":2}',
                tags=("x", "y"),
                expires_ms=START_MS + 5,
                idle_ms=9,
                auto_save=False,
                key_digest=b"digest",
            )
        )
        assert created == Created(SESSION, 1_000)
        record = store.reads.session(SESSION)
        assert (record.name, record.metadata, record.preferences) == ("work", '{"a":1}', '{"b":2}')
        assert (record.tags, record.expires_ms, record.idle_ms) == (("x", "y"), START_MS + 5, 9)
        assert (record.auto_save, record.closed_ms) == (False, None)
        assert store.reads.api_key(SESSION, 1).digest == b"digest"
        assert (record.owner, record.state, record.created_ms) == ("ann", SessionState.ACTIVE, START_MS)

    async def test_without_money(self, store):
        assert await store.submit(create(amount=None)) == Created(SESSION, 0)
        assert await store.submit(create("ses_2", 0)) == Created("ses_2", 0)
        assert kinds(store) == []

    async def test_below_the_minimum(self, store):
        """Spec B1."""
        with pytest.raises(BalanceTooLow) as refused:
            await store.submit(create(amount=99, minimum=100))
        assert (refused.value.offered, refused.value.minimum) == (99, 100)
        assert store.reads.account(SESSION) is None
        assert (await store.submit(create(amount=100, minimum=100, key="other"))).available == 100

    async def test_above_what_an_account_holds(self, store):
        with pytest.raises(AmountTooLarge):
            await store.submit(create(amount=AMOUNT_MAX + 1))

    async def test_once_per_key(self, store):
        """Guarantee 5: the key opened one session, whatever id comes with it the next time."""
        first = await store.submit(create(key="k"))
        assert await store.submit(create("ses_2", key="k")) == first
        with pytest.raises(IdempotencyConflict):
            await store.submit(create("ses_2", 999, key="k"))
        assert store.reads.account("ses_2") is None
        assert (await store.submit(create("ses_2", key="k", owner="bob"))).session_id == "ses_2"

    async def test_a_refusal_is_kept_if_its_key_may_come_again(self, store):
        for key, kept in (("k", True), ("l", False)):
            with pytest.raises(BalanceTooLow):
                await store.submit(create(key=key, minimum=2_000, keep_refusal=kept))
        with pytest.raises(IdempotencyConflict):
            await store.submit(create(key="k"))
        assert (await store.submit(create(key="l"))).available == 1_000


class TestFromDeposit:
    async def test_part_of_it(self, store):
        """Spec A2, A4."""
        await store.submit(deposit(500, "d"))
        assert await store.submit(create(amount=200, from_deposit=True)) == Created(SESSION, 200)
        assert balance(store, DEPOSIT) == (300, 0, 0, 200)
        assert kinds(store, DEPOSIT) == ["fund 500", "withdraw 200"]

    async def test_all_of_it(self, store):
        await store.submit(deposit(500, "d"))
        assert (await store.submit(create(amount=None, from_deposit=True))).available == 500

    async def test_not_more_than_is_there(self, store):
        await store.submit(deposit(500, "d"))
        with pytest.raises(InsufficientFunds) as refused:
            await store.submit(create(amount=501, from_deposit=True))
        assert (refused.value.needed, refused.value.available) == (501, 500)

    @pytest.mark.parametrize(("minimum", "needed"), [(0, 1), (40, 40)])
    async def test_not_with_nothing(self, minimum, needed, store):
        """Spec A2: starting with nothing deposited is refused."""
        with pytest.raises(InsufficientFunds) as refused:
            await store.submit(create(amount=None, from_deposit=True, minimum=minimum))
        assert refused.value.needed == needed

    async def test_not_below_the_minimum(self, store):
        await store.submit(deposit(500, "d"))
        with pytest.raises(BalanceTooLow):
            await store.submit(create(amount=None, from_deposit=True, minimum=501))

    async def test_never_anothers(self, store):
        await store.submit(deposit(500, "d", owner="bob"))
        with pytest.raises(InsufficientFunds):
            await store.submit(create(amount=None, from_deposit=True))

    async def test_two_at_once_share_nothing(self, store):
        await store.submit(deposit(500, "d"))
        results = await asyncio.gather(
            *(store.submit(create(f"s{n}", amount=300, from_deposit=True)) for n in range(5)),
            return_exceptions=True,
        )
        assert [isinstance(result, Created) for result in results] == [True] + [False] * 4


class TestLimits:
    """Spec C11."""

    async def test_over_all_users(self, store):
        limits = Limits(active_max=2)
        await store.submit(create("s1", limits=limits))
        await store.submit(create("s2", owner="bob", limits=limits))
        with pytest.raises(SessionLimitReached) as refused:
            await store.submit(create("s3", owner="cyd", limits=limits))
        assert (refused.value.limit_name, refused.value.limit) == ("max_active_sessions", 2)

    async def test_per_user(self, store):
        limits = Limits(per_user_max=1)
        await store.submit(create("s1", limits=limits))
        await store.submit(create("s2", owner="bob", limits=limits))
        with pytest.raises(SessionLimitReached) as refused:
            await store.submit(create("s3", limits=limits))
        assert (refused.value.limit_name, refused.value.limit) == ("max_sessions_per_user", 1)

    async def test_paused_ones_count_for_their_user_only(self, store):
        """Spec C1: max_active_sessions counts what is not paused, not closed."""
        await store.submit(create("s1"))
        await store.submit(pause("s1"))
        assert (store.reads.tally(""), store.reads.tally("live:ann"), store.reads.tally("all:ann")) == (
            0,
            1,
            1,
        )
        await store.submit(create("s2", limits=Limits(active_max=1)))
        with pytest.raises(SessionLimitReached):
            await store.submit(create("s3", limits=Limits(per_user_max=2)))

    async def test_closing_makes_room(self, store):
        limits = Limits(active_max=1, per_user_max=1)
        await store.submit(create("s1", limits=limits))
        await store.submit(close("s1"))
        assert (await store.submit(create("s2", limits=limits))).session_id == "s2"
        assert (store.reads.tally("live:ann"), store.reads.tally("all:ann")) == (1, 2)
        assert store.reads.tally("live:nobody") == 0

    async def test_resuming_needs_room(self, store):
        await store.submit(create("s1"))
        await store.submit(pause("s1"))
        await store.submit(create("s2"))
        with pytest.raises(SessionLimitReached):
            await store.submit(resume("s1", active_max=1))
        assert await store.submit(resume("s1", active_max=2)) is None

    async def test_at_once(self, store):
        limits = Limits(active_max=7)
        results = await asyncio.gather(
            *(store.submit(create(f"s{n}", limits=limits)) for n in range(50)), return_exceptions=True
        )
        assert sum(isinstance(result, Created) for result in results) == 7


class TestRestart:
    """Spec A8: close, then start with what is there, in one."""

    async def test_what_is_left_is_carried_over(self, session):
        await session.submit(hold(100, "k"))
        await session.submit(settle(40, "k"))
        assert await session.submit(create("ses_2", None, replaces=SESSION)) == Created("ses_2", 960)
        assert balance(session) == (0, 0, 40, 960)
        assert state(session) is SessionState.CLOSED
        assert kinds(session, "ses_2") == ["fund 960"]

    async def test_what_is_in_flight_follows_to_the_owner(self, session):
        await session.submit(hold(100, "sent", sent=True))
        await session.submit(hold(200, "unsent"))
        assert (await session.submit(create("ses_2", None, replaces=SESSION))).available == 900
        await session.submit(settle(30, "sent"))
        assert balance(session) == (0, 0, 30, 970)
        assert balance(session, "ses_2") == (900, 0, 0, 0)

    async def test_once_per_key(self, session):
        first = await session.submit(create("ses_2", None, replaces=SESSION, key="k"))
        assert await session.submit(create("ses_2", None, replaces=SESSION, key="k")) == first

    async def test_only_what_is_live_and_ones_own(self, session, clock):
        with pytest.raises(SessionNotFound):
            await session.submit(create("ses_2", None, replaces=SESSION, owner="eve"))
        await session.submit(close())
        with pytest.raises(SessionAlreadyClosed):
            await session.submit(create("ses_2", None, replaces=SESSION))
        await session.submit(create("ses_3", expires_ms=START_MS + 1))
        clock.advance(1)
        with pytest.raises(SessionExpired):
            await session.submit(create("ses_4", None, replaces="ses_3"))

    async def test_in_the_same_currency(self, session):
        with pytest.raises(CurrencyMismatch):
            await session.submit(create("ses_2", None, replaces=SESSION, asset="EUR"))
        assert state(session) is SessionState.ACTIVE

    async def test_with_the_minimum(self, session):
        await session.submit(hold(300, "sent", sent=True))
        await session.submit(hold(300, "unsent"))
        with pytest.raises(BalanceTooLow) as refused:
            await session.submit(create("ses_2", None, replaces=SESSION, minimum=701))
        assert refused.value.offered == 700
        assert balance(session) == (400, 600, 0, 0), "a refused restart closes nothing"
        assert (await session.submit(create("ses_3", None, replaces=SESSION, minimum=700))).available == 700

    async def test_within_the_limits(self, store):
        """One closes for the one that opens; but a paused one was not active, and the new one is."""
        limits = Limits(active_max=2, per_user_max=2)
        await store.submit(create("s1", limits=limits))
        await store.submit(create("s2", limits=limits))
        await store.submit(create("s3", None, replaces="s1", limits=limits))
        await store.submit(pause("s3"))
        await store.submit(create("s4", owner="bob", limits=limits))
        with pytest.raises(SessionLimitReached):
            await store.submit(create("s5", None, replaces="s3", limits=limits))
        assert state(store, "s3") is SessionState.PAUSED
        await store.submit(close("s2"))
        assert (await store.submit(create("s6", None, replaces="s3", limits=limits))).available == 1_000


class TestPausing:
    """Spec C6."""

    async def test_there_and_back(self, session, clock):
        clock.advance(5)
        await session.submit(pause())
        assert state(session) is SessionState.PAUSED
        await session.submit(resume())
        assert state(session) is SessionState.ACTIVE
        assert session.reads.account(SESSION).last_used_ms == START_MS + 5

    async def test_nothing_twice(self, session):
        with pytest.raises(TransitionRefused, match="active and cannot resume"):
            await session.submit(resume())
        await session.submit(pause())
        with pytest.raises(TransitionRefused, match="paused and cannot pause"):
            await session.submit(pause())

    @pytest.mark.parametrize("change", [pause, resume])
    async def test_not_after_the_end(self, change, session):
        await session.submit(close())
        with pytest.raises(SessionAlreadyClosed):
            await session.submit(change())

    @pytest.mark.parametrize("change", [pause, resume])
    async def test_not_by_others(self, change, session):
        with pytest.raises(SessionNotFound):
            await session.submit(change(owner="eve"))


class TestClosing:
    """Spec A6."""

    async def test_all_that_is_free_goes_back(self, session, clock):
        clock.advance(3)
        assert await session.submit(close()) == Closed(SESSION, "ann", refunded=1_000, held=0)
        assert balance(session) == (0, 0, 0, 1_000)
        assert session.reads.session(SESSION).closed_ms == START_MS + 3

    async def test_an_empty_one(self, store):
        await store.submit(create(amount=0))
        assert (await store.submit(close())).refunded == 0
        assert kinds(store) == []

    async def test_what_is_in_flight_follows_when_it_settles(self, session):
        await session.submit(hold(100, "k", sent=True))
        await session.submit(hold(50, "r", sent=True))
        assert await session.submit(close()) == Closed(SESSION, "ann", refunded=850, held=150)
        assert (await session.submit(settle(30, "k"))).available == 0
        assert (await session.submit(release("r"))).available == 0
        assert balance(session) == (0, 0, 30, 970)
        assert kinds(session) == ["fund 1000", "refund 850", "capture 30", "refund 70", "refund 50"]

    async def test_what_costs_its_whole_hold_leaves_nothing_to_refund(self, session):
        await session.submit(hold(100, "k", sent=True))
        await session.submit(hold(0, "r", sent=True))
        await session.submit(close())
        await session.submit(settle(100, "k"))
        await session.submit(release("r"))
        assert kinds(session) == ["fund 1000", "refund 900", "capture 100"]

    async def test_what_was_never_sent_is_voided(self, session):
        await session.submit(hold(100, "k"))
        assert (await session.submit(close())).refunded == 1_000
        assert session.reads.hold_state(SESSION, "k") == (2, 0)

    async def test_twice(self, session):
        """Spec A9."""
        await session.submit(close())
        with pytest.raises(SessionAlreadyClosed) as refused:
            await session.submit(close())
        assert refused.value.refunded == 1_000
        with pytest.raises(SessionAlreadyClosed):
            await session.submit(close(key="k"))

    async def test_twice_with_one_key_is_once(self, session):
        """Guarantee 5."""
        await session.submit(hold(100, "h", sent=True))
        first = await session.submit(close(key="k"))
        await session.submit(settle(100, "h"))
        assert await session.submit(close(key="k")) == first
        with pytest.raises(SessionAlreadyClosed):
            await session.submit(close(key="l"))
        with pytest.raises(SessionNotFound):
            await session.submit(close(key="k", owner="eve"))

    async def test_by_its_owner_only(self, session):
        """Spec A5."""
        for session_id in (SESSION, "ses_none"):
            with pytest.raises(SessionNotFound):
                await session.submit(close(session_id, owner="eve"))

    async def test_a_deposit_is_no_session(self, store):
        await store.submit(deposit(500, "d"))
        with pytest.raises(SessionNotFound):
            await store.submit(close(DEPOSIT))

    async def test_it_leaves_the_pool(self, session):
        await session.submit(AddToPool(SESSION, "ann", None, Limits()))
        await session.submit(close())
        assert session.reads.pool_counts() == (0, 0)

    async def test_past_its_expiry_it_ends_as_expired(self, store, clock):
        await store.submit(create(expires_ms=START_MS + 1))
        clock.advance(1)
        assert (await store.submit(close())).expired is True
        assert state(store) is SessionState.EXPIRED
        with pytest.raises(SessionExpired):
            await store.submit(close())


class TestCleanUp:
    """Spec B9, C15: what is idle or past its expiry is closed and refunded; live ones are not looked at."""

    def due(self, store, clock):
        return store.reads.due_sessions(clock(), 10)

    async def test_expired(self, store, clock):
        await store.submit(create(expires_ms=START_MS + 10))
        assert self.due(store, clock) == []
        assert await store.submit(close_if_due()) is None
        clock.advance(10)
        assert self.due(store, clock) == [SESSION]
        assert await store.submit(close_if_due()) == Closed(SESSION, "ann", 1_000, 0, expired=True)
        assert self.due(store, clock) == []
        assert await store.submit(close_if_due()) is None

    async def test_idle(self, store, clock):
        await store.submit(create(idle_ms=MINUTE_MS))
        clock.advance(MINUTE_MS)
        assert (await store.submit(close_if_due())).expired is True

    async def test_used_meanwhile(self, store, clock):
        await store.submit(create(idle_ms=MINUTE_MS))
        clock.advance(MINUTE_MS // 2)
        await store.submit(fund(1, "f"))
        clock.advance(MINUTE_MS // 2)
        assert self.due(store, clock) == [SESSION]
        assert await store.submit(close_if_due()) is None
        assert self.due(store, clock) == [], "it is looked at again when it can be due"
        clock.advance(MINUTE_MS // 2)
        assert self.due(store, clock) == [SESSION]
        assert await store.submit(close_if_due()) is not None

    async def test_a_request_in_flight_is_use(self, store, clock):
        await store.submit(create(idle_ms=MINUTE_MS))
        await store.submit(hold(10, "k", sent=True, expires_ms=START_MS + 10 * MINUTE_MS))
        clock.advance(5 * MINUTE_MS)
        assert await store.submit(close_if_due()) is None
        await store.submit(settle(1, "k"))
        clock.advance(MINUTE_MS)
        assert (await store.submit(close_if_due())).refunded == 999

    async def test_an_expiry_does_not_wait_for_requests(self, store, clock):
        await store.submit(create(expires_ms=START_MS + DEADLINE_MS))
        await store.submit(hold(10, "k", sent=True))
        clock.advance(DEADLINE_MS)
        assert await store.submit(close_if_due()) == Closed(SESSION, "ann", 990, 10, expired=True)
        await store.submit(settle(4, "k"))
        assert balance(store) == (0, 0, 4, 996)

    async def test_whichever_comes_first(self, store, clock):
        await store.submit(create(idle_ms=MINUTE_MS, expires_ms=START_MS + 10))
        clock.advance(10)
        assert self.due(store, clock) == [SESSION]

    async def test_never(self, session, clock):
        clock.advance(10**12)
        assert self.due(session, clock) == []
        assert await session.submit(close_if_due()) is None

    async def test_by_another_age(self, session, clock):
        clock.advance(MINUTE_MS)
        assert await session.submit(close_if_due(idle_ms=MINUTE_MS + 1)) is None
        assert (await session.submit(close_if_due(idle_ms=MINUTE_MS))).expired is True

    async def test_a_look_with_another_age_does_not_put_off_its_own(self, store, clock):
        await store.submit(create(idle_ms=MINUTE_MS))
        clock.advance(MINUTE_MS // 2)
        assert await store.submit(close_if_due(idle_ms=100 * MINUTE_MS)) is None
        clock.advance(MINUTE_MS // 2)
        assert self.due(store, clock) == [SESSION]

    async def test_paused_ones_too(self, store, clock):
        await store.submit(create(idle_ms=MINUTE_MS))
        await store.submit(pause())
        clock.advance(MINUTE_MS)
        assert (await store.submit(close_if_due())).refunded == 1_000

    async def test_unknown(self, store):
        assert await store.submit(close_if_due()) is None

    async def test_those_that_no_look_saw_used(self, session, clock):
        await session.submit(create("ses_2", idle_ms=MINUTE_MS))
        clock.advance(MINUTE_MS // 2)
        await session.submit(fund(1, "f", "ses_2"))
        await session.submit(close_if_due("ses_2"))
        assert session.reads.unseen_sessions(START_MS, 10) == [SESSION]
        assert session.reads.unseen_sessions(clock(), 10) == [SESSION, "ses_2"]
        await session.submit(close())
        assert session.reads.unseen_sessions(clock(), 10) == ["ses_2"]


class TestAges:
    """Another idle age for all, page by page; those without one keep none."""

    async def test_page_by_page(self, store, clock):
        for number in range(5):
            await store.submit(create(f"s{number}", idle_ms=None if number == 3 else MINUTE_MS))
        await store.submit(pause("s1"))
        await store.submit(close("s2"))
        last = ""
        pages = []
        while (last := await store.submit(SetIdle(last, 2 * MINUTE_MS, 2))) is not None:
            pages.append(last)
        assert pages == ["s1", "s4"]
        ages = [store.reads.session(f"s{number}").idle_ms for number in range(5)]
        assert ages == [2 * MINUTE_MS, 2 * MINUTE_MS, MINUTE_MS, None, 2 * MINUTE_MS]
        clock.advance(MINUTE_MS)
        assert store.reads.due_sessions(clock(), 10) == []
        clock.advance(MINUTE_MS)
        assert sorted(store.reads.due_sessions(clock(), 10)) == ["s0", "s1", "s4"]

    async def test_an_expiry_before_it_stays(self, store, clock):
        await store.submit(create(idle_ms=MINUTE_MS, expires_ms=START_MS + 5))
        await store.submit(SetIdle("", 9 * MINUTE_MS, 10))
        assert store.reads.due_sessions(START_MS + 5, 10) == [SESSION]


class TestServingOn:
    """Spec B2: reuse an active funded session, else open one."""

    def wanted(self, session_id, owner="ann", asset="USD", **fields):
        draft = create(session_id, 100, owner=owner, asset=asset, **fields)
        return GetOrCreate(**{each.name: getattr(draft, each.name) for each in dataclasses.fields(draft)})

    async def test_the_newest_that_can_pay(self, store, clock):
        for number in range(3):
            await store.submit(create(f"s{number}"))
        await store.submit(hold(1_000, "k", "s2"))
        clock.advance(5)
        assert await store.submit(self.wanted("new")) == Created("s1", 1_000)
        account = store.reads.account("s1")
        assert (account.request_count, account.last_used_ms) == (1, START_MS + 5)

    async def test_else_a_new_one(self, session, clock):
        await session.submit(pause())
        assert await session.submit(self.wanted("new")) == Created("new", 100)
        await session.submit(create("late", owner="bob", expires_ms=START_MS + 1))
        clock.advance(1)
        assert (await session.submit(self.wanted("bobs", owner="bob"))).session_id == "bobs"
        assert (await session.submit(self.wanted("euros", asset="EUR"))).session_id == "euros"

    async def test_one_however_many_ask(self, store):
        answers = await asyncio.gather(*(store.submit(self.wanted(f"n{n}")) for n in range(20)))
        assert {answer.session_id for answer in answers} == {"n0"}


async def test_a_chat_in_flight_is_freed_by_a_close(session):
    await session.submit(chat())
    await session.submit(hold(100, "k", place=Place(1, 0, 2)))
    await session.submit(close())
    assert session.reads.chat(SESSION, 1).open_turn is None
