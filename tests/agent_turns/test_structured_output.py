"""Structured output, and retries under a key of the caller's."""

import asyncio
from contextlib import aclosing

import pytest
from pydantic import BaseModel
from pydantic_ai import NativeOutput, PromptedOutput, ToolOutput

from prepaid.agents import AgentAnswer
from prepaid.agents.replay import output_of
from prepaid.errors import ApiNotSupported, IdempotencyConflict, ProviderError, ProviderResponseInvalid
from prepaid.models.offline import OfflineModel
from prepaid.records import ALL_CHAT_APIS, Message, ModelInfo, Role, TextDelta, ToolCall

from .desk import add


class City(BaseModel):
    """A city."""

    name: str
    size: int


PARIS = City(name="Paris", size=2_100_000)
JSON = '{"name":"Paris","size":2100000}'
GIVES_PARIS = ToolCall("f", "final_result", JSON)


class Knowing(OfflineModel):
    """Offline, but with other APIs, and it keeps what it was asked."""

    def __init__(self, apis, **fields):
        super().__init__(**fields)
        info = self._info
        self._info = ModelInfo(
            info.name, info.price, info.context_tokens_max, info.output_tokens_max, apis, info.provider
        )
        self.requests = []

    def stream(self, request):
        self.requests.append(request)
        return super().stream(request)


async def test_an_output_of_a_type(desk):
    model = Knowing(ALL_CHAT_APIS, script=[GIVES_PARIS])
    events = await desk.events(desk.agent(output_type=City), "Which?", model)
    assert events == [events[-1]]
    answer = events[-1]
    assert (answer.output, answer.text, answer.finish_reason) == (PARIS, JSON, "stop")
    assert desk.messages == (Message(Role.USER, "Which?"), Message(Role.ASSISTANT, JSON))
    assert model.requests[0].extra["tool_choice"] == "required"


async def test_tools_and_an_output_in_one_turn(desk):
    model = OfflineModel(
        script=[ToolCall("a", "add", '{"a":1,"b":1}'), (ToolCall("b", "add", '{"a":2,"b":2}'), GIVES_PARIS)]
    )
    answer = await desk.ask(desk.agent(output_type=City, tools=[add]), "Which?", model)
    assert answer.output == PARIS
    assert [message.role.value for message in desk.messages] == [
        "user",
        *["assistant", "tool"] * 2,
        "assistant",
    ]
    assert [call.id for call in answer.tool_calls] == ["a", "b"]
    assert [message.text for message in desk.messages if message.role is Role.TOOL] == ["2", "4"]
    assert desk.messages[-1].text == JSON


async def test_attempts_that_were_refused_are_paid_and_forgotten(desk):
    wrong = ToolCall("w", "final_result", '{"name":"Paris","size":"large"}')
    answer = await desk.ask(desk.agent(output_type=City), "Which?", OfflineModel(script=[wrong, GIVES_PARIS]))
    assert (answer.output, answer.model_calls, len(desk.captures)) == (PARIS, 2, 2)
    assert desk.messages == (Message(Role.USER, "Which?"), Message(Role.ASSISTANT, JSON))
    answer = await desk.ask(
        desk.agent(output_type=City), "Which?", OfflineModel(script=["Paris!", GIVES_PARIS])
    )
    assert answer.output == PARIS
    assert len(desk.messages) == 4


async def test_no_answer_of_the_type_is_an_error_that_says_what_was_paid(desk):
    with pytest.raises(ProviderResponseInvalid, match="paid"):
        await desk.ask(desk.agent(output_type=City), "Which?", OfflineModel(script=["No."] * 3))
    assert len(desk.captures) == 2
    assert (desk.messages, desk.chat.open_turn) == ((), None)


async def test_leaving_a_structured_answer_keeps_no_half_of_it(desk):
    model = OfflineModel(script=["Let me think", GIVES_PARIS])
    async with aclosing(desk.agent(output_type=City).stream(desk.question("Which?", model))) as events:
        assert isinstance(await anext(events), TextDelta)
    assert len(desk.captures) == 1
    assert desk.messages == ()


