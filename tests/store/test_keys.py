"""API keys in the store: whose they are, and that a cap is never exceeded, not for a moment."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prepaid.errors import (
    AuthenticationError,
    IdempotencyConflict,
    InsufficientFunds,
    KeyCapReached,
    KeyEnded,
    KeyLimitReached,
    KeyNotFound,
    PoolEmpty,
    SessionAlreadyClosed,
    SessionNotFound,
    SessionPaused,
    TransitionRefused,
)
from prepaid.records import OPERATOR, Account, SessionState, holder_of_user
from prepaid.store.operations import (
    Close,
    Held,
    IssueFirstKey,
    IssueKey,
    Once,
    RevokeKey,
    RotateKey,
    SetState,
    TakeFromPool,
)
from prepaid.store.sqlite.store import SqliteStore

from .books import (
    DEADLINE_MS,
    SESSION,
    START_MS,
    Clock,
    assert_sound,
    balance,
    close,
    create,
    hold,
    reconcile,
    release,
    settle,
)

SPY = {
    "sqlite": ["CREATE TRIGGER api_key_moved BEFORE UPDATE ON api_key BEGIN SELECT raise(ABORT, 'no'); END"],
    "postgres": [
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'",
        "CREATE TRIGGER api_key_moved BEFORE UPDATE ON api_key EXECUTE FUNCTION no()",
    ],
}
"""From here on nobody may write a key's row."""


def issue(holder=SESSION, owner="ann", *, digest=b"one", live_max=10, **fields):
    return IssueKey(holder, owner, digest, live_max, **fields)


def room(store, number=1, session_id=SESSION):
    """``(reserved, spent)`` of a key."""
    record = store.reads.api_key(session_id, number)
    return record.reserved, record.spent


@pytest.fixture
async def capped(session):
    """A session of 1,000 with a key that may spend 300 of it."""
    assert await session.submit(issue(cap=300)) == 1
    return session


class TestIssuing:
    async def test_numbers_count_up_for_each_holder(self, session):
        assert [await session.submit(issue()) for _ in range(3)] == [1, 2, 3]
        assert await session.submit(issue(holder_of_user("ann"))) == 1
        assert await session.submit(issue(OPERATOR, "")) == 1
        assert [each.number for each in session.reads.api_keys(SESSION, after=1, limit=10)] == [2, 3]
        assert [each.number for each in session.reads.api_keys(SESSION, after=0, limit=2)] == [1, 2]

    async def test_what_was_said_is_kept(self, session):
        await session.submit(issue(name="ci", cap=5, models=("a", "b"), expires_ms=START_MS + 9))
        found = session.reads.api_key(SESSION, 1)
        assert (found.key_id, found.owner, found.asset, found.digest) == ("pp_ses_1.1", "ann", "USD", b"one")
        assert (found.name, found.cap, found.models) == ("ci", 5, ("a", "b"))
        assert (found.created_ms, found.expires_ms, found.revoked_ms) == (START_MS, START_MS + 9, None)

    async def test_of_a_live_session_of_the_owner(self, session):
        """Spec A5."""
        with pytest.raises(SessionNotFound):
            await session.submit(issue(owner="eve"))
        with pytest.raises(SessionNotFound):
            await session.submit(issue(holder_of_user("bob"), "ann"))
        await session.submit(close())
        with pytest.raises(SessionAlreadyClosed):
            await session.submit(issue())

    async def test_a_limit_on_those_that_work(self, session, clock):
        await session.submit(issue(live_max=2, expires_ms=START_MS + 5))
        await session.submit(issue(live_max=2))
        with pytest.raises(KeyLimitReached):
            await session.submit(issue(live_max=2))
        clock.advance(5)
        assert await session.submit(issue(live_max=2)) == 3
        await session.submit(RevokeKey(SESSION, "ann", 2))
        assert await session.submit(issue(live_max=2)) == 4

    async def test_the_first_one_is_issued_once(self, store):
        works = [IssueFirstKey(OPERATOR, "", b"%d" % n, 10) for n in range(5)]
        answers = await asyncio.gather(*map(store.submit, works))
        assert answers == [1, None, None, None, None]
        await store.submit(RevokeKey(OPERATOR, "", 1))
        assert await store.submit(works[0]) is None


