"""Spec D9: agents written for the OpenAI Agents SDK are paid from a session, over real HTTP."""

from __future__ import annotations

import asyncio
import json

import pytest
from agents import (
    Agent,
    Model,
    ModelProvider,
    ModelSettings,
    ModelTracing,
    RunConfig,
    Runner,
    WebSearchTool,
    function_tool,
    set_tracing_disabled,
)
from agents.models.openai_chatcompletions import OpenAIChatCompletionsModel
from httpx import HTTPError
from openai import APIError, AsyncOpenAI, InternalServerError
from pydantic import BaseModel

from prepaid import SessionManager
from prepaid.audit import audit
from prepaid.errors import (
    ApiNotSupported,
    InsufficientFunds,
    InvalidRequestError,
    LeaseCapReached,
    ManagerClosed,
    ModelNotPriced,
    ProviderStreamBroken,
    SessionPaused,
)
from prepaid.integrations.openai_agents import (
    MeteredAgentsModel,
    MeteredModelProvider,
    PrepaidAgentsSession,
)
from prepaid.records import ALL_CHAT_APIS, ModelInfo, Price, Unit
from providers.fake_openai import Behaviour, FakeOpenAI

set_tracing_disabled(disabled=True)

INFO = ModelInfo(
    "fast", Price.flat("USD", Unit.TOKEN, 1_000_000, 2_000_000), 100_000, 1_000, ALL_CHAT_APIS, "fake"
)
"""A base unit for each token in, two for each out."""

LOOK = Behaviour(text="", tool_calls=[{"name": "look_up", "arguments": '{"word": "Vienna"}'}])


@pytest.fixture(scope="module")
def server():
    with FakeOpenAI() as server:
        yield server


@pytest.fixture
def fake(server):
    server.reset()
    return server


@pytest.fixture
async def client(fake):
    async with AsyncOpenAI(base_url=fake.base_url, api_key="sk-test", max_retries=0) as client:
        yield client


@pytest.fixture
def sdk_model(client):
    return OpenAIChatCompletionsModel("fast", client)


@pytest.fixture
async def manager(tmp_path):
    async with SessionManager(tmp_path / "a.db", auto_cleanup=False) as manager:
        yield manager
        report = await manager._workspace.store.report(audit)
        assert report.is_clean, str(report)


@pytest.fixture
async def session(manager):
    return await manager.create_session("ann", 1_000_000)


@pytest.fixture
def model(session, sdk_model):
    return MeteredAgentsModel(session, sdk_model, info=INFO)


looked_up = []


@function_tool
def look_up(word: str) -> str:
    """Look a word up.

    Args:
        word: What to look up.
    """
    looked_up.append(word)
    return f"{word} is a city."


def agent_on(model, **options):
    return Agent(name="guide", instructions="Be brief.", model=model, **options)


async def settled(session):
    """Nothing is held, and what was spent."""
    account = session.account
    assert account.held == 0
    assert account.available + account.spent == account.funded
    return account.spent


def ask(model, text="Hello there", settings=None, **options):
    return {
        "system_instructions": "Be brief.",
        "input": text,
        "model_settings": settings or ModelSettings(),
        "tools": [],
        "output_schema": None,
        "handoffs": [],
        "tracing": ModelTracing.DISABLED,
        "previous_response_id": None,
        "conversation_id": None,
        "prompt": None,
    } | options


async def asked(model, *, stream, **options):
    """A whole call, in either way."""
    if not stream:
        return await model.get_response(**(ask(model) | options))
    return [event async for event in model.stream_response(**(ask(model) | options))]


async def until_held(session):
    async with asyncio.timeout(120):
        while not session.account.held:  # noqa: ASYNC110 -- a balance has no event
            await asyncio.sleep(0.005)


# --- agents --------------------------------------------------------------------------------------


async def test_an_agent_with_tools_is_persisted_owned_and_paid(fake, session, model, manager):
    """Spec D9, C16: every model call of the loop is paid for."""
    looked_up.clear()
    fake.next(LOOK, Behaviour(text="Vienna is a city"))
    history = PrepaidAgentsSession(session)
    result = await Runner.run(agent_on(model, tools=[look_up]), "What is Vienna?", session=history)
    assert result.final_output == "Vienna is a city"
    assert looked_up == ["Vienna"]
    usage = result.context_wrapper.usage
    assert usage.requests == fake.served == 2
    assert await settled(session) == usage.input_tokens + 2 * usage.output_tokens > 0
    kinds = [item.get("type", "message") for item in await history.get_items()]
    assert kinds == ["message", "function_call", "function_call_output", "message"]
    other = await manager.create_session("bob", 1)
    assert await PrepaidAgentsSession(other).get_items() == []


