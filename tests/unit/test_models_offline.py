"""The offline model: deterministic, exact in its counts, and scriptable."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import validate

from prepaid.errors import ProviderStreamBroken
from prepaid.models.contract import Model
from prepaid.models.measure import request_bytes, text_bytes
from prepaid.models.offline import OfflineModel, count_tokens
from prepaid.records import ChatRequest, Finish, Message, Role, TextDelta, Tool, ToolCall, Usage

ADD = Tool(
    "add",
    "Adds two numbers.",
    {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
)


def ask(*texts: str, system: str | None = None, tools=(), limit=None) -> ChatRequest:
    """A request whose last message is the user's; the texts before are question, answer, question …"""
    messages = [Message(Role.SYSTEM, system)] if system is not None else []
    for number, text in enumerate(texts):
        messages.append(Message(Role.ASSISTANT if number % 2 else Role.USER, text))
    return ChatRequest("offline", tuple(messages), output_tokens_max=limit, tools=tuple(tools))


async def answer(model: Model, request: ChatRequest):
    """Text, tool calls and end of one answer."""
    events = [event async for event in model.stream(request)]
    assert [event for event in events if isinstance(event, Finish)] == events[-1:]
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    return text, [event for event in events if isinstance(event, ToolCall)], events[-1]


async def test_it_says_that_it_is_offline():
    """Spec C14."""
    text, _, end = await answer(OfflineModel(), ask("Hello!"))
    assert "offline" in text
    assert "“Hello!”" in text
    assert end.reason == "stop"


@given(st.text(), st.text(), st.integers(0, 40))
async def test_usage_is_exact(question, system, limit):
    model = OfflineModel()
    request = ask(question, system=system, tools=[ADD], limit=limit)
    text, calls, end = await answer(model, request)
    assert end.usage.input_tokens == model.input_tokens_max(request)
    spoken = count_tokens(text) + sum(
        count_tokens(call.name) + count_tokens(call.arguments) for call in calls
    )
    assert end.usage.output_tokens == spoken <= limit
    assert end.usage.input_bytes == request_bytes(request)
    assert end.usage.output_bytes == text_bytes(text) + sum(text_bytes(c.name + c.arguments) for c in calls)


@given(st.text())
async def test_pieces_count_as_the_whole(text):
    pieces = [e.text async for e in OfflineModel(script=[text]).stream(ask("x")) if isinstance(e, TextDelta)]
    assert "".join(pieces) == text
    assert all(count_tokens("".join(pieces[:n])) == n for n in range(len(pieces) + 1))
    assert count_tokens(text) == len(pieces) or not text


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("Hello, world!", 4), ("  \n", 1), ("one two ", 3), ("x" * 33, 3), ("héé 你好", 2)],
)
def test_tokens_are_words_and_signs(text, tokens):
    assert count_tokens(text) == OfflineModel().estimate_tokens(text) == tokens


@pytest.mark.parametrize(("asked", "limit", "reason"), [(7, None, "stop"), (7, 7, "stop"), (7, 6, "length")])
async def test_it_counts_to_an_exact_size(asked, limit, reason):
    text, _, end = await answer(OfflineModel(), ask(f"Please count to {asked}.", limit=limit))
    said = min(asked, limit or asked)
    assert text == " ".join(str(number) for number in range(1, said + 1))
    assert (end.reason, end.usage.output_tokens) == (reason, said)


async def test_it_remembers_its_own_chat_only():
    model = OfflineModel()
    text, _, _ = await answer(model, ask("I like tea.", "Noted.", "What did I say?"))
    assert "“I like tea.”" in text
    text, _, _ = await answer(model, ask("What did I say?"))
    assert "nothing before" in text
    assert "no" in (await answer(model, ChatRequest("offline", ())))[0]


async def test_its_instructions_show():
    model = OfflineModel()
    pirate, _, _ = await answer(model, ask("Hi", system="You are a pirate"))
    poet, _, _ = await answer(model, ask("Hi", system="You are a poet"))
    assert "pirate" in pirate
    assert pirate != poet


async def test_long_questions_are_quoted_in_part():
    text, _, _ = await answer(OfflineModel(), ask("x" * 5000))
    assert len(text) < 600


async def test_it_calls_a_tool_and_uses_the_result():
    """Spec C16."""
    model = OfflineModel()
    _, calls, end = await answer(model, ask("Use add with 2 and 3", tools=[ADD]))
    assert calls == [ToolCall("call_1", "add", '{"a": 2, "b": 3}')]
    assert end.reason == "tool_calls"
    asked = ask("Use add with 2 and 3", tools=[ADD]).messages
    after = (*asked, Message(Role.ASSISTANT, "", tuple(calls)), Message(Role.TOOL, "5", (), "call_1"))
    text, calls, end = await answer(model, ChatRequest("offline", after, tools=(ADD,)))
    assert text == "Offline model: add says: 5"
    assert (calls, end.reason) == ([], "stop")
    again = ChatRequest("offline", (*after, Message(Role.USER, "add 4 to 5")), tools=(ADD,))
    assert (await answer(model, again))[1] == [ToolCall("call_2", "add", '{"a": 4, "b": 5}')]


async def test_a_tool_that_is_not_named_is_not_called():
    assert (await answer(OfflineModel(), ask("What a saddle!", tools=[ADD])))[1] == []