class TestRotating:
    async def test_the_secret_before_is_gone_or_has_a_grace(self, session):
        await session.submit(issue())
        await session.submit(RotateKey(SESSION, "ann", 1, b"two"))
        found = session.reads.api_key(SESSION, 1)
        assert (found.digest, found.previous_digest, found.previous_until_ms) == (b"two", None, None)
        await session.submit(RotateKey(SESSION, "ann", 1, b"three", 60_000))
        found = session.reads.api_key(SESSION, 1)
        assert (found.digest, found.previous_digest) == (b"three", b"two")
        assert found.previous_until_ms == START_MS + 60_000

    async def test_what_it_has_spent_stays(self, capped):
        await capped.submit(hold(200, "k", key_no=1))
        await capped.submit(settle(150, "k"))
        await capped.submit(RotateKey(SESSION, "ann", 1, b"two"))
        assert room(capped) == (0, 150)

    async def test_not_of_a_key_that_has_ended(self, session, clock):
        await session.submit(issue(expires_ms=START_MS + 1))
        await session.submit(issue())
        await session.submit(RevokeKey(SESSION, "ann", 2))
        clock.advance(1)
        for number, said in ((1, "expired"), (2, "revoked")):
            with pytest.raises(KeyEnded, match=said):
                await session.submit(RotateKey(SESSION, "ann", number, b"two"))

    @pytest.mark.parametrize("work", [RotateKey(SESSION, "eve", 1, b"x"), RevokeKey(SESSION, "eve", 1)])
    async def test_not_by_others(self, session, work):
        """Spec A5."""
        await session.submit(issue())
        with pytest.raises(KeyNotFound):
            await session.submit(work)
        assert session.reads.api_key(SESSION, 1).digest == b"one"
        assert session.reads.api_key(SESSION, 1).revoked_ms is None

    async def test_revoked_once_even_of_a_closed_session(self, session, clock):
        await session.submit(issue())
        await session.submit(RotateKey(SESSION, "ann", 1, b"two", 60_000))
        await session.submit(close())
        await session.submit(RevokeKey(SESSION, "ann", 1))
        clock.advance(5)
        await session.submit(RevokeKey(SESSION, "ann", 1))
        found = session.reads.api_key(SESSION, 1)
        assert (found.revoked_ms, found.previous_digest) == (START_MS, None)


