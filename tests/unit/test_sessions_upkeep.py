"""Clean-up, and configuration at run time (spec B9, B11, C15)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from managers import START_MS, Clock, opened, store_of, told
from prepaid import (
    BalanceTooLow,
    InvalidRequestError,
    PoolFull,
    PrepaidError,
    SessionClosed,
    SessionManager,
    SessionState,
)
from prepaid.store.operations import CloseIfDue, CreateSession
from prepaid.store.queries.reads import Reads

WRONG_COUNTS = [0, -1, True, 1.5, float("nan"), 2**40, "3", None]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def manager(tmp_path, clock):
    async with opened(
        tmp_path / "a.db", clock=clock, session_timeout=60, max_sessions_per_user=10**6
    ) as manager:
        yield manager


class Counting:
    """Lets operations through to a store, and counts the looks of the clean-up."""

    def __init__(self, monkeypatch, store):
        self.looks = []
        submit = store.submit

        def counted(operation):
            if isinstance(operation, CloseIfDue):
                self.looks.append(operation.session_id)
            return submit(operation)

        monkeypatch.setattr(store, "submit", counted)


class TestCleaningUp:
    """Spec B9, C15."""

    async def test_expired_and_idle_ones_are_refunded(self, manager, clock):
        brief = await manager.create_session("ann", 10, expires_at=timedelta(seconds=5))
        idle, busy, paused = [await manager.create_session("bob", 10) for _ in range(3)]
        await paused.pause()
        clock.advance(30)
        await busy.fund(5)
        seen = told(manager)
        (closed,) = await manager.cleanup_old_sessions()
        assert (closed.session_id, closed.refunded, closed.expired) == (brief.session_id, 10, True)
        assert seen == [SessionClosed(brief.session_id, "ann", 10, 0, expired=True)]
        clock.advance(30)
        assert {each.session_id for each in await manager.cleanup_old_sessions()} == {
            idle.session_id,
            paused.session_id,
        }
        assert busy.state is SessionState.ACTIVE

    async def test_only_what_is_due_is_looked_at(self, manager, clock, monkeypatch):
        for number in range(300):
            await manager.create_session(
                "ann", 1, expires_at=timedelta(seconds=1 if number % 10 == 0 else 50)
            )
        counting = Counting(monkeypatch, store_of(manager))
        clock.advance(1)
        assert len(await manager.cleanup_old_sessions()) == 30
        assert len(counting.looks) == 30
        assert await manager.cleanup_old_sessions() == []
        assert len(counting.looks) == 30

    async def test_use_is_noticed_when_its_turn_comes(self, manager, clock, monkeypatch):
        session = await manager.create_session("ann", 10)
        clock.advance(50)
        await session.fund(1)
        counting = Counting(monkeypatch, store_of(manager))
        for _ in range(4):
            clock.advance(10)
            await manager.cleanup_old_sessions()
        assert len(counting.looks) == 1
        clock.advance(20)
        assert len(await manager.cleanup_old_sessions()) == 1

    async def test_by_another_age(self, manager, clock, monkeypatch):
        old = [await manager.create_session("ann", 1) for _ in range(5)]
        clock.advance(20)
        await old[0].fund(1)
        young = await manager.create_session("ann", 1)
        counting = Counting(monkeypatch, store_of(manager))
        closed = await manager.cleanup_old_sessions(max_age=20)
        assert {each.session_id for each in closed} == {each.session_id for each in old[1:]}
        assert len(counting.looks) == 5  # not the young one; and the one that is used not twice:
        await manager.cleanup_old_sessions(max_age=timedelta(seconds=20))
        assert len(counting.looks) == 5
        clock.advance(20)
        assert len(await manager.cleanup_old_sessions(max_age=20)) == 2
        assert young.state is SessionState.EXPIRED

    async def test_a_limit(self, manager, clock):
        for _ in range(7):
            await manager.create_session("ann", 1)
        clock.advance(60)
        assert [len(await manager.cleanup_old_sessions(limit=3)) for _ in range(4)] == [3, 3, 1, 0]

    async def test_two_clean_ups_at_once(self, manager, clock, tmp_path):
        for _ in range(50):
            await manager.create_session("ann", 1)
        clock.advance(60)
        async with opened(tmp_path / "a.db", clock=clock) as other:
            seen = told(manager), told(other)
            both = await asyncio.gather(manager.cleanup_old_sessions(), other.cleanup_old_sessions())
        assert sum(map(len, both)) == 50
        assert sum(map(len, seen)) == 50

    async def test_a_damaged_row_is_not_looked_at_for_ever(self, manager, clock, monkeypatch):
        monkeypatch.setattr(Reads, "due_sessions", lambda self, now_ms, limit: ["ses_damaged"])
        assert await manager.cleanup_old_sessions() == []

    @pytest.mark.parametrize("limit", WRONG_COUNTS)
    async def test_limits_that_are_none(self, limit, manager):
        with pytest.raises(InvalidRequestError):
            await manager.cleanup_old_sessions(limit=limit)

    async def test_what_fails_is_raised_and_the_others_are_told(self, manager, clock, monkeypatch):
        for _ in range(3):
            await manager.create_session("ann", 1)
        clock.advance(60)
        seen = told(manager)
        submit, store = store_of(manager).submit, store_of(manager)
        failing = iter([True])

        def submitting(operation):
            if isinstance(operation, CloseIfDue) and next(failing, False):
                failed = asyncio.get_running_loop().create_future()
                failed.set_exception(PrepaidError("no"))
                return failed
            return submit(operation)

        monkeypatch.setattr(store, "submit", submitting)
        with pytest.raises(PrepaidError, match="no"):
            await manager.cleanup_old_sessions()
        assert len(seen) == 2

    @pytest.mark.slow
    async def test_200_of_20_000(self, tmp_path, clock, monkeypatch):
        async with SessionManager(tmp_path / "large.db", clock=clock, auto_cleanup=False) as manager:
            store = store_of(manager)
            for part in range(20):
                first = part * 1_000
                await asyncio.gather(*(store.submit(one_of_many(first + number)) for number in range(1_000)))
            counting = Counting(monkeypatch, store)
            clock.advance(1)
            assert len(await manager.cleanup_old_sessions()) == 200
            assert len(counting.looks) == 200
            assert store.reads.tally("") == 19_800


def one_of_many(number):
    """A session whose turn comes in a second for one in a hundred, in a minute for the others."""
    expires_ms = START_MS + (1_000 if number % 100 == 0 else 60_000)
    owner = f"user{number % 97}"
    return CreateSession(
        f"ses_{number:022d}", owner, "USD", f"k{number}", b"", 1, expires_ms=expires_ms, idle_ms=60_000
    )


class TestInTheBackground:
    """Spec C15."""

    @pytest.mark.parametrize("entered", [True, False], ids=["async with", "by hand"])
    async def test_by_itself(self, entered, tmp_path, clock):
        manager = SessionManager(tmp_path / "a.db", clock=clock, cleanup_interval=0.01, session_timeout=60)
        if entered:
            await manager.__aenter__()
        session = await manager.create_session("ann", 10)
        async with manager.events() as events:
            clock.advance(60)
            closed = await asyncio.wait_for(anext(events), 120)
        assert closed == SessionClosed(session.session_id, "ann", 10, 0, expired=True)
        await manager.shutdown()
        await manager.shutdown()

    def test_made_before_there_is_a_loop(self, tmp_path):
        manager = SessionManager(tmp_path / "a.db")

        async def use():
            async with manager:
                assert len(manager._cleaner._tasks) == 2

        asyncio.run(use())

    async def test_a_failure_is_logged_and_tried_again(self, tmp_path, clock, monkeypatch, caplog):
        due = Reads.due_sessions
        failing = iter([True, True])

        def fails_twice(self, now_ms, limit):
            if next(failing, False):
                raise RuntimeError("torn")
            return due(self, now_ms, limit)

        monkeypatch.setattr(Reads, "due_sessions", fails_twice)
        async with SessionManager(tmp_path / "a.db", clock=clock, cleanup_interval=0.01) as manager:
            await manager.create_session("ann", 10)
            clock.advance(10**6)
            async with manager.events() as events:
                await asyncio.wait_for(anext(events), 120)
        assert caplog.text.count("clean-up failed") == 2

    async def test_overdue_holds_are_settled(self, tmp_path, clock):
        top = {"sweep_seconds": 0.01}
        async with opened(tmp_path / "a.db", clock=clock, top=top, auto_cleanup=True) as manager:
            session = await manager.create_session("ann", 100)
            await manager._workspace.ledger.hold(session.session_id, "ann", 60, lasts=timedelta(seconds=1))
            clock.advance(1)
            while session.account.held:  # noqa: ASYNC110 -- nobody tells of a settled hold
                await asyncio.sleep(0.005)
            assert session.available == 100

    async def test_shutting_down_closes_everything_whatever_fails(self, tmp_path, monkeypatch):
        manager = SessionManager(tmp_path / "a.db")
        stream = manager.events()

        async def fails():
            raise PrepaidError("no")

        monkeypatch.setattr(manager._cleaner, "aclose", fails)
        with pytest.raises(PrepaidError, match="no"):
            await manager.shutdown()
        assert [event async for event in stream] == []
        with pytest.raises(PrepaidError, match="closed"):
            await manager.create_session("ann", 1)
        for task in manager._cleaner._tasks:
            task.cancel()


class TestConfiguring:
    """Spec B11."""

    async def test_every_process_sees_it(self, manager, tmp_path, clock):
        async with opened(tmp_path / "a.db", clock=clock) as other:
            await manager.update_config(minimum_balance="0.5 USD", pool_size=0)
            with pytest.raises(BalanceTooLow):
                await other.create_session("ann", "0.4 USD")
            session = await other.create_session("ann", "0.5 USD")
            assert other.get_pool_status().capacity == 0
            with pytest.raises(PoolFull):
                await session.add_to_pool()
            await other.update_config(minimum_balance=0)
            await manager.create_session("ann")

    async def test_a_new_timeout_holds_for_open_sessions(self, manager, clock):
        sessions = [await manager.create_session("ann", 1) for _ in range(300)]
        await sessions[1].pause()
        brief = await manager.create_session("bob", 1, expires_at=timedelta(seconds=15))
        closed = await manager.create_session("bob", 1)
        await closed.close()
        clock.advance(10)
        await sessions[0].fund(1)
        await manager.update_config(session_timeout=20)
        clock.advance(10)
        gone = {each.session_id for each in await manager.cleanup_old_sessions()}
        assert gone == {each.session_id for each in sessions[1:]} | {brief.session_id}
        await manager.update_config(session_timeout=timedelta(days=1))
        clock.advance(80_000)
        assert await manager.cleanup_old_sessions() == []
        assert (await manager.create_session("cyd")).record.idle_ms == 86_400_000

    @pytest.mark.parametrize(
        "wrong",
        [
            *({"pool_size": number} for number in (-1, True, 1.5, float("nan"), 10**7, "3")),
            *({"minimum_balance": amount} for amount in (-1, False, True, 0.0, float("nan"), "1 EUR", 2**80)),
            *(
                {"session_timeout": span}
                for span in (0, -1, False, True, float("nan"), float("inf"), 1e300, "1 h")
            ),
        ],
        ids=str,
    )
    async def test_nonsense(self, wrong, manager):
        with pytest.raises(InvalidRequestError):
            await manager.update_config(**({"pool_size": 3} | wrong))
        assert store_of(manager).reads.settings() == {}