async def test_an_agent_goes_on_after_a_restart(fake, sdk_model, tmp_path):
    """Spec D9: the process ends in between; the history and the balance do not."""
    path = tmp_path / "restarted.db"
    fake.next(LOOK, Behaviour(text="A city"), Behaviour(text="Yes again"))
    async with SessionManager(path) as manager:
        session = await manager.create_session("ann", 1_000_000)
        agent = agent_on(MeteredAgentsModel(session, sdk_model, info=INFO), tools=[look_up])
        await Runner.run(agent, "What is Vienna?", session=PrepaidAgentsSession(session))
        spent = await settled(session)
    async with SessionManager(path) as manager:
        session = manager.get_session(session.session_id, "ann")
        agent = agent_on(MeteredAgentsModel(session, sdk_model, info=INFO), tools=[look_up])
        result = await Runner.run(agent, "Really?", session=PrepaidAgentsSession(session))
        assert result.final_output == "Yes again"
        told = fake.requests[-1]["messages"]
        assert [message["role"] for message in told] == [
            "system",
            "user",
            "assistant",
            "tool",
            "assistant",
            "user",
        ]
        assert await settled(session) > spent


async def test_a_streamed_agent_is_paid(fake, session, model):
    fake.next(LOOK, Behaviour(text="One two three"))
    result = Runner.run_streamed(
        agent_on(model, tools=[look_up]), "Go", session=PrepaidAgentsSession(session)
    )
    deltas = [
        event.data.delta
        async for event in result.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    assert "".join(deltas) == result.final_output == "One two three"
    usage = result.context_wrapper.usage
    assert await settled(session) == usage.input_tokens + 2 * usage.output_tokens > 0
    assert all(body["stream_options"] == {"include_usage": True} for body in fake.requests)


async def test_a_structured_answer_is_paid(fake, session, model):
    class City(BaseModel):
        name: str

    fake.next(Behaviour(text='{"name":"Vienna"}'))
    result = await Runner.run(agent_on(model, output_type=City), "Name one")
    assert result.final_output == City(name="Vienna")
    assert await settled(session) > 0


async def test_a_handoff_is_paid(fake, session, model):
    expert = Agent(name="expert", instructions="Know.", model=model)
    fake.next(
        Behaviour(text="", tool_calls=[{"name": "transfer_to_expert", "arguments": "{}"}]),
        Behaviour(text="I know"),
    )
    result = await Runner.run(agent_on(model, handoffs=[expert]), "Who knows?")
    assert (result.final_output, result.last_agent.name) == ("I know", "expert")
    usage = result.context_wrapper.usage
    assert await settled(session) == usage.input_tokens + 2 * usage.output_tokens


async def test_agents_that_only_name_their_model_are_paid_by_the_provider(fake, session, sdk_model, manager):
    class Provider(ModelProvider):
        def get_model(self, model_name):
            return sdk_model

    with pytest.raises(ModelNotPriced, match="fast"):
        MeteredModelProvider(session, Provider()).get_model("fast")
    manager._workspace.catalogue._own["fast"] = Priced()
    config = RunConfig(model_provider=MeteredModelProvider(session, Provider()))
    result = await Runner.run(Agent(name="guide", model="fast"), "Hello", run_config=config)
    assert result.final_output == "Hello from the fake provider."
    assert await settled(session) > 0


class Priced:
    info = INFO


async def test_an_agent_runs_dry_with_its_history_intact(fake, manager, sdk_model):
    """Spec D1: it stops with InsufficientFunds, and what was said is there."""
    fake.default = LOOK
    session = await manager.create_session("ann", 3_000)
    agent = agent_on(MeteredAgentsModel(session, sdk_model, info=INFO), tools=[look_up])
    history = PrepaidAgentsSession(session)
    with pytest.raises(InsufficientFunds) as error:
        await Runner.run(agent, "Loop", session=history, max_turns=50)
    assert error.value.needed > error.value.available == session.available
    assert 0 < await settled(session) <= 3_000
    assert fake.served > 1
    await session.fund(1_000_000)
    fake.default = Behaviour(text="Done")
    assert (await Runner.run(agent, "And now?", session=history)).final_output == "Done"


async def test_64_agents_never_spend_more_than_there_is(fake, manager, sdk_model):
    """Spec D1: whatever is asked at once."""
    session = await manager.create_session("ann", 5_000)
    model = MeteredAgentsModel(session, sdk_model, info=INFO)
    runs = (Runner.run(agent_on(model), f"Hello {number}") for number in range(64))
    results = await asyncio.gather(*runs, return_exceptions=True)
    refused = [result for result in results if isinstance(result, InsufficientFunds)]
    answered = [result for result in results if not isinstance(result, BaseException)]
    assert len(refused) + len(answered) == 64
    assert len(answered) == fake.served > 0
    assert await settled(session) <= 5_000


async def test_a_taker_of_a_pooled_session_pays_within_the_cap(fake, manager, session, sdk_model):
    """Spec B8, D9."""
    await session.add_to_pool(cap=2_500)
    async with await manager.get_from_pool("bob") as lease:
        model = MeteredAgentsModel(lease, sdk_model, info=INFO)
        await Runner.run(agent_on(model), "Hello")
        assert lease.spent == await settled(session) > 0
        with pytest.raises(LeaseCapReached):
            await Runner.run(agent_on(model), "x" * 2_500)


async def test_a_paused_session_asks_nobody(fake, session, model):
    await session.pause()
    with pytest.raises(SessionPaused):
        await Runner.run(agent_on(model), "Hello")
    assert fake.served == 0


# --- one call ------------------------------------------------------------------------------------


async def test_the_output_is_lowered_to_what_the_balance_pays(fake, manager, sdk_model):
    """Spec D1: a limit that is affordable, and is sent."""
    session = await manager.create_session("ann", 150)
    model = MeteredAgentsModel(session, sdk_model, info=INFO)
    fake.next(Behaviour(text="word " * 500))
    await model.get_response(**ask(model, "Hi"))
    assert 0 < fake.requests[0]["max_tokens"] < 75
    assert await settled(session) <= 150


async def test_a_limit_of_the_users_is_kept(fake, model):
    await model.get_response(**ask(model, settings=ModelSettings(max_tokens=7)))
    assert fake.requests[0]["max_tokens"] == 7


async def test_a_provider_that_tells_no_usage_is_paid_for_what_came(fake, session, model):
    """Never zero: by our own count of bytes."""
    fake.default = Behaviour(text="word " * 20, usage=None)
    await model.get_response(**ask(model))
    spent = await settled(session)
    assert spent >= 2 * 20
    await asked(model, stream=True)
    assert await settled(session) == 2 * spent


async def test_a_provider_that_bills_more_than_was_held_does_so_at_our_expense(fake, manager, sdk_model):
    session = await manager.create_session("ann", 2_000)
    model = MeteredAgentsModel(session, sdk_model, info=INFO)
    fake.next(Behaviour(usage={"prompt_tokens": 9_000, "completion_tokens": 9_000, "total_tokens": 18_000}))
    await model.get_response(**ask(model))
    assert await settled(session) == 2_000
    assert manager._workspace.store.reads.losses(session.session_id) == 9_000 + 18_000 - 2_000


@pytest.mark.parametrize("told", [(-5, 20), (0, 20), (9, 0), (9, -1)])
async def test_a_count_that_cannot_be_is_our_own(fake, session, model, told):
    """Spec P5: nothing that was delivered is free for that, or an error."""
    usage = {"prompt_tokens": told[0], "completion_tokens": told[1], "total_tokens": 29}
    fake.default = Behaviour(text="word " * 20, usage=usage)
    await model.get_response(**ask(model))
    spent = await settled(session)
    assert spent >= 2 * 20
    await asked(model, stream=True)
    assert await settled(session) >= 2 * 2 * 20


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_what_fails_costs_nothing(fake, session, model, stream):
    """Spec C12; the model's own error is passed on."""
    fake.next(Behaviour(status=500))
    with pytest.raises(InternalServerError):
        await asked(model, stream=stream)
    assert await settled(session) == 0


async def test_a_broken_stream_costs_nothing(fake, session, model):
    fake.next(Behaviour(text="one two three four", cut_after=3))
    with pytest.raises((APIError, HTTPError)):
        await asked(model, stream=True)
    assert await settled(session) == 0


async def test_a_stream_that_is_left_is_paid_as_far_as_it_came(fake, session, model):
    """Spec D9: a cancelled stream settles what was delivered."""
    fake.next(Behaviour(text="word " * 100, chunk_delay_seconds=0.005))
    events = model.stream_response(**ask(model))
    seen = 0
    async for event in events:
        seen += event.type == "response.output_text.delta"
        if seen == 10:
            break
    await events.aclose()
    assert 2 * 10 <= await settled(session) < 2 * 100
    await asyncio.to_thread(fake.disconnected.wait, 120)


async def test_a_cancelled_agent_is_paid_as_far_as_it_came(fake, session, model):
    fake.next(Behaviour(text="word " * 200, chunk_delay_seconds=0.05))
    result = Runner.run_streamed(agent_on(model), "Go")
    heard = asyncio.Event()

    async def read():
        async for event in result.stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                heard.set()

    reading = asyncio.ensure_future(read())
    await asyncio.wait_for(heard.wait(), 120)
    result.cancel()
    await reading
    async with asyncio.timeout(120):
        while session.account.held:  # noqa: ASYNC110 -- the SDK cleans up in a task of its own
            await asyncio.sleep(0.01)
    assert 0 < await settled(session) < 400


async def test_a_call_that_is_cancelled_before_its_answer_costs_nothing(fake, session, model):
    fake.next(Behaviour(delay_seconds=60))
    asking = asyncio.ensure_future(model.get_response(**ask(model)))
    await until_held(session)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await settled(session) == 0


async def test_a_stream_that_does_not_end_is_cut(fake, manager, sdk_model):
    """A provider that keeps to no limit."""
    session = await manager.create_session("ann", 1_000)
    model = MeteredAgentsModel(session, sdk_model, info=INFO)
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "fast"}
    chunk["choices"] = [{"index": 0, "delta": {"content": "word " * 50}, "finish_reason": None}]
    fake.next(Behaviour(raw=[b"data: " + json.dumps(chunk).encode() + b"\n\n"] * 500))
    with pytest.raises(ProviderStreamBroken, match="beyond its limit of 100"):
        async for _ in model.stream_response(**ask(model, settings=ModelSettings(max_tokens=100))):
            pass
    assert 200 <= await settled(session) <= 1_000


