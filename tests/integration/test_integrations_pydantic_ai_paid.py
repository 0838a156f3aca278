"""Spec D9: agents written for pydantic-ai are persisted, owned and paid."""

from __future__ import annotations

import asyncio

import pytest
from openai import AsyncOpenAI
from pydantic_ai import Agent, Conversation
from pydantic_ai.messages import ModelRequest, ToolReturnPart
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.providers.openai import OpenAIProvider

from prepaid import SessionManager
from prepaid.audit import audit
from prepaid.errors import InsufficientFunds, LeaseCapReached, ModelNotPriced, ModelNotSupported
from prepaid.integrations.pydantic_ai import PrepaidConversationStore, metered
from prepaid.records import ALL_CHAT_APIS, ModelInfo, Price, Unit
from providers.fake_openai import Behaviour, FakeOpenAI

INFO = ModelInfo(
    "fast", Price.flat("USD", Unit.TOKEN, 1_000_000, 2_000_000), 100_000, 1_000, ALL_CHAT_APIS, "fake"
)


@pytest.fixture
async def manager(tmp_path):
    async with SessionManager(tmp_path / "a.db", auto_cleanup=False) as manager:
        yield manager
        report = await manager._workspace.store.report(audit)
        assert report.is_clean, str(report)


@pytest.fixture
async def session(manager):
    return await manager.create_session("ann", 1_000_000)


def add(first: int, second: int) -> int:
    """Add two numbers."""
    return first + second


async def settled(session):
    account = session.account
    assert account.held == 0
    return account.spent


async def test_an_agent_with_tools_is_persisted_owned_and_paid(manager, session):
    """Spec D9, C16: every model call of the loop is paid for."""
    store = PrepaidConversationStore(session)
    agent = Agent(metered(session, "offline"), tools=[add])
    result = await agent.run("use add with 2 and 3", conversation=Conversation(conversation_id="sums"))
    entries = await store.save(result, scope="ann")
    usage = result.usage
    assert usage.requests == 2
    assert await settled(session) == usage.input_tokens + 2 * usage.output_tokens > 0
    (returned,) = [
        part.content
        for entry in entries
        if isinstance(entry.message, ModelRequest)
        for part in entry.message.parts
        if isinstance(part, ToolReturnPart)
    ]
    assert returned == 5
    assert "5" in result.output
    other = PrepaidConversationStore(await manager.create_session("bob", 1))
    assert await other.load("sums") is None


async def test_an_agent_goes_on_after_a_restart(tmp_path):
    """Spec D9: the process ends in between; the conversation, its usage and the balance do not."""
    async with SessionManager(tmp_path / "b.db") as manager:
        session = await manager.create_session("ann", 1_000_000)
        agent = Agent(metered(session, "offline"), tools=[add])
        conversation = Conversation(conversation_id="talk")
        await PrepaidConversationStore(session).save(
            await agent.run("use add with 2 and 3", conversation=conversation)
        )
        spent = await settled(session)
    async with SessionManager(tmp_path / "b.db") as manager:
        session = manager.get_session(session.session_id, "ann")
        store = PrepaidConversationStore(session)
        agent = Agent(metered(session, "offline"), tools=[add])
        result = await agent.run("What did I say?", conversation=await store.load("talk"))
        assert "use add with 2 and 3" in result.output
        assert len(await store.save(result)) == 2
        assert (await store.load("talk")).usage.requests == 3
        assert await settled(session) > spent


async def test_a_stream_that_is_left_is_paid_as_far_as_it_came(session):
    agent = Agent(metered(session, "offline"))
    async with agent.run_stream("count to 90") as stream:
        async for _ in stream.stream_text(delta=True, debounce_by=None):
            break
    assert 0 < await settled(session) < 180


async def test_an_agent_runs_dry(manager):
    """Spec D1."""
    session = await manager.create_session("ann", 20)
    agent = Agent(metered(session, "offline"))
    assert (await agent.run("count to 50")).output != ""
    with pytest.raises(InsufficientFunds):
        await agent.run("count to 50")
    assert await settled(session) <= 20


async def test_64_agents_never_spend_more_than_there_is(manager):
    session = await manager.create_session("ann", 300)
    agent = Agent(metered(session, "offline"))
    results = await asyncio.gather(*(agent.run(f"Hello {n}") for n in range(64)), return_exceptions=True)
    assert {type(result) for result in results if isinstance(result, BaseException)} <= {InsufficientFunds}
    assert 0 < await settled(session) <= 300


async def test_a_taker_of_a_pooled_session_pays_within_the_cap(manager, session):
    """Spec B8, D9."""
    await session.add_to_pool(cap=60)
    async with await manager.get_from_pool("bob") as lease:
        agent = Agent(metered(lease, "offline"))
        await agent.run("count to 5")
        assert lease.spent == await settled(session) > 0
        with pytest.raises(LeaseCapReached):
            await agent.run("word " * 100)


async def test_a_model_of_pydantic_ais_own_is_paid_over_http(manager, session):
    """Any of its models, at the price that is configured."""

    class Priced:
        info = INFO

    manager._workspace.catalogue._own["fast"] = Priced()
    call = Behaviour(text="", tool_calls=[{"name": "add", "arguments": '{"first":2,"second":3}'}])
    with FakeOpenAI() as fake:
        fake.next(call, Behaviour(text="It is five"))
        async with AsyncOpenAI(base_url=fake.base_url, api_key="sk-test", max_retries=0) as client:
            model = OpenAIChatModel("fast", provider=OpenAIProvider(openai_client=client))
            result = await Agent(metered(session, model), tools=[add]).run("What is 2 and 3?")
        assert (result.output, fake.served) == ("It is five", 2)
        assert [request["max_completion_tokens"] > 0 for request in fake.requests] == [True, True]
    usage = result.usage
    assert await settled(session) == usage.input_tokens + 2 * usage.output_tokens > 0


def test_what_has_no_price_is_not_asked(session):
    with pytest.raises(ModelNotPriced):
        metered(session, TestModel())
    with pytest.raises(ModelNotSupported):
        metered(session, "nobody's")
