"""Nonsense handed to managers and sessions is refused, and opens, pays and writes nothing (issue 2, point 9)."""

from __future__ import annotations

from datetime import datetime

import pytest

from managers import opened
from prepaid import (
    AgentConfig,
    ConfigError,
    InvalidAmount,
    InvalidRequestError,
    ModelNotSupported,
    OfflineModel,
    verify_statement,
)
from prepaid.sessions.values import shown


@pytest.fixture
async def manager(tmp_path):
    async with opened(tmp_path / "a.db") as manager:
        yield manager


@pytest.mark.parametrize(
    "wrong",
    [
        {"user_id": "a\nb"},
        {"fund": 1.5},
        {"fund": float("nan")},
        {"fund": -5},
        {"fund": 0},
        {"fund": True},
        {"fund": "5 EUR"},
        {"fund": 2**63},
        {"session_name": "a\nb"},
        {"session_name": "x" * 257},
        {"metadata": {1: 2}},
        {"preferences": {"a": object()}},
        {"tags": "work"},
        {"expires_at": datetime(2100, 1, 1)},  # noqa: DTZ001 -- naive
        {"auto_save": "yes"},
        {"key": "a b"},
        {"key": "a\nb"},
        {"key": "x" * 256},
    ],
    ids=lambda wrong: shown(wrong)[:40],
)
async def test_a_session_is_not_opened_with_nonsense(wrong, manager):
    with pytest.raises(InvalidRequestError) as refused:
        await manager.create_session(**({"user_id": "ann", "fund": 5} | wrong))
    assert refused.value.remedy
    assert manager.get_user_session_count("ann") == 0


@pytest.mark.parametrize("amount", [1.5, float("inf"), -5, 0, True, None, "5 EUR", "1e99 USD", 2**62 + 1])
async def test_money_that_is_none(amount, manager):
    session = await manager.create_session("ann", 5)
    for call in (session.fund, lambda amount: manager.deposit("ann", amount)):
        with pytest.raises(InvalidAmount):
            await call(amount)
    assert session.available == 5


@pytest.mark.parametrize(
    "call",
    [
        "get_user_session_count",
        "get_user_activity",
        "get_user_sessions",
        "close_all_sessions",
        "get_from_pool",
        "get_or_create_session",
        "start_user_session",
    ],
)
async def test_users_are_checked_everywhere(call, manager):
    async def ask():
        found = getattr(manager, call)("a\nb")
        await found

    with pytest.raises(InvalidRequestError):
        await ask()


class TestStatements:
    """A statement's lines are joined by line feeds, so that nothing in them may contain one (spec D4)."""

    @pytest.mark.parametrize("name", ["a\nb", "", "\0", "x" * 257])
    def test_models_named_so(self, name, tmp_path):
        from prepaid import SessionManager

        with pytest.raises(ConfigError):
            SessionManager(tmp_path / "b.db", models=[OfflineModel(name=name)])

    async def test_providers_named_so(self, manager):
        session = await manager.create_session("ann", 100)
        config = AgentConfig(providers={"mine": OfflineModel(name="a\nb")})
        chat = await session.create_new_chat(agent_config=config)
        with pytest.raises(ConfigError):
            await chat.send_message("Hello")
        with pytest.raises(InvalidRequestError):
            AgentConfig(current_model="a\nb")
        with pytest.raises(ModelNotSupported):
            manager._workspace.models("a\nb")

    async def test_keys_named_so(self, manager):
        session = await manager.create_session("ann", 100)
        chat = await session.create_new_chat()
        for key in ("a\nb", "", " ", "x" * 256, "é"):
            with pytest.raises(InvalidRequestError):
                await session.fund(5, key=key)
            with pytest.raises(InvalidRequestError):
                await chat.send_message("Hello", key=key)
        await session.send_message("count to 3")
        assert verify_statement(await session.get_statement()).spent == 9