async def test_where_a_call_is_required_the_last_tool_is_called():
    """Structured output: the tool for the answer is listed last, and takes the result of the others too."""
    final = Tool("final", "The answer", {"type": "object", "properties": {"sum": {"type": "integer"}}})
    required = replace(ask("What is 5?", tools=[ADD, final]), extra={"tool_choice": "required"})
    assert (await answer(OfflineModel(), required))[1] == [ToolCall("call_1", "final", '{"sum": 5}')]
    call = ToolCall("call_1", "add", "{}")
    used = (Message(Role.ASSISTANT, "", (call,)), Message(Role.TOOL, "9", (), "call_1"))
    after = replace(required, messages=(*required.messages, *used))
    assert [each.name for each in (await answer(OfflineModel(), after))[1]] == ["final"]
    unforced = replace(required, extra={})
    assert (await answer(OfflineModel(), unforced))[1] == []


async def test_a_tool_call_above_the_limit_is_not_made():
    _, calls, end = await answer(OfflineModel(), ask("add 1 and 2", tools=[ADD], limit=3))
    assert (calls, end.reason, end.usage.output_tokens) == ([], "length", 0)


SCHEMA = {
    "type": "object",
    "$defs": {"Point": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1},
        "unit": {"enum": ["celsius", "kelvin"]},
        "at": {"$ref": "#/$defs/Point"},
        "sure": {"type": "boolean"},
        "note": {"anyOf": [{"type": "null"}, {"type": "string"}]},
        "many": {"type": "array", "items": {"type": ["null", "integer"]}, "minItems": 1},
        "all": {"type": "array", "items": {"type": "number"}, "maxItems": 9},
        "kind": {"const": "forecast"},
        "nothing": {"type": "null"},
        "any": {},
        "deep": {"properties": {"a": {"type": "string"}}},
    },
    "required": [
        "city",
        "days",
        "unit",
        "at",
        "sure",
        "note",
        "many",
        "all",
        "kind",
        "nothing",
        "any",
        "deep",
    ],
}


@given(st.text())
async def test_arguments_fit_their_schema(words):
    _, calls, _ = await answer(OfflineModel(), ask("weather " + words, tools=[Tool("weather", "", SCHEMA)]))
    if "{" not in words:
        validate(json.loads(calls[0].arguments), SCHEMA)


async def test_arguments_are_taken_from_the_question():
    question = "weather for 'Oslo' for 3 days in kelvin at 59.9"
    _, calls, _ = await answer(OfflineModel(), ask(question, tools=[Tool("weather", "", SCHEMA)]))
    arguments = json.loads(calls[0].arguments)
    assert (arguments["city"], arguments["days"], arguments["unit"]) == ("Oslo", 3, "kelvin")
    assert arguments["at"] == {"x": 59.9}


async def test_json_in_the_question_is_the_arguments():
    question = 'add {"a": 1, "b": [2]} please'
    _, calls, _ = await answer(OfflineModel(), ask(question, tools=[ADD]))
    assert calls[0].arguments == '{"a": 1, "b": [2]}'


async def test_a_schema_without_end_ends():
    endless = {"$ref": "#/properties/self", "properties": {"self": {"$ref": "#/properties/self"}}}
    nested = {"properties": {"self": {"$ref": "#"}}, "required": ["self"]}
    for schema in (endless, nested):
        _, calls, _ = await answer(OfflineModel(), ask("go", tools=[Tool("go", "", schema)]))
        json.loads(calls[0].arguments)


async def test_a_script_is_played_in_order():
    call = ToolCall("c", "add", "{}")
    claimed = Usage(input_tokens=1, output_tokens=10**6)
    model = OfflineModel(
        script=[
            "One two",
            call,
            ("Half an", ProviderStreamBroken("gone")),
            ("x", claimed),
            ("y", Finish("stop", None)),
        ]
    )
    assert (await answer(model, ask("?")))[0] == "One two"
    assert (await answer(model, ask("?")))[1] == [call]
    broken = model.stream(ask("?"))
    assert [await anext(broken), await anext(broken)] == [TextDelta("Half"), TextDelta(" an")]
    with pytest.raises(ProviderStreamBroken):
        await anext(broken)
    assert (await answer(model, ask("?")))[2] == Finish("stop", claimed)
    assert (await answer(model, ask("?")))[2] == Finish("stop", None)
    assert "offline" in (await answer(model, ask("?")))[0]
    model.script.append("one two three")
    text, _, end = await answer(model, ask("?", limit=2))
    assert (text, end.reason) == ("one two", "length")


async def test_a_delay_passes_before_each_token(monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr("prepaid.models.offline.asyncio.sleep", sleep)
    await answer(OfflineModel(delay_seconds=0.5), ask("count to 4"))
    assert slept == [0.5] * 4


async def test_it_costs_one_and_two_base_units():
    info = OfflineModel("EUR").info
    tier = info.price.tiers[0]
    assert (info.name, info.provider, info.price.asset) == ("offline", "offline", "EUR")
    assert (tier.input_per_million, tier.output_per_million) == (1_000_000, 2_000_000)


async def test_it_draws():
    """Spec A15: a picture that every machine finds the same, so that its content id is."""
    text, _, end = await answer(OfflineModel(), ask("Draw a cat."))
    kind, _, encoded = text.partition(";base64,")
    picture = base64.b64decode(encoded, validate=True)
    assert kind == "data:image/png"
    assert blake2b(picture, digest_size=8).hexdigest() == "cb6fb346318ab8e6"
    assert end.usage.output_tokens == count_tokens(text)
    other, _, _ = await answer(OfflineModel(), ask("Draw a dog."))
    assert other != text
