"""Clean-up, configuration at run time, pages, numbers (spec B9, B10, B11, C7, C8, C9, C15)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from managers import START_MS, Clock, opened, plan, store_of, told
from prepaid import (
    AuthenticationError,
    BalanceTooLow,
    InvalidRequestError,
    PoolFull,
    PrepaidError,
    SessionClosed,
    SessionManager,
    SessionNotFound,
    SessionState,
)
from prepaid.store.operations import CloseIfDue
from prepaid.store.sqlite import reuse
from prepaid.store.sqlite.reads import Reads

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
            closed = await asyncio.wait_for(anext(events), 10)
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
                await asyncio.wait_for(anext(events), 10)
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


class TestFinding:
    """Spec C7, A5."""

    async def test_pages_by_status_and_tag(self, manager, clock):
        made = []
        for number in range(20):
            tags = ["even"] if number % 2 == 0 else ["odd", "all"]
            made.append(await manager.create_session("ann" if number < 15 else "bob", 1, tags=tags))
            await asyncio.sleep(0.002)  # ids of one millisecond are in no order
        assert made == sorted(made, key=lambda session: session.session_id)
        for session in made[:5]:
            await session.pause()
        for session in made[5:9]:
            await session.close()
        ids = [session.session_id for session in reversed(made)]

        async def all_pages(**asked):
            found, before = [], None
            while page := await manager.get_user_sessions("ann", limit=3, before=before, **asked):
                found += [each.session_id for each in page]
                before = found[-1]
            return found

        assert await all_pages() == ids[5:]
        assert await all_pages(status="paused") == ids[15:]
        assert await all_pages(status="closed") == ids[11:15]
        assert await all_pages(status="active", tag="even") == [made[n].session_id for n in (14, 12, 10)]
        assert await all_pages(tag="odd") == [made[n].session_id for n in range(13, 0, -2)]
        everyone = await manager.get_all_active_sessions(tag="all")
        assert [each.session_id for each in everyone] == [made[n].session_id for n in (19, 17, 15, 13, 11, 9)]
        assert len(await manager.list_sessions(status="closed", tag="even")) == 2
        assert await manager.get_user_sessions("cyd") == []

    async def test_one_past_its_expiry_is_in_no_page_of_live_ones(self, manager, clock):
        session = await manager.create_session("ann", 1, tags=["t"], expires_at=timedelta(seconds=1))
        clock.advance(1)
        assert await manager.get_all_active_sessions() == []
        assert await manager.get_user_sessions("ann", status="active", tag="t") == []
        (found,) = await manager.get_user_sessions("ann")
        assert found.state is SessionState.EXPIRED
        assert (await manager.get_system_stats()).active_sessions == 0
        assert (await manager.get_user_activity("ann")).active_sessions == 0
        await manager.cleanup_old_sessions()
        (found,) = await manager.get_user_sessions("ann", status="expired", tag="t")
        assert found.session_id == session.session_id

    @pytest.mark.parametrize(
        "wrong",
        [
            *({"limit": number} for number in (*WRONG_COUNTS[:-1], 1_001)),
            *({"status": status} for status in ("", "deposit", 0, b"active")),
            *({"tag": tag} for tag in ("", "a\nb", 5, "x" * 65)),
            *({"before": before} for before in (5, "\ud800", "x" * 300)),
        ],
        ids=lambda wrong: str(wrong)[:30].encode("ascii", "replace").decode(),
    )
    async def test_nonsense(self, wrong, manager):
        with pytest.raises(InvalidRequestError):
            await manager.get_user_sessions("ann", **wrong)

    @pytest.mark.parametrize(
        "session_id", ["", "ses_x", "deposit:ann", "\ud800", "x\0", None, 5, b"ses", "x" * 10**5]
    )
    async def test_no_such_session(self, session_id, manager):
        await manager.deposit("ann", 5)
        with pytest.raises(SessionNotFound):
            manager.get_session(session_id, "ann")
        with pytest.raises(SessionNotFound):
            await manager.restart_session(session_id, "ann")

    async def test_api_keys(self, manager):
        session = await manager.create_session("ann", 1)
        first = session.api_key
        assert manager.authenticate(first).session_id == session.session_id
        second = await session.issue_api_key()
        assert (session.api_key, manager.authenticate(second).user_id) == (second, "ann")
        for wrong in (
            first,
            second[:-1],
            second + "x",
            "pp_x_y",
            "",
            "pp_",
            None,
            5,
            b"pp_x_y",
            "\ud800",
            "x" * 999,
        ):
            with pytest.raises(AuthenticationError) as refused:
                manager.authenticate(wrong)
            assert not wrong or not isinstance(wrong, str) or wrong not in str(refused.value)


class TestCosts:
    """Figures: pages, finding and clean-up cost the same at any size, because nothing is scanned or sorted."""

    def plans(self, manager, monkeypatch, ask):
        """How each query that ``ask`` asks would be answered."""
        seen = []
        rows = Reads.rows

        def planned(reads, sql, values=()):
            seen.append([row[3] for row in rows(reads, f"EXPLAIN QUERY PLAN {sql}", values)])
            return []

        with monkeypatch.context() as patched:
            patched.setattr(Reads, "rows", planned)
            ask(store_of(manager).reads)
        return seen[0]

    @pytest.mark.parametrize("owner", ["ann", None])
    @pytest.mark.parametrize("tag", ["t", None])
    @pytest.mark.parametrize("states", [(0,), (0, 1), (0, 1, 2, 3)])
    @pytest.mark.parametrize("live_at_ms", [START_MS, None])
    async def test_a_page(self, owner, tag, states, live_at_ms, manager, monkeypatch):
        chosen = [SessionState(state) for state in states]
        steps = self.plans(
            manager,
            monkeypatch,
            lambda reads: reads.sessions(owner=owner, states=chosen, tag=tag, live_at_ms=live_at_ms),
        )
        assert not [step for step in steps if "TEMP B-TREE" in step]
        scans = [step for step in steps if step.startswith("SCAN") and "subquery" not in step]
        assert scans == []

    async def test_the_queues_of_the_clean_up(self, manager, monkeypatch):
        assert self.plans(manager, monkeypatch, lambda reads: reads.due_sessions(0, 10)) == [
            "SEARCH session USING COVERING INDEX session_due (due_ms<?)"
        ]
        assert self.plans(manager, monkeypatch, lambda reads: reads.unseen_sessions(0, 10)) == [
            "SEARCH session USING COVERING INDEX session_seen (seen_ms<?)"
        ]

    async def test_finding_a_funded_one(self, manager):
        assert plan(store_of(manager), reuse._FUNDED, ("ann", "USD", 0)) == [
            "SEARCH account USING INDEX account_by_owner_state (owner=? AND state=?)"
        ]

    async def test_another_idle_age(self, manager):
        steps = plan(store_of(manager), reuse._NEXT_LIVE, ("", 10))
        assert [step for step in steps if "account" in step] == [
            "SEARCH account USING COVERING INDEX account_by_state (state=? AND session_id>?)"
        ] * 2

    @pytest.mark.slow
    async def test_cleaning_up_1_000_of_100_000_looks_at_1_000(self, manager, clock, monkeypatch):
        for part in range(100):
            opening = [
                manager.create_session(
                    f"user{part}", 1, expires_at=timedelta(seconds=1 if number < 10 else 50)
                )
                for number in range(1_000)
            ]
            await asyncio.gather(*opening)
        counting = Counting(monkeypatch, store_of(manager))
        clock.advance(1)
        assert len(await manager.cleanup_old_sessions()) == 1_000
        assert len(counting.looks) == 1_000


class TestNumbers:
    """Spec B10, C8, C9, A7."""

    async def test_of_a_session_and_its_chats(self, manager, clock):
        session = await manager.create_session("ann", 1_000, expires_at=timedelta(hours=1))
        first, second = [await session.create_new_chat() for _ in range(2)]
        clock.advance(5)
        answer = await first.send_message("count to 3")
        stats = await manager.get_session_stats(session.session_id, "ann")
        assert (stats.session_id, stats.user_id, stats.chat_count, stats.total_messages) == (
            session.session_id,
            "ann",
            2,
            2,
        )
        assert (stats.funded, stats.available, stats.held, stats.spent, stats.refunded) == (
            1_000,
            1_000 - answer.cost,
            0,
            answer.cost,
            0,
        )
        assert (stats.request_count, stats.last_activity - stats.created_at) == (1, timedelta(seconds=5))
        assert stats.expires_at - stats.created_at == timedelta(hours=1)
        figures = await first.get_stats()
        assert (figures.chat_id, figures.message_count, figures.turn_count, figures.spent) == (
            first.chat_id,
            2,
            1,
            answer.cost,
        )
        assert figures.last_message == stats.last_activity
        assert figures.average_response_time >= 0
        assert (await second.get_stats()).last_message is None
        (line,) = await session.get_usage()
        assert (line.chat_no, line.model, line.requests, line.spent) == (1, "offline", 1, answer.cost)

    async def test_of_the_system_and_a_user(self, manager, clock):
        empty = await manager.get_system_stats()
        assert (empty.active_sessions, empty.oldest_session, empty.average_chats_per_session) == (
            0,
            None,
            0.0,
        )
        assert (await manager.get_user_activity("ann")).last_activity is None
        sessions = []
        for user in ("ann", "ann", "bob"):
            sessions.append(await manager.create_session(user, 1_000))
            clock.advance(1)
        await asyncio.gather(*(session.send_message("count to 3") for session in sessions[:2]))
        await sessions[0].create_new_chat()
        await sessions[1].close()
        stats = await manager.get_system_stats()
        assert (stats.active_sessions, stats.active_users, stats.active_chats) == (2, 2, 2)
        assert stats.average_chats_per_session == 1.0
        assert (stats.newest_session - stats.oldest_session) == timedelta(seconds=2)
        assert (stats.available, stats.held, stats.spent) == (1_991, 0, 9)
        activity = await manager.get_user_activity("ann")
        assert (activity.total_sessions, activity.active_sessions, activity.total_chats) == (2, 1, 3)
        assert (activity.total_messages, activity.spent, activity.refunded) == (4, 18, 991)
        assert manager.get_user_session_count("ann") == 2

    async def test_a_repr_never_raises(self, manager):
        session = await manager.create_session("ann", 1)
        forged = type(session)(manager._workspace, type(session._payer)(session.session_id, "eve", "USD"))
        assert repr(forged) == f"<Session {session.session_id} of 'eve': session_not_found>"
        gone = type(session)(manager._workspace, type(session._payer)("ses_x", "eve", "USD"))
        with pytest.raises(SessionNotFound):
            _ = gone.record
