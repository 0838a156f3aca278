"""The pool: leases with a deadline and a cap, and takers who see their own chats only (spec B7, B8, B10)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from managers import START_MS, Clock, opened, plan, store_of, texts, told
from prepaid import (
    AgentConfig,
    AlreadyPooled,
    ChatLimitReached,
    ChatNotFound,
    InvalidAmount,
    InvalidRequestError,
    LeaseCapReached,
    LeaseNotFound,
    PoolEmpty,
    PoolFull,
    SessionNotFound,
    SessionPaused,
    SessionPooled,
)
from prepaid.store.sqlite.unit import Unit


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def manager(tmp_path, clock):
    async with opened(tmp_path / "a.db", clock=clock, pool_size=2, max_chats_per_session=5) as manager:
        yield manager


@pytest.fixture
async def session(manager):
    session = await manager.create_session("ann", "1 USD")
    await session.add_to_pool(cap=500)
    return session


async def test_sharing(manager):
    """Spec B7, B10, B12."""
    sessions = [await manager.create_session("ann", 10) for _ in range(3)]
    seen = told(manager)
    for session in sessions[:2]:
        await manager.add_to_pool(session.session_id, "ann")
    assert seen == [SessionPooled(session.session_id, "ann") for session in sessions[:2]]
    with pytest.raises(AlreadyPooled):
        await sessions[0].add_to_pool()
    with pytest.raises(PoolFull):
        await sessions[2].add_to_pool()
    with pytest.raises(SessionNotFound):
        await manager.add_to_pool(sessions[2].session_id, "bob")
    status = manager.get_pool_status()
    assert (status.pooled, status.leased, status.capacity) == (2, 0, 2)
    await sessions[0].remove_from_pool()
    await sessions[2].add_to_pool()


class TestTakers:
    """Spec B8."""

    async def test_what_they_spend_is_theirs_and_bounded(self, manager, session):
        async with await manager.get_from_pool("bob") as leased:
            assert manager.get_pool_status().leased == 1
            answer = await leased.send_message("count to 10")
            assert leased.spent == answer.cost
            with pytest.raises(LeaseCapReached):
                await leased.send_message("word " * 600)
            assert (await leased.send_message("count to 10000")).is_lowered
            assert leased.spent <= 500
        assert manager.get_pool_status().leased == 0
        spenders = {line.actor: line.spent for line in await session.get_usage()}
        assert spenders == {"bob": leased.spent}

    async def test_each_has_a_cap_of_its_own(self, manager, session):
        for taker in ("bob", "cyd", "bob"):
            async with await manager.get_from_pool(taker) as leased:
                assert (await leased.send_message("count to 200")).usage.output_tokens == 200

    async def test_they_see_their_own_chats_only(self, manager, session):
        owners = await session.create_new_chat(chat_name="Private")
        await owners.send_message("My secret")
        async with await manager.get_from_pool("bob") as leased:
            assert await leased.get_chats() == []
            first = await leased.create_new_chat(chat_name="Bob's", system_prompt="Be Bob.")
            second = await leased.create_new_chat(agent_config=AgentConfig(debug=True))
            assert [chat.name for chat in await leased.get_chats()] == ["Bob's", "Chat 3"]
            for chat_id in (owners.chat_id, owners.chat_no, "x", 99):
                with pytest.raises(ChatNotFound):
                    leased.get_chat(chat_id)
                with pytest.raises(ChatNotFound):
                    await leased.switch_to_chat(chat_id)
            await leased.send_message("In the newest")
            await leased.switch_to_chat(first.chat_id)
            assert "Be Bob." in (await leased.send_message("In the first")).text
            assert texts(await second.get_history())[0] == "In the newest"
        async with await manager.get_from_pool("cyd") as leased:
            assert await leased.get_chats() == []
        async with await manager.get_from_pool("bob") as leased:
            assert [chat.chat_no for chat in await leased.get_chats()] == [2, 3]
        assert len(await session.get_chats()) == 3

    async def test_what_is_current_for_the_owner_stays(self, manager, session):
        owners = await session.create_new_chat()
        async with await manager.get_from_pool("bob") as leased:
            await leased.send_message("From Bob")
            await session.send_message("From Ann")
            assert session.current_chat.chat_id == owners.chat_id
        assert texts(await owners.get_history())[0] == "From Ann"

    async def test_the_first_questions_of_both_open_a_chat_each(self, manager, session):
        async with await manager.get_from_pool("bob") as leased:
            await leased.send_message("From Bob")
            await session.send_message("From Ann")
        assert [texts(await chat.get_history())[0] for chat in await session.get_chats()] == [
            "From Bob",
            "From Ann",
        ]

    async def test_questions_at_once_open_one_chat(self, manager, session):
        async with await manager.get_from_pool("bob") as leased:
            await asyncio.gather(*(leased.send_message(f"count to {n}") for n in range(1, 6)))
            (chat,) = await leased.get_chats()
            assert texts(await chat.get_history())[::2] == [f"count to {n}" for n in range(1, 6)]

    async def test_they_configure_and_clear_their_own(self, manager, session):
        async with await manager.get_from_pool("bob") as leased:
            chat = await leased.create_new_chat()
            await chat.configure(AgentConfig(system_prompt="New."))
            assert "New." in (await chat.send_message("Hello")).text
            await chat.clear_history()
            assert await chat.get_history() == []
        for refused in (chat.configure(AgentConfig()), chat.clear_history(), chat.send_message("Hello")):
            with pytest.raises(LeaseNotFound):
                await refused

    async def test_their_chats_count(self, manager, session):
        async with await manager.get_from_pool("bob") as leased:
            for _ in range(5):
                await leased.create_new_chat()
            with pytest.raises(ChatLimitReached):
                await leased.create_new_chat()

    async def test_a_retry_gets_the_same_answer(self, manager, session):
        """Spec D3."""
        async with await manager.get_from_pool("bob") as leased:
            first = await leased.send_message("count to 3", key="k")
            again = await leased.send_message("count to 3", key="k")
            assert (again.replayed, again.text, leased.spent) == (True, first.text, first.cost)

    async def test_the_owner_may_pause_it(self, manager, session):
        async with await manager.get_from_pool("bob") as leased:
            await session.pause()
            with pytest.raises(SessionPaused):
                await leased.send_message("Hello")
        with pytest.raises(PoolEmpty):
            await manager.get_from_pool("bob")


class TestDeadlines:
    """Spec B8: a taker who vanishes does not drain the pool."""

    async def test_who_vanishes_loses_it(self, manager, session, clock):
        gone = await manager.get_from_pool("bob", lasts=timedelta(seconds=30))
        assert gone.expires_at == datetime.fromtimestamp(START_MS / 1000 + 30, UTC)
        await gone.send_message("count to 3")
        with pytest.raises(PoolEmpty):
            await manager.get_from_pool("cyd")
        clock.advance(30)
        assert manager.get_pool_status().leased == 0
        for refused in (
            gone.send_message("Hello"),
            gone.create_new_chat(),
            gone.stream_message("x").__anext__(),
        ):
            with pytest.raises(LeaseNotFound):
                await refused
        async with await manager.get_from_pool("cyd") as leased:
            assert leased.session_id == session.session_id
            with pytest.raises(LeaseNotFound):
                await gone.give_back()
            assert (await leased.send_message("count to 3")).cost > 0

    async def test_an_answer_that_comes_after_it_is_paid(self, manager, session, clock):
        gone = await manager.get_from_pool("bob", lasts=1)
        stream = gone.stream_message("count to 3")
        await anext(stream)
        clock.advance(1)
        answer = [event async for event in stream][-1]
        assert (answer.text, gone.spent) == ("1 2 3", answer.cost)

    async def test_giving_back_late_is_no_error(self, manager, session, clock, caplog):
        async with await manager.get_from_pool("bob", lasts=1) as leased:
            clock.advance(1)
            async with await manager.get_from_pool("cyd"):
                pass
        with pytest.raises(LeaseNotFound):
            await leased.give_back()

    @pytest.mark.parametrize(
        "lasts", [0, -1, 86_401, timedelta(days=2), float("nan"), float("inf"), True, "5", 10**400]
    )
    async def test_bounds(self, lasts, manager, session):
        with pytest.raises(InvalidRequestError):
            await manager.get_from_pool("bob", lasts=lasts)
        assert manager.get_pool_status().leased == 0


@pytest.mark.parametrize("cap", [0, -1, 1.5, True, float("nan"), "1 EUR", 2**80])
async def test_caps_that_are_none(cap, manager):
    session = await manager.create_session("ann", 10)
    with pytest.raises(InvalidAmount):
        await session.add_to_pool(cap=cap)


async def test_a_lease_that_nobody_made(manager, session):
    leased = await manager.get_from_pool("bob")
    forged = type(leased)(
        manager._workspace,
        type(leased.lease)(session.session_id, "lease_x", "ann", "eve", None, 2**60),
        "USD",
    )
    with pytest.raises(LeaseNotFound):
        _ = forged.spent
    with pytest.raises(LeaseNotFound):
        await forged.create_new_chat()


async def test_taking_costs_the_same_at_any_number_of_sessions(manager):
    """The pool is read in its own order; the sessions that are active, however many, are not."""
    steps = plan(store_of(manager), Unit.sql.free_in_pool, (0,))
    assert steps == ["SCAN pool USING INDEX pool_free", "SEARCH account USING PRIMARY KEY (session_id=?)"]