@pytest.mark.parametrize("kind", [NativeOutput, PromptedOutput, ToolOutput])
async def test_the_ways_to_ask_for_it(desk, kind):
    model = Knowing(ALL_CHAT_APIS, script=[GIVES_PARIS if kind is ToolOutput else JSON])
    answer = await desk.ask(desk.agent(output_type=kind(City)), "Which?", model, key="once")
    assert (answer.output, answer.text) == (PARIS, JSON)
    if kind is NativeOutput:
        assert model.requests[0].extra["response_format"]["json_schema"]["name"] == "City"
    again = await desk.ask(desk.agent(output_type=kind(City)), "Which?", model, key="once")
    assert again.output == PARIS


async def test_a_model_without_tools_answers_by_schema_or_by_prompt(desk):
    native = Knowing(frozenset({"chat", "structured_output"}), script=[JSON])
    assert (await desk.ask(desk.agent(output_type=City), "Which?", native)).output == PARIS
    assert "response_format" in native.requests[0].extra
    prompted = Knowing(frozenset({"chat"}), script=[JSON])
    assert (await desk.ask(desk.agent(output_type=City), "Which?", prompted)).output == PARIS
    assert "Paris" not in prompted.requests[0].messages[0].text
    assert prompted.requests[0].messages[0].role is Role.SYSTEM


async def test_tools_for_a_model_without_are_refused_before_anything_is_held(desk):
    with pytest.raises(ApiNotSupported, match="tools"):
        await desk.ask(desk.agent(tools=[add]), "go", Knowing(frozenset({"chat"})))
    assert desk.account.request_count == 0


async def test_a_fallback_that_lacks_tools_is_left_out(desk):
    down, unfit = OfflineModel(script=[ProviderError("down")]), Knowing(frozenset({"chat"}), name="unfit")
    with pytest.raises(ProviderError, match="down"):
        await desk.ask(desk.agent(tools=[add]), "go", down, unfit)
    assert unfit.requests == []


async def test_the_same_key_is_answered_once(desk):
    """Spec D3: a whole turn, however many calls it took."""
    agent = desk.agent(tools=[add])
    first = await desk.ask(agent, "use add with 2 and 3", key="once")
    events = await desk.events(agent, "use add with 2 and 3", key="once")
    again = events[-1]
    assert isinstance(again, AgentAnswer)
    assert (again.text, again.cost, again.output, again.replayed) == (
        first.text,
        first.cost,
        first.text,
        True,
    )
    assert events[0] == TextDelta(first.text)
    assert again.available == desk.account.available
    assert len(desk.captures) == 2
    assert len(desk.messages) == 4
    with pytest.raises(IdempotencyConflict):
        await desk.ask(agent, "use add with 2 and 4", key="once")


async def test_a_structured_answer_is_replayed_as_its_type(desk):
    agent = desk.agent(output_type=City)
    await desk.ask(agent, "Which?", OfflineModel(script=[GIVES_PARIS]), key="once")
    assert (await desk.ask(agent, "Which?", key="once")).output == PARIS


async def test_a_turn_that_failed_or_was_left_may_be_tried_again_under_its_key(desk):
    agent = desk.agent(tools=[add])
    with pytest.raises(ProviderError):
        await desk.ask(agent, "use add with 2 and 3", OfflineModel(script=[ProviderError("down")]), key="k")
    slow = asyncio.create_task(
        desk.ask(agent, "use add with 2 and 3", OfflineModel(delay_seconds=60), key="k")
    )
    await desk.until_held()
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    assert desk.spent == 0
    assert (await desk.ask(agent, "use add with 2 and 3", key="k")).text == "Offline model: add says: 5"


@pytest.mark.parametrize(
    ("text", "output_type", "output"),
    [
        ("Paris", str, "Paris"),
        ("[1,2]", list[int], [1, 2]),
        (JSON, [City, str], PARIS.model_dump()),
        ("Paris", [City, str], "Paris"),
        ("5", add, 5),
    ],
)
def test_outputs_are_made_again_of_what_was_kept(text, output_type, output):
    assert output_of(text, output_type) == output
