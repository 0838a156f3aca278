"""A meter around pydantic-ai's own models: for agents that users bring (spec D1, D9)."""

import asyncio

import pytest
from pydantic_ai import Agent, BinaryContent, ModelAPIError
from pydantic_ai.messages import ModelResponse, TextPart
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import DeltaThinkingPart, DeltaToolCall, FunctionModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.usage import RequestUsage

from prepaid.agents import MeteredModel, model_info, paid_model
from prepaid.config import Settings
from prepaid.errors import (
    ApiNotSupported,
    InsufficientFunds,
    InvalidRequestError,
    ModelNotPriced,
    ProviderError,
)
from prepaid.models.catalogue import Catalogue
from prepaid.models.offline import OfflineModel
from prepaid.records import ALL_CHAT_APIS, ModelInfo, Unit

from .desk import Desk, add, priced


def metered(desk, wrapped, price=None, output_tokens_max=10_000):
    info = ModelInfo(
        "theirs", price or priced(1_000_000, 2_000_000), 100_000, output_tokens_max, ALL_CHAT_APIS, "test"
    )
    return MeteredModel(wrapped, meter=desk.meter, payer=desk.payer, info=info, default_output_tokens=100)


def says(text, usage=None):
    seen = []

    def function(messages, info):
        seen.append(info.model_settings)
        return ModelResponse([TextPart(text)], usage=usage or RequestUsage(input_tokens=7, output_tokens=3))

    model = FunctionModel(function)
    model.seen = seen
    return model


def streams(*pieces):
    async def function(messages, info):
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece
            await asyncio.sleep(0)

    return FunctionModel(stream_function=function)


def lines(desk):
    return [
        (line.input_units, line.output_units, line.amount)
        for line in desk.store.reads.transfers("ses_1")
        if line.kind == "capture"
    ]


async def test_a_call_costs_what_the_provider_says(desk):
    model = says("Hello")
    result = await Agent(metered(desk, model)).run("Hi")
    assert result.output == "Hello"
    assert lines(desk) == [(7, 3, 13)]
    assert model.seen == [{"max_tokens": 100}]


async def test_cached_input_is_priced_as_such(desk):
    usage = RequestUsage(input_tokens=10, cache_read_tokens=4, cache_write_tokens=3, output_tokens=1)
    await Agent(metered(desk, says("Hello", usage))).run("Hi")
    assert lines(desk) == [(10, 1, 12)]


async def test_every_call_of_a_loop_is_paid(desk):
    """Spec C16: TestModel calls every tool, then answers."""
    agent = Agent(metered(desk, TestModel()), tools=[add])
    result = await agent.run("Hi")
    assert len(lines(desk)) == result.usage.requests == 2
    assert sum(line[0] for line in lines(desk)) == result.usage.input_tokens


@pytest.mark.parametrize("way", ["run", "events", "stream"])
async def test_no_money_no_call(tmp_path, way):
    """InsufficientFunds leaves the agent as it is, and the model was not asked."""
    desk = await Desk(tmp_path / "ledger.db").open(1)
    agent = Agent(metered(desk, streams("never")))

    async def run():
        if way == "run":
            await agent.run("Hi")
        elif way == "stream":
            async with agent.run_stream("Hi") as result:
                await result.get_output()
        else:
            async with agent.run_stream_events("Hi") as events:
                async for _ in events:
                    pass

    with pytest.raises(InsufficientFunds) as refused:
        await run()
    assert refused.value.available == 1
    assert (desk.spent, desk.account.held) == (0, 0)
    await desk.aclose()


async def test_the_limit_is_lowered_to_what_is_there(tmp_path):
    desk = await Desk(tmp_path / "ledger.db").open(1_600)
    model = says("Hello")
    await Agent(metered(desk, model), model_settings={"max_tokens": 5_000}).run("Hi")
    (settings,) = model.seen
    assert 0 < settings["max_tokens"] < 800
    await desk.aclose()


async def test_a_model_without_a_price_is_refused(desk):
    with pytest.raises(ModelNotPriced, match="function"):
        MeteredModel(says("x"), meter=desk.meter, payer=desk.payer, info=None, default_output_tokens=1)


