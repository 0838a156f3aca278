"""Spec C16: chats use Python functions, and every model call of a tool loop is paid for."""

import json

import pytest
from pydantic_ai import Agent, ModelRetry, RunContext

from prepaid.errors import (
    InsufficientFunds,
    LimitReached,
    MessageLimitReached,
    ProviderError,
    ProviderResponseInvalid,
)
from prepaid.models.offline import OfflineModel
from prepaid.records import Finish, Message, Role, TextDelta, ToolCall, Unit, Usage

from .desk import Desk, add, priced

USES_ADD = ToolCall("a", "add", '{"a":2,"b":3}')


def kinds(messages):
    return [message.role.value for message in messages]


async def test_a_text_is_answered_paid_and_saved(desk):
    answer = await desk.ask(desk.agent(), "count to 3", system_prompt="Be brief.")
    assert (answer.text, answer.output, answer.finish_reason, answer.model_calls) == (
        "1 2 3",
        "1 2 3",
        "stop",
        1,
    )
    assert desk.messages == (Message(Role.USER, "count to 3"), Message(Role.ASSISTANT, "1 2 3"))
    assert desk.captures == [answer.cost]
    assert answer.available == desk.account.available == 1_000_000 - answer.cost


async def test_a_tool_is_used_and_each_call_is_paid(desk):
    """Spec C16: a call for the question, and one for the tool's result."""
    events = await desk.events(desk.agent(tools=[add]), "use add with 2 and 3")
    answer = events[-1]
    (called,) = [event for event in events if isinstance(event, ToolCall)]
    assert (called.name, json.loads(called.arguments)) == ("add", {"a": 2, "b": 3})
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == answer.text
    assert answer.text == "Offline model: add says: 5"
    assert answer.model_calls == len(desk.captures) == 2
    assert answer.cost == sum(desk.captures) == desk.spent == desk.chat.spent
    assert desk.chat.turn_count == 1
    assert desk.messages == (
        Message(Role.USER, "use add with 2 and 3"),
        Message(Role.ASSISTANT, "", (ToolCall("call_1", "add", '{"a":2,"b":3}'),)),
        Message(Role.TOOL, "5", tool_call_id="call_1"),
        Message(Role.ASSISTANT, "Offline model: add says: 5"),
    )
    assert answer.messages == desk.messages
    assert answer.tool_calls == desk.messages[1].tool_calls


async def test_async_tools_and_several_at_once(desk):
    async def greet(name: str) -> str:
        """Greet somebody."""
        return f"Hello {name}"

    calls = (USES_ADD, ToolCall("g", "greet", '{"name":"Bo"}'))
    model = OfflineModel(script=[("Let me see.", *calls), "Done."])
    answer = await desk.ask(desk.agent(tools=[add, greet]), "go", model)
    assert answer.text == "Done."
    assert desk.messages[1] == Message(Role.ASSISTANT, "Let me see.", calls)
    assert [(m.text, m.tool_call_id) for m in desk.messages[2:4]] == [("5", "a"), ("Hello Bo", "g")]


async def test_the_next_turn_knows_the_tools_used_before(desk):
    agent = desk.agent(tools=[add])
    await desk.ask(agent, "use add with 2 and 3")
    await desk.ask(agent, "count to 2")
    answer = await desk.ask(agent, "what did I say")
    assert "Before that you said: “count to 2”" in answer.text
    assert kinds(desk.messages) == ["user", "assistant", "tool", "assistant"] + ["user", "assistant"] * 2
    assert desk.chat.turn_count == 3


async def test_what_a_tool_raises_comes_through_and_what_was_answered_is_paid(desk):
    def broken() -> str:
        """Fails."""
        raise ZeroDivisionError("the tool is broken")

    model = OfflineModel(script=[ToolCall("b", "broken", "{}")])
    with pytest.raises(ZeroDivisionError, match="the tool is broken"):
        await desk.ask(desk.agent(tools=[broken]), "go", model)
    assert len(desk.captures) == 1
    assert desk.messages == ()
    assert desk.chat.open_turn is None
    assert (await desk.ask(desk.agent(), "count to 2")).text == "1 2"


async def test_a_tool_that_asks_for_a_retry_is_called_again(desk):
    tried = []

    def picky(word: str) -> str:
        """Picky."""
        tried.append(word)
        if word != "please":
            raise ModelRetry("Say please.")
        return "thanks"

    model = OfflineModel(
        script=[
            ToolCall("1", "picky", '{"word":"now"}'),
            ToolCall("2", "picky", '{"word":"please"}'),
            "Done.",
        ]
    )
    answer = await desk.ask(desk.agent(tools=[picky]), "go", model)
    assert (tried, answer.text, answer.model_calls) == (["now", "please"], "Done.", 3)
    assert kinds(desk.messages) == ["user", "assistant", "tool", "assistant", "tool", "assistant"]
    assert "Say please." in desk.messages[2].text


async def test_a_tool_nobody_has_and_arguments_that_do_not_fit_are_told_to_the_model(desk):
    model = OfflineModel(
        script=[
            ToolCall("1", "subtract", "{}"),
            ToolCall("2", "add", '{"a":"x"}'),
            ToolCall("3", "add", "{"),
            "No.",
        ]
    )
    with pytest.raises(ProviderResponseInvalid) as refused:
        await desk.ask(desk.agent(tools=[add]), "go", model)
    assert "paid" in str(refused.value)
    assert len(desk.captures) == 3
    assert desk.messages == ()