class TestCap:
    async def test_a_refusal_says_what_is_left(self, capped):
        await capped.submit(hold(200, "a", key_no=1))
        with pytest.raises(KeyCapReached) as refused:
            await capped.submit(hold(101, "b", key_no=1))
        error = refused.value
        assert (error.key_id, error.cap) == ("pp_ses_1.1", 300)
        assert (error.needed, error.available, error.held) == (101, 100, 200)
        assert balance(capped) == (800, 200, 0, 0)
        again = await asyncio.gather(capped.submit(hold(101, "b", key_no=1)), return_exceptions=True)
        assert (type(again[0]), again[0].needed) == (KeyCapReached, 101)

    async def test_what_is_released_is_room_again(self, capped):
        await capped.submit(hold(300, "a", key_no=1))
        await capped.submit(settle(120, "a"))
        assert room(capped) == (0, 120)
        await capped.submit(hold(180, "b", key_no=1))
        await capped.submit(release("b"))
        assert room(capped) == (0, 120)
        assert (await capped.submit(hold(500, "c", key_no=1, minimum=1))).amount == 180

    async def test_the_balance_bounds_it_too(self, store):
        await store.submit(create(amount=50))
        await store.submit(issue(cap=300))
        assert (await store.submit(hold(80, "a", key_no=1, minimum=10))).amount == 50
        assert room(store) == (50, 0)
        with pytest.raises(InsufficientFunds) as refused:
            await store.submit(hold(10, "b", key_no=1))
        assert not isinstance(refused.value, KeyCapReached)
        assert room(store) == (50, 0)

    async def test_a_crash_is_settled_against_it(self, capped, clock):
        await capped.submit(hold(200, "a", key_no=1, sent=True))
        clock.advance(DEADLINE_MS)
        await capped.submit(reconcile("a"))
        assert room(capped) == (0, 0)

    async def test_a_close_gives_back_what_was_never_sent(self, capped):
        await capped.submit(hold(200, "a", key_no=1))
        await capped.submit(close())
        assert room(capped) == (0, 0)

    async def test_a_key_revoked_since_it_was_read_holds_nothing(self, capped):
        await capped.submit(RevokeKey(SESSION, "ann", 1))
        with pytest.raises(AuthenticationError):
            await capped.submit(hold(1, "a", key_no=1))

    @pytest.mark.parametrize("number", [2, 3])
    async def test_only_a_key_with_a_cap_is_counted(self, capped, number):
        await capped.submit(issue())
        with pytest.raises(AuthenticationError):
            await capped.submit(hold(1, "a", key_no=number))

    async def test_why_the_session_cannot_spend_comes_first(self, capped):
        await capped.submit(SetState(SESSION, "ann", SessionState.PAUSED))
        with pytest.raises(SessionPaused):
            await capped.submit(hold(900, "a", key_no=1))

    async def test_the_table_refuses_more_whoever_writes(self, capped, by_hand):
        with pytest.raises(Exception, match=r"(?i)check constraint"):
            by_hand("UPDATE api_key SET spent = 301")

    async def test_a_key_without_a_cap_costs_a_request_no_write(self, session, database, by_hand):
        """It is in none of the statements of a hold and its capture."""
        await session.submit(issue())
        by_hand(*SPY[database.removeprefix("given-")])
        await session.submit(hold(100, "a"))
        assert (await session.submit(settle(60, "a"))).captured == 60

    async def test_a_burst_is_served_as_far_as_the_cap_goes(self, capped):
        """Spec D1, per key."""
        answers = await asyncio.gather(
            *(capped.submit(hold(7, f"k{n}", key_no=1)) for n in range(100)), return_exceptions=True
        )
        assert sum(isinstance(each, Held) for each in answers) == 300 // 7
        assert {type(each) for each in answers if not isinstance(each, Held)} == {KeyCapReached}
        assert room(capped) == (7 * (300 // 7), 0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("hold"), st.integers(0, 2), st.integers(0, 60), st.integers(0, 60)),
        st.tuples(st.just("settle"), st.integers(0, 20), st.integers(0, 90)),
        st.tuples(st.just("release"), st.integers(0, 20)),
        st.tuples(st.just("overdue"), st.integers(0, 20)),
        st.tuples(st.just("rotate"), st.integers(1, 2)),
    ),
    max_size=40,
)


