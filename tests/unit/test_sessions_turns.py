"""Turns of chats: in order, paid and saved whole, once per key, whoever goes away (spec C5, C12, D1, D3)."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta

import pytest

from managers import Clock, opened, store_of, texts, told
from prepaid import (
    AgentConfig,
    AIRequestFailed,
    AIResponseReceived,
    Answer,
    IdempotencyConflict,
    InsufficientFunds,
    ModelNotSupported,
    OfflineModel,
    ProviderError,
    ProviderStreamBroken,
    SessionExpired,
    SessionPaused,
)
from prepaid.models.offline import count_tokens
from prepaid.records import Message, Role
from prepaid.store.operations import AppendMessages


@pytest.fixture
def model():
    return OfflineModel()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def manager(tmp_path, model, clock):
    async with opened(tmp_path / "a.db", models=[model], clock=clock, max_chats_per_session=4) as manager:
        yield manager


@pytest.fixture
async def session(manager):
    return await manager.create_session("ann", "1 USD")


class TestTurns:
    """Spec C5."""

    async def test_order_within_a_process(self, session):
        chat = await session.create_new_chat()
        answers = await asyncio.gather(*(chat.send_message(f"count to {n}") for n in range(1, 33)))
        assert [answer.usage.output_tokens for answer in answers] == [*range(1, 33)]
        history = texts(await chat.get_history(limit=64))
        assert history[::2] == [f"count to {n}" for n in range(1, 33)]
        assert history[1::2] == [answer.text for answer in answers]

    async def test_64_tasks_with_failures_and_cancellations(self, session, model):
        """Nothing lost, every answer right after its question, and what failed left nothing."""
        chat = await session.create_new_chat()
        model.script.extend(["", ProviderError("down"), ("Half", ProviderStreamBroken("gone"))] * 4)
        tasks = [asyncio.ensure_future(chat.send_message(f"Q{n}")) for n in range(64)]
        await asyncio.sleep(0)
        for task in tasks[20:60:10]:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in outcomes[:12]] == [Answer, ProviderError, ProviderStreamBroken] * 4
        assert all(isinstance(each, asyncio.CancelledError) for each in outcomes[20:60:10])
        answered = [(f"Q{n}", each.text) for n, each in enumerate(outcomes) if isinstance(each, Answer)]
        history = texts(await chat.get_history(limit=200))
        assert [*zip(history[::2], history[1::2], strict=True)] == answered
        assert (await chat.get_stats()).turn_count == len(answered) == 52

    async def test_context_is_kept_across_restarts(self, tmp_path, session):
        chat = await session.create_new_chat()
        await chat.send_message("My name is Ann.")
        async with opened(tmp_path / "a.db") as other:
            again = other.get_session(session.session_id, "ann").get_chat(chat.chat_id)
            assert "My name is Ann." in (await again.send_message("What did I say?")).text
            assert await again.get_last_response() == (await again.get_history())[-1].message.text

    async def test_the_context_is_whole_turns(self, tmp_path):
        async with opened(tmp_path / "b.db", top={"context_messages": 3}) as manager:
            session = await manager.create_session("ann", "1 USD")
            chat = await session.create_new_chat(system_prompt="System")
            for number in range(3):
                answer = await chat.send_message(f"Number{number}")
            seen = "System Number1 Number2"  # and the answer between them
            sentence = await chat.get_history(limit=3)
            assert answer.usage.input_tokens == len(seen.split()) + count_tokens(sentence[0].message.text)

    async def test_pages_of_history(self, session):
        chat = await session.create_new_chat()
        for number in range(5):
            await chat.send_message(f"count to {number + 1}")
        page = await chat.get_history(limit=4)
        assert [stored.seq for stored in page] == [7, 8, 9, 10]
        before = await chat.get_history(limit=4, before=page[0].seq)
        assert [(stored.seq, stored.turn) for stored in before] == [(3, 2), (4, 2), (5, 3), (6, 3)]
        assert await chat.get_history(before=1) == []

    async def test_no_answer_yet(self, session):
        chat = await session.create_new_chat()
        assert await chat.get_last_response() is None
        assert (await chat.get_stats()).average_response_time is None

    async def test_the_last_answer_may_not_be_the_last_message(self, manager, session):
        chat = await session.create_new_chat()
        answer = await chat.send_message("count to 3")
        added = AppendMessages(session.session_id, "ann", chat.chat_no, (Message(Role.USER, "Imported"),))
        await store_of(manager).submit(added)
        assert await chat.get_last_response() == answer.text

    async def test_an_answer_in_time(self, manager, session):
        """A request in flight outlives pause, close and expiry, and is paid (spec A6)."""
        chat = await session.create_new_chat()
        stream = chat.stream_message("count to 3")
        async with aclosing(stream):
            await anext(stream)
            closed = await session.close()
            assert closed.held > 0
            answer = [event async for event in stream][-1]
        assert answer.text == "1 2 3"
        account = session.account
        assert (account.available, account.spent, account.funded) == (0, answer.cost, 1_000_000)
        assert texts(await chat.get_history()) == ["count to 3", "1 2 3"]

    async def test_expiry_while_an_answer_comes(self, manager, clock):
        session = await manager.create_session("ann", 1_000, expires_at=timedelta(hours=1))
        stream = session.stream_message("count to 3")
        async with aclosing(stream):
            await anext(stream)
            clock.advance(3_600)
            (closed,) = await manager.cleanup_old_sessions()
            assert closed.held > 0
            with pytest.raises(SessionExpired):
                await session.create_new_chat()
            answer = [event async for event in stream][-1]
        assert session.account.refunded == 1_000 - answer.cost


class TestKeys:
    """Spec D3."""

    async def test_the_same_answer_once(self, session, manager):
        chat = await session.create_new_chat()
        seen = told(manager)
        answers = await asyncio.gather(*(chat.send_message("count to 3", key="k") for _ in range(8)))
        assert [answer.replayed for answer in answers] == [False] + [True] * 7
        assert {answer.text for answer in answers} == {"1 2 3"}
        await chat.send_message("Something else")
        again = await chat.send_message("count to 3", key="k")
        assert (again.replayed, again.cost) == (True, answers[0].cost)
        assert (await chat.get_stats()).turn_count == 2
        assert [type(event) for event in seen] == [AIResponseReceived] * 2

    async def test_other_words_conflict(self, session):
        chat = await session.create_new_chat()
        await chat.send_message("count to 3", key="k")
        with pytest.raises(IdempotencyConflict):
            await chat.send_message("count to 4", key="k")
        with pytest.raises(IdempotencyConflict):
            await (await session.create_new_chat()).send_message("count to 3", key="k")
        assert session.account.request_count == 1

    async def test_what_failed_may_be_tried_again(self, session, model):
        """Spec C12."""
        chat = await session.create_new_chat()
        model.script.append(ProviderError("down"))
        with pytest.raises(ProviderError):
            await chat.send_message("count to 3", key="k")
        assert session.available == 1_000_000
        assert (await chat.send_message("count to 3", key="k")).text == "1 2 3"

    async def test_a_full_chat_still_replays(self, session):
        chat = await session.create_new_chat(max_messages=2)
        await chat.send_message("count to 3", key="k")
        assert (await chat.send_message("count to 3", key="k")).replayed


class TestVanishing:
    """A caller that goes away pays for what it was given, and leaves nothing half."""

    @pytest.mark.parametrize("through", ["chat", "session", "lease"])
    async def test_in_mid_stream(self, through, session, manager):
        asker = chat = await session.create_new_chat()
        if through != "chat":
            asker = session
        if through == "lease":
            await session.add_to_pool()
            asker = await manager.get_from_pool("bob")
            chat = await asker.create_new_chat()
        stream = asker.stream_message("count to 100")
        async with aclosing(stream):
            for _ in range(10):
                await anext(stream)
        # Closed means settled: nobody has to wait for a garbage collector.
        assert (session.account.held, session.account.spent) == (0, 3 + 2 * 10)
        assert texts(await chat.get_history()) == ["count to 100", " ".join(str(n) for n in range(1, 11))]
        assert (await chat.send_message("count to 2")).text == "1 2"

    async def test_cancelled_in_mid_answer(self, manager, session, model):
        model.delay_seconds = 0.01
        chat = await session.create_new_chat()
        task = asyncio.ensure_future(chat.send_message("count to 1000"))
        while not any(call.delivered for call in manager._workspace.meter.running):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        history = await chat.get_history()
        assert [stored.message.role for stored in history] == [Role.USER, Role.ASSISTANT]
        assert session.account.held == 0
        assert session.account.spent == (await chat.get_stats()).spent > 0

    async def test_cancelled_while_waiting_for_its_turn(self, session):
        chat = await session.create_new_chat()
        stream = chat.stream_message("count to 5")
        async with aclosing(stream):
            await anext(stream)
            waiting = asyncio.ensure_future(chat.send_message("Never"))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert texts(await chat.get_history()) == ["count to 5", "1"]

    async def test_before_the_first_word(self, session):
        chat = await session.create_new_chat()
        await chat.stream_message("Hello").aclose()
        task = asyncio.ensure_future(chat.send_message("Hello"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (session.available, await chat.get_history()) == (1_000_000, [])


class TestPaying:
    async def test_a_balance_for_one(self, manager):
        """Of 256 at once, in chats of their own or in one, as many are answered as the balance pays for."""
        session = await manager.create_session("ann", 3 + 2 * 3)
        chats = [await session.create_new_chat() for _ in range(4)]
        calls = [chat.send_message("count to 3", max_output_tokens=3) for chat in chats * 64]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in outcomes].count(Answer) == 1
        assert [type(each) for each in outcomes].count(InsufficientFunds) == 255
        assert session.available == 0
        assert sum([len(await chat.get_history()) for chat in chats]) == 2

    async def test_a_failure_is_told_and_costs_nothing(self, session, manager, model):
        """Spec B12, C12."""
        chat = await session.create_new_chat()
        seen = told(manager)
        model.script.append(("Half", ProviderError("down")))
        with pytest.raises(ProviderError):
            await chat.send_message("Hello")
        await session.pause()
        with pytest.raises(SessionPaused):
            await chat.send_message("Hello")
        failures = [
            AIRequestFailed(session.session_id, "ann", chat.chat_id, code)
            for code in ("provider_error", "session_paused")
        ]
        assert seen == failures
        assert (session.account.spent, await chat.get_history()) == (0, [])

    async def test_fallbacks_in_order(self, tmp_path):
        """Spec C12."""
        first, second = (
            OfflineModel(name="first", script=[ProviderError("down")]),
            OfflineModel(name="second", script=["Here I am."]),
        )
        async with opened(tmp_path / "b.db", models=[first, second]) as manager:
            session = await manager.create_session("ann", "1 USD")
            config = AgentConfig(current_model="first", fallback_models=("second",))
            chat = await session.create_new_chat(agent_config=config)
            answer = await chat.send_message("Hello")
            assert (answer.text, answer.model) == ("Here I am.", "second")

    async def test_a_model_nobody_serves(self, session):
        chat = await session.create_new_chat(agent_config=AgentConfig(current_model="gpt-9"))
        with pytest.raises(ModelNotSupported):
            await chat.send_message("Hello")