async def test_the_loop_ends_at_its_limit(desk):
    """Every call up to the limit is paid; the chat keeps nothing of a turn without an answer."""
    model = OfflineModel(script=[ToolCall(str(n), "add", '{"a":1,"b":1}') for n in range(9)])
    with pytest.raises(LimitReached, match="limit of 4") as refused:
        await desk.ask(desk.agent(tools=[add], model_calls_max=4), "go", model)
    assert refused.value.limit_name == "model_calls_max"
    assert len(desk.captures) == 4
    assert desk.messages == ()
    assert desk.chat.open_turn is None


@pytest.mark.parametrize("wanted_calls", [0, 1, 2])
async def test_running_dry_in_the_loop(tmp_path, wanted_calls):
    """Spec C16, D1: calls that were answered are paid, the next is refused, the history is intact."""
    probe = await Desk(tmp_path / "probe.db").open()
    agent = probe.agent(tools=[add])
    await probe.ask(agent, "use add with 2 and 3")
    first, second = probe.captures
    await probe.aclose()

    enough = (first, first + second // 2, first + second)[wanted_calls]
    desk = await Desk(tmp_path / "ledger.db").open(enough - (wanted_calls == 0) * 30)
    if wanted_calls == 2:
        assert (await desk.ask(desk.agent(tools=[add]), "use add with 2 and 3")).is_lowered
        assert desk.account.available == 0
    else:
        with pytest.raises(InsufficientFunds) as refused:
            await desk.ask(desk.agent(tools=[add]), "use add with 2 and 3")
        assert refused.value.available == desk.account.available
        assert desk.messages == ()
    assert len(desk.captures) == wanted_calls
    assert desk.account.held == 0
    assert desk.chat.open_turn is None
    await desk.aclose()


async def test_a_failing_model_falls_back_at_the_price_of_the_one_that_answers(desk):
    """Spec C12: also in mid-loop."""
    dear = OfflineModel(
        name="dear",
        price=priced(5_000_000, 9_000_000),
        script=[USES_ADD, ProviderError("down"), ProviderError("down")],
    )
    cheap = OfflineModel(name="cheap", price=priced(1_000_000, 1_000_000), script=["Five."])
    answer = await desk.ask(desk.agent(tools=[add]), "go", dear, cheap)
    lines = [line for line in desk.store.reads.transfers("ses_1") if line.kind == "capture"]
    assert (answer.text, answer.model) == ("Five.", "cheap")
    assert [line.model for line in lines] == ["dear", "cheap"]
    assert lines[1].amount == lines[1].input_units + lines[1].output_units
    assert answer.cost == sum(desk.captures)


async def test_when_every_model_fails_only_what_was_answered_is_paid(desk):
    """Spec C12: a request that failed costs nothing."""
    with pytest.raises(ProviderError, match="down"):
        await desk.ask(desk.agent(tools=[add]), "go", OfflineModel(script=[ProviderError("down")]))
    assert desk.captures == []
    with pytest.raises(ProviderError, match="down"):
        await desk.ask(desk.agent(tools=[add]), "go", OfflineModel(script=[USES_ADD, ProviderError("down")]))
    assert len(desk.captures) == 1
    assert (desk.messages, desk.chat.open_turn) == ((), None)


async def test_an_answer_cut_by_the_limit_says_so(desk):
    answer = await desk.ask(desk.agent(tools=[add]), "count to 50", output_tokens_max=5)
    assert (answer.text, answer.finish_reason, answer.output_limit) == ("1 2 3 4 5", "length", 5)
    nothing = OfflineModel(script=[Finish("length", None)])
    answer = await desk.ask(desk.agent(), "go", nothing)
    assert (answer.text, answer.finish_reason) == ("", "length")
    half_a_call = ("So", ToolCall("x", "add", '{"a":'), Finish("length", Usage(9, 9)))
    answer = await desk.ask(
        desk.agent(tools=[add]), "go", OfflineModel(script=[USES_ADD, half_a_call, half_a_call])
    )
    assert (answer.text, answer.finish_reason) == ("So", "length")
    assert answer.tool_calls[0] == USES_ADD
    assert desk.messages[-1] == Message(Role.ASSISTANT, "So")
    assert desk.chat.turn_count == 3


async def test_prices_per_byte(desk):
    model = OfflineModel(price=priced(1_000_000, 1_000_000, Unit.BYTE))
    answer = await desk.ask(desk.agent(tools=[add]), "use add with 2 and 3", model)
    assert answer.cost == answer.usage.input_bytes + answer.usage.output_bytes == desk.spent


async def test_an_agent_as_a_tool_is_paid_too_and_leaves_the_chat_alone(desk):
    """The other agent runs on the same model: its calls are paid at once, and nobody waits for a place."""

    async def think(ctx: RunContext[None], topic: str) -> str:
        """Think about it."""
        inner = Agent(ctx.model, tools=[add])
        return (await inner.run(f"use add with 7 and 8, {topic}")).output

    calls = tuple(ToolCall(str(n), "think", '{"topic":"stars"}') for n in range(2))
    model = OfflineModel(script=[calls])
    events = await desk.events(desk.agent(tools=[think]), "go", model)
    answer = events[-1]
    assert answer.text == "Offline model: " + "; ".join(["think says: Offline model: add says: 15"] * 2)
    assert answer.model_calls == len(desk.captures) == 6
    assert answer.cost == sum(desk.captures)
    assert kinds(desk.messages) == ["user", "assistant", "tool", "tool", "assistant"]
    assert [event.name for event in events if isinstance(event, ToolCall)] == ["think", "think"]


async def test_a_full_chat_is_refused(tmp_path):
    desk = await Desk(tmp_path / "ledger.db").open(message_max=3)
    with pytest.raises(MessageLimitReached):
        await desk.ask(desk.agent(tools=[add]), "use add with 2 and 3")
    assert (desk.messages, len(desk.captures), desk.account.held) == ((), 1, 0)
    assert (await desk.ask(desk.agent(), "count to 1")).text == "1"
    await desk.aclose()
