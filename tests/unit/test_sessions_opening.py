"""Opening sessions: found or created, restarted, within limits, once per key (spec A2, A8, B1, B2, C1, C2, C11)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from managers import START_MS, Clock, opened, store_of, told
from prepaid import (
    BalanceTooLow,
    ConfigError,
    InsufficientFunds,
    InvalidRequestError,
    SessionAlreadyClosed,
    SessionClosed,
    SessionCreated,
    SessionExpired,
    SessionLimitReached,
    SessionManager,
    SessionState,
)
from prepaid.config import Settings


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def manager(tmp_path, clock):
    async with opened(tmp_path / "a.db", clock=clock) as manager:
        yield manager


class TestGetOrCreate:
    """Spec B2."""

    async def test_one_that_is_found_is_used(self, manager, clock):
        first = await manager.create_session("ann", 10)
        clock.advance(5)
        found = await manager.get_or_create_session("ann", 99)
        assert (found.session_id, found.api_key, found.available) == (first.session_id, None, 10)
        stats = await found.get_stats()
        assert stats.request_count == 1
        assert stats.last_activity == datetime.fromtimestamp(START_MS / 1000 + 5, UTC)

    async def test_calls_at_once_get_one(self, manager):
        seen = told(manager)
        found = await asyncio.gather(*(manager.get_or_create_session("ann", 50) for _ in range(64)))
        assert len({session.session_id for session in found}) == 1
        assert manager.get_user_session_count("ann") == 1
        assert [type(event) for event in seen] == [SessionCreated]
        assert len([session for session in found if session.api_key]) == 1

    async def test_calls_at_once_in_two_managers_get_one(self, manager, tmp_path):
        async with opened(tmp_path / "a.db") as other:
            calls = [each.get_or_create_session("ann", 50) for each in (manager, other) for _ in range(8)]
            assert len({session.session_id for session in await asyncio.gather(*calls)}) == 1

    async def test_only_one_that_can_pay(self, manager, clock):
        paused, closed = [await manager.create_session("ann", 10) for _ in range(2)]
        empty = await manager.create_session("ann")
        brief = await manager.create_session("ann", 10, expires_at=timedelta(seconds=1))
        await paused.pause()
        await closed.close()
        clock.advance(1)
        found = await manager.get_or_create_session("ann", 7)
        assert found.session_id not in {each.session_id for each in (paused, closed, empty, brief)}
        assert found.available == 7

    async def test_the_money_comes_from_the_deposit(self, manager):
        """Spec A4."""
        with pytest.raises(InsufficientFunds):
            await manager.get_or_create_session("ann")
        await manager.deposit("ann", 30)
        assert (await manager.get_or_create_session("ann")).available == 30

    async def test_no_more_than_the_minimum_of_the_deposit(self, manager):
        await manager.update_config(minimum_balance=20)
        await manager.deposit("ann", 30)
        assert (await manager.get_or_create_session("ann")).available == 20
        with pytest.raises(BalanceTooLow):
            await manager.get_or_create_session("bob", 19)

    async def test_none_in_another_currency(self, tmp_path, manager):
        dollars = await manager.create_session("ann", 10)
        async with opened(tmp_path / "a.db", top={"currency": "EUR"}) as other:
            euros = await other.get_or_create_session("ann", 10)
            assert euros.session_id != dollars.session_id


class TestRestart:
    """Spec A8."""

    async def test_what_it_keeps(self, manager):
        given = {"session_name": "n", "metadata": {"a": 1}, "preferences": {"b": None}, "tags": ["t"]}
        old = await manager.create_session("ann", 50, expires_at=timedelta(hours=1), auto_save=False, **given)
        chat = await old.create_new_chat()
        await chat.send_message("count to 3")
        left = old.available
        new = await manager.restart_session(old.session_id, "ann")
        assert (new.name, new.metadata, new.preferences, new.tags) == ("n", {"a": 1}, {"b": None}, ("t",))
        assert (new.record.expires_ms, new.record.auto_save) == (old.record.expires_ms, False)
        assert (new.available, await new.get_chats()) == (left, [])
        assert (old.state, old.account.refunded) == (SessionState.CLOSED, left)
        assert len(await chat.get_history()) == 2
        assert (await manager.authenticate(new.api_key)).session_id == new.session_id

    async def test_it_tells_of_both(self, manager):
        """Spec B12."""
        old = await manager.create_session("ann", 50)
        seen = told(manager)
        new = await manager.restart_session(old.session_id, "ann", key="again")
        assert seen == [
            SessionClosed(old.session_id, "ann", 50, 0, expired=False),
            SessionCreated(new.session_id, "ann", 50),
        ]
        again = await manager.restart_session(old.session_id, "ann", key="again")
        assert (again.session_id, again.api_key) == (new.session_id, None)
        assert len(seen) == 2

    async def test_what_is_in_flight_stays_with_the_old_one(self, manager):
        old = await manager.create_session("ann", 50)
        held = await manager._workspace.ledger.hold(old.session_id, "ann", 20, sent=True)
        seen = told(manager)
        new = await manager.restart_session(old.session_id, "ann")
        assert (new.available, seen[0].refund, seen[0].held) == (30, 30, 20)
        await manager._workspace.ledger.capture(old.session_id, held.key, 5)
        assert (old.account.refunded, old.account.spent) == (45, 5)

    @pytest.mark.parametrize("ended", ["closed", "expired"])
    async def test_not_of_what_has_ended(self, ended, manager, clock):
        old = await manager.create_session("ann", 50, expires_at=timedelta(hours=1))
        if ended == "closed":
            await old.close()
        clock.advance(3_600)
        with pytest.raises(SessionAlreadyClosed if ended == "closed" else SessionExpired):
            await manager.restart_session(old.session_id, "ann")
        assert manager.get_user_session_count("ann") == 1

    async def test_its_live_parts_are_let_go(self, manager):
        from prepaid import AgentConfig

        old = await manager.create_session("ann", 50)
        await old.create_new_chat(agent_config=AgentConfig(debug=True))
        await manager.restart_session(old.session_id, "ann")
        assert not manager._workspace._attached


class TestLimits:
    """Spec C1, C11."""

    async def test_each_is_named(self, tmp_path):
        async with opened(tmp_path / "a.db", max_active_sessions=3, max_sessions_per_user=2) as manager:
            ann = [await manager.create_session("ann", 1) for _ in range(2)]
            with pytest.raises(SessionLimitReached, match="max_sessions_per_user") as refused:
                await manager.create_session("ann", 1)
            assert (refused.value.limit_name, refused.value.limit) == ("max_sessions_per_user", 2)
            await manager.create_session("bob", 1)
            with pytest.raises(SessionLimitReached, match="max_active_sessions"):
                await manager.create_session("cyd", 1)
            await ann[0].pause()  # which is live, but not active
            with pytest.raises(SessionLimitReached, match="max_sessions_per_user"):
                await manager.create_session("ann", 1)
            await manager.create_session("cyd", 1)

    async def test_what_is_due_stands_in_nobodys_way(self, tmp_path, clock):
        limits = {"max_sessions_per_user": 2, "max_active_sessions": 2, "session_timeout": 60}
        async with opened(tmp_path / "a.db", clock=clock, **limits) as manager:
            await manager.create_session("ann", 5, expires_at=timedelta(seconds=1))
            idle = await manager.create_session("bob", 5)
            clock.advance(1)
            seen = told(manager)
            await manager.create_session("cyd", 1)
            assert [(type(event), event.user_id) for event in seen] == [
                (SessionClosed, "ann"),
                (SessionCreated, "cyd"),
            ]
            clock.advance(60)
            await manager.create_session("cyd", 1)
            assert idle.state is SessionState.EXPIRED

    async def test_what_was_refused_leaves_nothing(self, tmp_path):
        async with opened(tmp_path / "a.db", max_sessions_per_user=1) as manager:
            await manager.create_session("ann", 1)
            count = "SELECT count(*) FROM operation"
            before = store_of(manager).reads.row(count)
            for _ in range(5):
                with pytest.raises(SessionLimitReached):
                    await manager.create_session("ann", 1)
            assert store_of(manager).reads.row(count) == before

    async def test_many_at_once(self, manager):
        """Spec C13."""
        users = [f"user{number}" for number in range(20)]
        opening = [manager.create_session(user, 100) for user in users for _ in range(10)]
        sessions = await asyncio.gather(*opening)
        chats = await asyncio.gather(*(each.create_new_chat() for each in sessions for _ in range(3)))
        assert len({session.session_id for session in sessions}) == 200
        assert len({chat.chat_id for chat in chats}) == 600
        assert all(session.record.chat_count == 3 for session in sessions)
        assert len(await manager.get_user_sessions("user7")) == 10


def test_settings_and_arguments_do_not_mix(tmp_path):
    with pytest.raises(ConfigError, match="database, max_active_sessions"):
        SessionManager(tmp_path / "a.db", max_active_sessions=1, settings=Settings())


async def test_a_bad_expiry_opens_nothing(manager):
    with pytest.raises(InvalidRequestError):
        await manager.create_session("ann", 5, expires_at=datetime(2020, 1, 1))  # noqa: DTZ001 -- the point
    assert manager.get_user_session_count("ann") == 0
