"""The examples of seeds 003 and 000, in Python, as their readers would write them."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest

from managers import Clock, opened
from prepaid import (
    AgentConfig,
    ChatLimitReached,
    FileAdapter,
    InsufficientFunds,
    OfflineModel,
    PoolFull,
    ProviderError,
    SessionExpired,
    SessionLimitReached,
    SessionManager,
    SessionNotFound,
)


@pytest.fixture
def database(tmp_path):
    return tmp_path / "app.db"


class TestSeed003:
    async def test_basic_usage(self, database):
        manager = SessionManager(
            database,
            max_active_sessions=3,
            auto_cleanup=True,
            session_timeout=timedelta(minutes=30),
            max_chats_per_session=10,
        )
        try:
            session = await manager.create_session(
                "user123",
                "1 USD",
                session_name="My Work Session",
                metadata={
                    "userAgent": "Browser/1.0",
                    "ipAddress": "192.168.1.100",
                    "tags": ["work", "productivity"],
                },
            )
            assert session.name == "My Work Session"
            first = await session.create_new_chat(
                chat_name="General Chat",
                agent_config=AgentConfig(
                    providers={"offline": OfflineModel()},
                    current_provider="offline",
                    system_prompt="You are a helpful assistant for general questions.",
                ),
            )
            second = await session.create_new_chat(
                chat_name="Code Review",
                system_prompt="You are a senior developer helping with code reviews.",
            )
            await session.switch_to_chat(first.chat_id)
            answer = await session.send_message("Hello! How can you help me today?")
            assert "general questions" in answer.text
            assert "offline" in answer.text, "without a provider it says so (spec C14)"
            await session.switch_to_chat(second.chat_id)
            assert "senior developer" in (await session.send_message("Please review this function…")).text
            stats = await session.get_stats()
            assert (stats.chat_count, stats.total_messages) == (2, 4)
            assert (datetime.now(UTC) - stats.created_at) < timedelta(minutes=5)
            await session.pause()
            await session.resume()
            assert manager.get_user_session_count("user123") == 1
        finally:
            await manager.shutdown()

    async def test_a_conversation_is_remembered(self, database):
        async with opened(database) as manager:
            preferences = {"language": "en", "timezone": "UTC", "theme": "dark"}
            session = await manager.create_session("user456", "1 USD", preferences=preferences)
            chat = await session.create_new_chat(
                chat_name="Main Conversation", system_prompt="Maintain context."
            )
            await chat.send_message("Hello! What can you help me with?")
            assert "Hello! What can you help me with?" in await chat.get_last_response()
            await chat.send_message("What did I say?")
            assert "Hello! What can you help me with?" in await chat.get_last_response()
            assert session.preferences == preferences

    async def test_many_users(self, database):
        async with opened(database, max_active_sessions=50, max_sessions_per_user=5) as manager:
            for user in ("ann", "bob"):
                for _ in range(5):
                    session = await manager.create_session(user, 10)
                    await session.create_new_chat()
                with pytest.raises(SessionLimitReached, match="max_sessions_per_user"):
                    await manager.create_session(user, 10)
            stats = await manager.get_system_stats()
            assert (stats.active_users, stats.active_chats) == (2, 10)
            for session in await manager.get_user_sessions("ann"):
                await session.close()
            assert (await manager.get_system_stats()).active_users == 1

    async def test_persistence_and_recovery(self, tmp_path):
        adapter = FileAdapter(tmp_path / "saved")
        async with SessionManager(tmp_path / "a.db", persistence_adapter=adapter) as manager:
            session = await manager.create_session("ann", "1 USD", session_name="Kept")
            await session.send_message("Remember me")
            await adapter.save(session.session_id, await session.serialize())
        assert [*await adapter.get_user_session_ids("ann")] == [session.session_id]
        async with SessionManager(tmp_path / "b.db", persistence_adapter=adapter) as manager:
            recovered = await manager.recover_user_sessions("ann")
            assert [each.name for each in recovered.sessions] == ["Kept"]
            (chat,) = await recovered.sessions[0].get_chats()
            assert (await chat.get_history())[0].message.text == "Remember me"

    async def test_all_the_options(self, database):
        manager = SessionManager(
            database,
            max_active_sessions=100,
            max_sessions_per_user=10,
            auto_cleanup=True,
            cleanup_interval=10 * 60,
            session_timeout=2 * 60 * 60,
            max_chats_per_session=20,
            logger=logging.getLogger("custom"),
        )
        session = await manager.create_session(
            "user123",
            "1 USD",
            session_name="Customer Support Session",
            metadata={"department": "support", "priority": "high", "customerTier": "premium"},
            preferences={"language": "en-US", "timezone": "America/New_York", "responseStyle": "formal"},
            tags=["support", "urgent", "premium"],
            expires_at=datetime.now(UTC) + timedelta(hours=24),
            auto_save=True,
        )
        chat = await session.create_new_chat(
            chat_name="Technical Support",
            agent_config=AgentConfig(debug=True),
            metadata={"category": "technical", "difficulty": "advanced"},
            system_prompt="You are a technical support specialist…",
            tags=["technical", "support"],
            max_messages=100,
        )
        await chat.send_message("Help!")
        stats = await chat.get_stats()
        assert (stats.message_count, chat.tags) == (2, ("technical", "support"))
        assert stats.average_response_time is not None
        (found,) = await manager.get_user_sessions("user123", tag="urgent", status="active")
        assert found.session_id == session.session_id
        await manager.shutdown()

    async def test_analytics(self, database):
        async with opened(database) as manager:
            session = await manager.create_session("ann", "1 USD")
            await session.send_message("Hello")
            report = await manager.get_user_activity("ann")
            assert (
                report.total_sessions,
                report.active_sessions,
                report.total_chats,
                report.total_messages,
            ) == (1, 1, 1, 2)
            everyone = await manager.get_all_active_sessions()
            assert {each.user_id for each in everyone} == {"ann"}

    async def test_errors_and_a_simpler_chat(self, database):
        """Spec A9, C12: what fails is typed, and the program goes on."""
        down = OfflineModel(name="down", script=[ProviderError("down")])
        async with opened(database, models=[down], max_chats_per_session=1) as manager:
            session = await manager.create_session("user123", "1 USD", session_name="Robust Session")
            chat = await session.create_new_chat(agent_config=AgentConfig(current_model="down"))
            with pytest.raises(ProviderError):
                await chat.send_message("Hello")
            assert session.available == 1_000_000
            with pytest.raises(ChatLimitReached):
                await session.create_new_chat(chat_name="Fallback Chat")
            await chat.configure(AgentConfig())
            assert (await chat.send_message("Hello")).cost > 0

    async def test_many_at_once(self, database):
        """Spec C13."""
        async with opened(database) as manager:
            opening = [
                manager.create_session(user, 100, session_name=f"Session for {user}")
                for user in ("user1", "user2", "user3")
            ]
            sessions = await asyncio.gather(*opening)
            chats = await asyncio.gather(
                *(each.create_new_chat(chat_name="Default Chat") for each in sessions)
            )
            assert [chat.name for chat in chats] == ["Default Chat"] * 3
            closed = await asyncio.gather(*(session.close() for session in sessions))
            assert [each.refunded for each in closed] == [100] * 3


class TestSeed000:
    """The same as the contract's, on a ledger."""

    async def test_create_and_ask(self, database):
        async with opened(database) as manager:
            await manager.update_config(minimum_balance="10 USD")
            session = await manager.create_session("ann", "50 USD")
            again = await manager.get_or_create_session("ann")
            assert again.session_id == session.session_id
            prompts = ["What is AI?", "Explain blockchain", "How does it work?"]
            answers = [await again.send_message(prompt) for prompt in prompts]
            assert all(prompt in answer.text for prompt, answer in zip(prompts, answers, strict=True))

    async def test_pool_renew_and_manage(self, database):
        async with opened(database, pool_size=1) as manager:
            session = await manager.create_session("ann", "50 USD")
            await manager.add_to_pool(session.session_id, "ann")
            status = manager.get_pool_status()
            assert (status.pooled, status.capacity) == (1, 1)
            with pytest.raises(PoolFull, match="pool is full"):
                await (await manager.create_session("bob", 1)).add_to_pool()
            async with await manager.get_from_pool("bob") as leased:
                assert leased.session_id == session.session_id
            renewed = await manager.renew_session(session.session_id, "ann", "25 USD")
            assert renewed.available == 75_000_000
            stats = await manager.get_session_stats(session.session_id, "ann")
            assert (stats.user_id, stats.available, stats.is_active) == ("ann", 75_000_000, True)
            assert manager.get_user_session_count("ann") == 1
            assert [each.refunded for each in await manager.close_all_sessions("ann")] == [75_000_000]
            assert await manager.cleanup_old_sessions() == []

    async def test_common_issues(self, database):
        """Spec B14: each has a cause and a remedy in its message."""
        clock = Clock()
        async with opened(database, clock=clock) as manager:
            with pytest.raises(SessionNotFound, match=r"(?i)session not found.*get_or_create_session"):
                manager.get_session("ses_none", "ann")
            session = await manager.create_session("ann", 1, expires_at=timedelta(minutes=1))
            with pytest.raises(InsufficientFunds, match=r"(?i)insufficient balance.*Fund the session"):
                await session.send_message("Hello")
            clock.advance(61)
            with pytest.raises(SessionExpired, match=r"(?i)session expired.*cleanup_old_sessions"):
                await session.send_message("Hello")
