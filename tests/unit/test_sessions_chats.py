"""Chats: several in a session, each with its own history and configuration (spec C3, C4)."""

from __future__ import annotations

import asyncio
import logging

import pytest

from managers import Clock, opened, texts
from prepaid import (
    AgentConfig,
    ChatLimitReached,
    ChatNotFound,
    InvalidRequestError,
    MessageLimitReached,
    OfflineModel,
    SessionAlreadyClosed,
)
from prepaid.records import Role


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


class TestSwitching:
    """Spec C3, C4."""

    async def test_the_newest_is_current_until_another_is(self, session):
        assert session.current_chat is None
        first = await session.create_new_chat(chat_name="One", metadata={"a": 1}, tags=["t"], max_messages=10)
        second = await session.create_new_chat(system_prompt="Be brief.")
        assert session.current_chat.chat_id == second.chat_id
        await session.switch_to_chat(first.chat_id)
        assert session.current_chat.chat_id == first.chat_id
        assert (first.name, first.metadata, first.tags) == ("One", {"a": 1}, ("t",))
        assert (second.name, second.config.system_prompt) == ("Chat 2", "Be brief.")
        assert [chat.chat_no for chat in await session.get_chats()] == [1, 2]

    async def test_histories_never_mix(self, session):
        chats = [await session.create_new_chat(system_prompt=f"You are {n}.") for n in range(3)]
        for number, chat in enumerate(chats * 2):
            await session.switch_to_chat(chat.chat_no)
            answer = await session.send_message(f"Number {number}")
            assert f"You are {number % 3}." in answer.text
        for number, chat in enumerate(chats):
            asked = [each.message.text for each in await chat.get_history() if each.message.role is Role.USER]
            assert asked == [f"Number {number}", f"Number {number + 3}"]

    async def test_questions_at_once_open_one_chat(self, session):
        answers = await asyncio.gather(*(session.send_message(f"Question {n}") for n in range(8)))
        assert len(answers) == 8
        (chat,) = await session.get_chats()
        assert texts(await chat.get_history())[::2] == [f"Question {n}" for n in range(8)]

    @pytest.mark.parametrize(
        "chat_id",
        [
            0,
            -1,
            3,
            2**31,
            2**70,
            True,
            1.0,
            None,
            "",
            "1",
            ".1",
            "ses_x.1",
            "{}.0",
            "{}.x",
            "{}.²",
            "{}.9" * 3,
            "{}." + "9" * 5_000,
            "\ud800",
        ],
        ids=repr,
    )
    async def test_no_such_chat(self, chat_id, session):
        await session.create_new_chat()
        named = chat_id.replace("{}", session.session_id) if isinstance(chat_id, str) else chat_id
        with pytest.raises(ChatNotFound):
            session.get_chat(named)
        with pytest.raises(ChatNotFound):
            await session.switch_to_chat(named)

    async def test_only_so_many(self, session):
        """Spec C3."""
        for _ in range(4):
            await session.create_new_chat()
        with pytest.raises(ChatLimitReached) as refused:
            await session.create_new_chat()
        assert (refused.value.limit_name, refused.value.limit) == ("max_chats_per_session", 4)

    async def test_only_so_many_messages(self, session):
        chat = await session.create_new_chat(max_messages=4)
        for _ in range(2):
            await chat.send_message("Hello")
        with pytest.raises(MessageLimitReached):
            await chat.send_message("Hello")
        await chat.clear_history()
        await chat.send_message("Hello")
        assert (await chat.get_stats()).message_count == 2


class TestConfiguring:
    async def test_from_the_next_turn_on(self, session, tmp_path):
        chat = await session.create_new_chat(system_prompt="Old.")
        await chat.configure(AgentConfig(system_prompt="New."))
        assert "New." in (await chat.send_message("Hello")).text
        async with opened(tmp_path / "a.db") as other:
            seen = other.get_session(session.session_id).get_chat(chat.chat_no)
            assert seen.config.system_prompt == "New."

    async def test_not_of_a_closed_session(self, session, manager):
        chat = await session.create_new_chat()
        await session.close()
        with pytest.raises(SessionAlreadyClosed):
            await chat.configure(AgentConfig(debug=True))
        assert not manager._workspace._attached

    async def test_providers_of_ones_own(self, session, tmp_path):
        own = OfflineModel(name="own", script=["From my own."])
        chat = await session.create_new_chat(agent_config=AgentConfig(providers={"mine": own}))
        assert (await chat.send_message("Hello")).text == "From my own."
        async with opened(tmp_path / "a.db") as other:
            again = other.get_session(session.session_id).get_chat(chat.chat_no)
            with pytest.raises(InvalidRequestError, match="attach"):
                await again.send_message("Hello")
            again.attach(providers={"mine": OfflineModel(name="own", script=["Again."])})
            assert (await again.send_message("Hello")).text == "Again."

    async def test_debug_logs_figures_and_never_words(self, session, caplog, tmp_path):
        chat = await session.create_new_chat(agent_config=AgentConfig(debug=True))
        async with opened(tmp_path / "a.db") as other:  # debug is kept: another process logs as well
            again = other.get_session(session.session_id).get_chat(chat.chat_no)
            with caplog.at_level(logging.INFO, "prepaid"):
                await again.send_message("My secret")
        assert chat.chat_id in caplog.text
        assert "secret" not in caplog.text

    async def test_live_parts_of_ended_sessions_are_forgotten(self, manager, tmp_path):
        workspace = manager._workspace
        config = AgentConfig(debug=True)
        async with opened(tmp_path / "a.db") as other:
            for number in range(200):
                session = await manager.create_session(f"user{number}", 1)
                await session.create_new_chat(agent_config=config)
                await other.close_session(session.session_id, session.user_id)
        assert len(workspace._attached) <= 65

    async def test_live_parts_can_be_taken_off(self, session, manager):
        chat = await session.create_new_chat(agent_config=AgentConfig(debug=True))
        await chat.configure(AgentConfig())
        assert not manager._workspace.attached(session.session_id, 1).debug

    async def test_turn_locks_go_when_nobody_waits(self, session, manager):
        chat = await session.create_new_chat()
        await asyncio.gather(*(chat.send_message("Hello") for _ in range(5)))
        assert not manager._workspace._turn_locks


@pytest.mark.parametrize(
    "text", ["", None, 5, b"x", "\ud800", "x" * (4 * 1024 * 1024 + 1)], ids=lambda x: repr(x)[:12]
)
async def test_messages_that_are_none(text, session):
    chat = await session.create_new_chat()
    with pytest.raises(InvalidRequestError):
        await chat.send_message(text)
    assert session.account.request_count == 0


@pytest.mark.parametrize("field", ["limit", "before"])
@pytest.mark.parametrize("number", [0, -1, True, 1.5, float("nan"), 2**40, "3"])
async def test_pages_that_are_none(field, number, session):
    chat = await session.create_new_chat()
    with pytest.raises(InvalidRequestError):
        await chat.get_history(**{field: number})


@pytest.mark.parametrize("number", [0, -1, True, 1.5, float("nan"), 2**40, "3"])
async def test_limits_that_are_none(number, session):
    with pytest.raises(InvalidRequestError):
        await session.create_new_chat(max_messages=number)
    chat = await session.create_new_chat()
    with pytest.raises(InvalidRequestError):
        await chat.send_message("Hello", max_output_tokens=number)
    assert session.record.chat_count == 1