async def test_a_price_per_byte_counts_bytes(fake, session, sdk_model):
    """Spec A10."""
    info = ModelInfo(
        "fast", Price.flat("USD", Unit.BYTE, 1_000_000, 2_000_000), 10_000, 1_000, ALL_CHAT_APIS, "fake"
    )
    fake.default = Behaviour(text="äöü")
    model = MeteredAgentsModel(session, sdk_model, info=info)
    await model.get_response(**ask(model, "Hi"))
    spent = await settled(session)
    assert spent == len("Be brief.Hi") + 2 * len("äöü".encode())
    async for _ in model.stream_response(**ask(model, "Hi")):
        pass
    assert await settled(session) == 2 * spent


# --- what has no price ---------------------------------------------------------------------------

IMAGE = {"type": "input_image", "image_url": "https://example.org/x.png", "detail": "auto"}
UNPRICED = {
    "an image": {"input": [{"role": "user", "content": [IMAGE]}]},
    "an image of a tool": {"input": [{"type": "function_call_output", "call_id": "c", "output": [IMAGE]}]},
    "an item the provider keeps": {"input": [{"type": "item_reference", "id": "msg_1"}]},
    "a computer": {"input": [{"type": "computer_call", "id": "x", "call_id": "c"}]},
    "no item at all": {"input": ["text"]},
    "content that is a number": {"input": [{"role": "user", "content": 7}]},
    "a tool that the provider runs": {"tools": [WebSearchTool()]},
    "a conversation that the provider keeps": {"conversation_id": "conv_1"},
    "a response that the provider keeps": {"previous_response_id": "resp_1"},
    "a prompt that the provider keeps": {"prompt": {"id": "pmpt_1"}},
    "several answers": {"model_settings": ModelSettings(extra_args={"n": 5})},
    "a dearer tier": {"model_settings": ModelSettings(extra_body={"service_tier": "priority"})},
    "a search": {"model_settings": ModelSettings(extra_body={"web_search_options": {"x": 1}})},
    "compaction": {"model_settings": ModelSettings(context_management=[{"type": "compaction"}])},
    "a body that is no object": {"model_settings": ModelSettings(extra_body=b"{}")},
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_what_has_no_price_is_refused_before_anything_is_held(fake, session, model, stream):
    """Its worst case could not be held."""
    for options in UNPRICED.values():
        with pytest.raises(ApiNotSupported, match=r"fast|no price covers it"):
            await asked(model, stream=stream, **options)
    assert (fake.served, session.account.request_count, await settled(session)) == (0, 0, 0)


async def test_what_the_meter_sets_cannot_be_set_behind_it(fake, model):
    for key in ("max_tokens", "max_completion_tokens", "max_output_tokens", "messages", "tools"):
        with pytest.raises(InvalidRequestError, match=key):
            await model.get_response(**ask(model, settings=ModelSettings(extra_body={key: 100_000})))
    assert fake.served == 0


async def test_thoughts_and_results_are_counted(fake, session, model):
    """What a history may hold beside messages."""
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "a" * 10}]},
        {
            "type": "reasoning",
            "id": "rs",
            "summary": [{"type": "summary_text", "text": "b" * 10}],
            "encrypted_content": "c" * 10,
        },
        {"type": "function_call", "call_id": "c1", "name": "d" * 10, "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "e" * 10},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "f" * 10}]},
    ]
    call, _ = await model._open(None, items, ModelSettings(), [look_up], None, [])
    assert call.input_bytes >= 62
    assert call.paid.quoted.input_units >= call.input_bytes + 4
    await call.paid.abandon()