class TestWhateverHappens:
    @settings(max_examples=60, deadline=None)
    @given(caps=st.tuples(st.integers(0, 150), st.integers(0, 150)), funds=st.integers(0, 250), steps=STEPS)
    def test_held_and_spent_stay_within_the_cap(self, tmp_path_factory, caps, funds, steps):
        """Each key has reserved and spent what its holds say, at every step, and never more than its cap."""
        asyncio.run(self.play(tmp_path_factory.mktemp("caps"), caps, funds, steps))

    async def play(self, folder, caps, funds, steps):
        clock = Clock()
        store = SqliteStore(folder / "a.db", clock=clock)
        await store.submit(create(amount=funds))
        for cap in caps:
            await store.submit(issue(cap=cap))
        open_holds, model = {}, {1: [0, 0], 2: [0, 0]}  # reserved, spent
        for at, (what, *values) in enumerate(steps):
            await getattr(self, what)(store, clock, open_holds, model, caps, f"k{at}", *values)
            for number, counted in model.items():
                assert list(room(store, number)) == counted
                assert sum(counted) <= caps[number - 1]
        await assert_sound(store)
        await store.aclose()

    async def hold(self, store, clock, open_holds, model, caps, key, number, wanted, least):
        least = min(wanted, least)
        account: Account = store.reads.account(SESSION)
        left = caps[number - 1] - sum(model[number]) if number else account.available
        granted = min(wanted, left, account.available)
        work = hold(wanted, key, minimum=least, key_no=number or None, at=clock.now)
        if left < least or account.available < least:
            with pytest.raises(InsufficientFunds) as refused:
                await store.submit(work)
            assert isinstance(refused.value, KeyCapReached) == (left < least and number > 0)
            return
        assert (await store.submit(work)).amount == granted
        open_holds[key] = (number, granted)
        if number:
            model[number][0] += granted

    def resolve(self, open_holds, model, which, cost):
        key = list(open_holds)[which % len(open_holds)]
        number, granted = open_holds.pop(key)
        if number:
            model[number][0] -= granted
            model[number][1] += min(cost, granted)
        return key

    async def settle(self, store, clock, open_holds, model, caps, key, which, cost):
        if open_holds:
            await store.submit(settle(cost, self.resolve(open_holds, model, which, cost)))

    async def release(self, store, clock, open_holds, model, caps, key, which):
        if open_holds:
            await store.submit(release(self.resolve(open_holds, model, which, 0)))

    async def overdue(self, store, clock, open_holds, model, caps, key, which):
        if open_holds:
            clock.advance(2 * DEADLINE_MS)
            await store.submit(reconcile(self.resolve(open_holds, model, which, 0)))

    async def rotate(self, store, clock, open_holds, model, caps, key, number):
        await store.submit(RotateKey(SESSION, "ann", number, key.encode(), 5))


class TestOnce:
    """Spec D3: any operation under a key of the caller's."""

    async def test_the_same_content_gets_the_same_result(self, session):
        work = Once(SESSION, "key", b"content", issue())
        done = await session.submit(work)
        assert (done.value, done.replayed) == (1, False)
        again = await session.submit(Once(SESSION, "key", b"content", issue(digest=b"other")))
        assert (again.value, again.replayed) == (1, True)
        assert [each.digest for each in session.reads.api_keys(SESSION, after=0, limit=9)] == [b"one"]

    async def test_another_content_or_kind_conflicts(self, session):
        await session.submit(Once(SESSION, "key", b"content", issue()))
        for other in (
            Once(SESSION, "key", b"else", issue()),
            Once(SESSION, "key", b"content", Close(SESSION, "ann")),
            hold(1, "key"),
        ):
            with pytest.raises(IdempotencyConflict):
                await session.submit(other)

    async def test_a_refusal_is_kept(self, session):
        work = Once(SESSION, "key", b"c", SetState(SESSION, "ann", SessionState.ACTIVE))
        with pytest.raises(TransitionRefused):
            await session.submit(work)
        await session.submit(SetState(SESSION, "ann", SessionState.PAUSED))
        with pytest.raises(TransitionRefused):
            await session.submit(work)

    async def test_a_refusal_that_passes_by_itself_is_not(self, session):
        work = Once("deposit:bob", "key", b"c", TakeFromPool("", "bob", "lease", 1_000))
        with pytest.raises(PoolEmpty):
            await session.submit(work)
        with pytest.raises(PoolEmpty):
            await session.submit(work)

    async def test_records_come_back_as_they_were(self, session):
        work = Once(SESSION, "key", b"c", Close(SESSION, "ann"))
        done = await session.submit(work)
        assert (await session.submit(work)).value == done.value
        assert done.value.refunded == 1_000