async def test_a_call_that_fails_costs_nothing(desk):
    """Spec C12."""

    def fails(messages, info):
        raise ModelAPIError("theirs", "down")

    with pytest.raises(ModelAPIError):
        await Agent(metered(desk, FunctionModel(fails))).run("Hi")
    assert desk.spent == 0


async def test_fallbacks_are_each_metered(desk):
    def fails(messages, info):
        raise ModelAPIError("theirs", "down")

    second = metered(desk, says("Hello"), price=priced(2_000_000, 2_000_000))
    agent = Agent(FallbackModel(metered(desk, FunctionModel(fails)), second))
    assert (await agent.run("Hi")).output == "Hello"
    assert lines(desk) == [(7, 3, 20)]


@pytest.mark.parametrize("told", [(-5, 2), (0, 2), (7, 0), (7, -1)])
async def test_absurd_usage_is_our_own_count(desk, told):
    """Spec P5: part by part; what was delivered is neither free nor an error."""
    usage = RequestUsage(input_tokens=told[0], output_tokens=told[1])
    assert (await Agent(metered(desk, says("So far.", usage))).run("Hi")).output == "So far."
    ((input_tokens, output_tokens, _),) = lines(desk)
    assert 0 < input_tokens < 8
    assert output_tokens == 2


async def test_what_is_billed_above_the_hold_is_our_loss(desk):
    await Agent(metered(desk, says("x", RequestUsage(input_tokens=90_000, output_tokens=1)))).run("Hi")
    assert desk.spent < 10_000
    assert desk.store.reads.losses("ses_1") > 80_000


async def test_a_stream_is_paid_when_it_has_ended(desk):
    agent = Agent(metered(desk, streams("Hello ", "world")))
    async with agent.run_stream("Hi") as result:
        assert await result.get_output() == "Hello world"
    ((told_in, told_out, _),) = lines(desk)
    assert (told_in, told_out) == (result.usage.input_tokens, result.usage.output_tokens)


async def test_a_stream_that_is_left_costs_what_was_delivered(desk):
    """Never zero, though the provider has told no usage yet."""
    agent = Agent(metered(desk, streams(*["word "] * 100)))

    async def leave():
        async with agent.run_stream("Hi") as result:
            async for _ in result.stream_text(delta=True, debounce_by=None):
                (running,) = desk.meter.running
                assert running.usage.output_tokens > 0
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await leave()
    ((_, delivered, _),) = lines(desk)
    assert 1 <= delivered < 100


async def test_a_stream_that_breaks_costs_nothing(desk):
    """Spec C12."""
    agent = Agent(metered(desk, streams("Hello", ModelAPIError("theirs", "gone"))))
    with pytest.raises(ModelAPIError):
        async with agent.run_stream("Hi") as result:
            await result.get_output()
    assert desk.spent == 0
    assert desk.store.reads.losses("ses_1") > 0


async def test_a_cancelled_stream_is_settled(desk):
    agent = Agent(metered(desk, streams(*["word "] * 100_000)))

    async def watch():
        async with agent.run_stream_events("Hi") as events:
            async for _ in events:
                pass

    watching = asyncio.create_task(watch())
    while not any(call.usage.output_tokens > 5 for call in desk.meter.running):  # noqa: ASYNC110 -- no event
        await asyncio.sleep(0)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    ((_, delivered, _),) = lines(desk)
    assert 5 < delivered < 100_000


async def test_a_stream_beyond_its_limit_is_cut(desk):
    agent = Agent(metered(desk, streams(*["0123456789"] * 1_000), output_tokens_max=50))
    async with agent.run_stream("Hi") as result:
        text = await result.get_output()
    assert 300 < len(text) <= 320
    assert len(lines(desk)) == 1


async def test_streamed_tool_calls_are_counted(desk):
    async def function(messages, info):
        if len(messages) > 1:
            yield "done"
            return
        yield {0: DeltaToolCall("add", '{"a": 1,', tool_call_id="t")}
        yield {0: DeltaToolCall(json_args='"b": 2}')}

    agent = Agent(
        metered(desk, FunctionModel(stream_function=function), price=priced(0, 1_000_000, Unit.BYTE)),
        tools=[add],
    )
    async with agent.run_stream("Hi") as result:
        assert await result.get_output() == "done"
    assert [line[2] for line in lines(desk)] == [len("add") + len('{"a":1,"b":2}'), len("done")]