def test_a_model_without_a_price_is_refused(session, sdk_model):
    with pytest.raises(ModelNotPriced, match="fast"):
        MeteredAgentsModel(session, sdk_model)
    with pytest.raises(ModelNotPriced, match="Nameless"):
        MeteredAgentsModel(session, Nameless())


async def test_the_price_book_knows_a_providers_models(session):
    async with AsyncOpenAI(api_key="sk-test") as client:
        model = MeteredAgentsModel(session, OpenAIChatCompletionsModel("gpt-4o", client))
        assert (model._info.name, model._info.provider) == ("gpt-4o", "openai")
        assert model._info.price.tiers[0].input_per_million > 0


class Nameless(Model):
    """A model of the user's own, that keeps to the contract and no more."""

    def __init__(self):
        self.was_closed = False

    async def get_response(self, *args, **options):
        raise NotImplementedError

    def stream_response(self, *args, **options):
        return Endless()

    async def close(self):
        self.was_closed = True


class Endless:
    """An iterator that cannot be closed."""

    def __aiter__(self):
        return self

    async def __anext__(self):
        raise StopAsyncIteration


async def test_a_users_own_model_is_wrapped_as_it_is(session):
    own = Nameless()
    model = MeteredAgentsModel(session, own, info=INFO)
    assert [event async for event in model.stream_response(**ask(model))] == []
    assert model.get_retry_advice(None) is None
    await model._cleanup_on_run_end(object())
    await model.close()
    assert own.was_closed
    assert await settled(session) == 0


@pytest.mark.parametrize("is_stream", [True, False])
async def test_shutting_down_in_mid_answer(is_stream, tmp_path, fake, sdk_model):
    """Spec N5: what was delivered is paid, nothing stays held, and the agent's run fails by name."""
    words = "word " * 400
    fake.next(Behaviour(text=words, chunk_delay_seconds=0.02, delay_seconds=0 if is_stream else 30))
    manager = SessionManager(tmp_path / "own.db", auto_cleanup=False)
    session = await manager.create_session("ann", 1_000_000)
    agent = Agent("helper", model=MeteredAgentsModel(session, sdk_model, info=INFO))

    async def run():
        if not is_stream:
            await Runner.run(agent, "Hi")
            return
        async for _ in Runner.run_streamed(agent, "Hi").stream_events():
            pass

    running = asyncio.ensure_future(run())
    calls = manager._workspace.meter.running
    while not calls or (is_stream and not any(call.delivered for call in list(calls))):  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    await manager.shutdown()
    assert not calls
    with pytest.raises(ManagerClosed):
        await running
    async with SessionManager(tmp_path / "own.db", auto_cleanup=False) as manager:
        account = manager.get_session(session.session_id).account
        assert account.held == 0
        assert (account.spent > 0) == is_stream
