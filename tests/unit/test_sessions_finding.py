"""Finding and counting sessions, at the same cost at any size (spec B10, C7, C8, C9)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from managers import START_MS, Clock, opened, plan, store_of
from prepaid import (
    AuthenticationError,
    InvalidRequestError,
    SessionNotFound,
    SessionState,
)
from prepaid.store.handlers import reuse
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
        assert (await manager.authenticate(first)).session_id == session.session_id
        second = (await manager.rotate_api_key(first[:-33])).api_key
        assert (await manager.authenticate(second)).user_id == "ann"
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
                await manager.authenticate(wrong)
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