async def test_what_has_no_bound_is_refused(desk):
    model = metered(desk, says("x"))
    with pytest.raises(ApiNotSupported, match="BinaryContent"):
        await Agent(model).run(["Look", BinaryContent(b"...", media_type="image/png")])
    with pytest.raises(ApiNotSupported, match="compaction"):
        await model.compact_messages(None)
    with pytest.raises(ApiNotSupported, match="batches"):
        await model.batch_create([])
    with pytest.raises(ApiNotSupported, match="batches"):
        await model.batch_encode(None)
    assert desk.account.request_count == 0


async def test_our_models_under_users_agents(desk):
    agent = Agent(paid_model(desk.turns, desk.payer, (OfflineModel(),)), tools=[add], instructions="Add.")
    assert (await agent.run("use add with 2 and 3")).output == "Offline model: add says: 5"
    assert len(lines(desk)) == 2
    async with agent.run_stream("use add with 2 and 3") as result:
        texts = [text async for text in result.stream_text(delta=True, debounce_by=None)]
    assert "".join(texts) == "Offline model: add says: 5"
    assert len(texts) > 3
    assert len(lines(desk)) == 4
    assert desk.chat.message_count == 0


async def test_our_models_fall_back_and_fail_under_users_agents(desk):
    down = OfflineModel(name="down", script=[ProviderError("down")] * 3)
    model = paid_model(desk.turns, desk.payer, (down, OfflineModel(name="up")))
    result = await Agent(model).run("count to 2")
    assert (result.output, result.all_messages()[-1].model_name) == ("1 2", "up")
    alone = Agent(paid_model(desk.turns, desk.payer, (down,)))
    with pytest.raises(ProviderError, match="down"):
        await alone.run("count to 2")
    with pytest.raises(ProviderError, match="down"):
        async with alone.run_stream("count to 2") as stream:
            await stream.get_output()
    assert len(lines(desk)) == 1


async def test_leaving_our_stream_pays_what_was_delivered(desk):
    agent = Agent(paid_model(desk.turns, desk.payer, (OfflineModel(),)))

    async def leave():
        async with agent.run_stream("count to 50") as result:
            async for text in result.stream_text(delta=True, debounce_by=None):
                assert text == "1"
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await leave()
    ((_, delivered, _),) = lines(desk)
    assert 1 <= delivered <= 3
    async with agent.run_stream("count to 50") as result:
        await result.cancel()
    assert len(lines(desk)) <= 2


async def test_prices_come_from_the_settings_or_the_book(desk):
    catalogue = Catalogue(Settings())
    own = says("x")
    own._model_name = "offline"
    assert model_info(own, catalogue, "USD").provider == "offline"
    known = says("x")
    known._model_name, known._system = "gpt-4o", "openai"
    found = model_info(known, catalogue, "USD")
    assert found.price.tiers[0].input_per_million > 0
    assert found.context_tokens_max >= 100_000
    with pytest.raises(ModelNotPriced):
        model_info(known, catalogue, "EUR")
    known._model_name = "nobody-knows"
    with pytest.raises(ModelNotPriced):
        model_info(known, catalogue, "USD")


async def test_thoughts_are_counted(desk):
    async def function(messages, info):
        yield {0: DeltaThinkingPart(content="Hm, ")}
        yield {0: DeltaThinkingPart(content="well.")}
        yield "Yes."

    model = metered(desk, FunctionModel(stream_function=function), price=priced(0, 1_000_000, Unit.BYTE))
    async with Agent(model).run_stream("Hi") as result:
        assert await result.get_output() == "Yes."
    assert [line[2] for line in lines(desk)] == [len("Hm, well.Yes.")]


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"extra_body": {"n": 5}}, ApiNotSupported),
        ({"extra_body": {"max_completion_tokens": 90_000}}, InvalidRequestError),
        ({"extra_body": {"service_tier": "priority"}}, ApiNotSupported),
        ({"service_tier": "priority"}, ApiNotSupported),
        ({"extra_body": [1]}, InvalidRequestError),
    ],
)
async def test_what_costs_more_than_the_hold_is_refused_before_it(desk, settings, error):
    model = says("Hello")
    with pytest.raises(error):
        await Agent(metered(desk, model)).run("Hi", model_settings=settings)
    assert not model.seen
    assert not lines(desk)
