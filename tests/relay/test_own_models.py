"""Models of ours answer in OpenAI's words."""

from __future__ import annotations

import base64
import json
import struct

import pytest

from prepaid.errors import ApiNotSupported, InvalidRequestError, ProviderError
from prepaid.models.offline import OfflineModel
from prepaid.records import Finish, ToolCall, Usage
from prepaid.relay import EMBEDDINGS, RESPONSES

TOOL = {
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
}
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}


def asks(text):
    return {"messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize("stream", [False, True])
async def test_the_offline_model_answers_and_is_paid_exactly(counter, stream):
    """Spec C14, D2."""
    payer = await counter.desk.payer(10_000)
    answered = await counter.ask(payer, "offline", stream=stream, **asks("count to 5"))
    text = answered.text if stream else answered.json["choices"][0]["message"]["content"]
    assert text == "1 2 3 4 5"
    assert answered.receipt.held == 3 + 64 * 2
    counter.desk.check(payer, spent=3 + 5 * 2)


@pytest.mark.parametrize("stream", [False, True])
async def test_choices_and_limits(counter, stream):
    payer = await counter.desk.payer(10_000)
    answered = await counter.ask(
        payer, "offline", stream=stream, n=2, max_completion_tokens=3, **asks("count to 5")
    )
    if stream:
        ends = [choice for chunk in answered.chunks for choice in chunk["choices"] if choice["finish_reason"]]
    else:
        ends = answered.json["choices"]
    assert [(choice["index"], choice["finish_reason"]) for choice in ends] == [(0, "length"), (1, "length")]
    counter.desk.check(payer, spent=3 + 2 * 3 * 2)


@pytest.mark.parametrize("stream", [False, True])
async def test_tools(counter, stream):
    payer = await counter.desk.payer(10_000)
    tools = [{"type": "function", "function": TOOL}]
    answered = await counter.ask(payer, "offline", stream=stream, tools=tools, **asks("use add with 7"))
    if stream:
        (made,) = [
            call
            for chunk in answered.chunks
            for choice in chunk["choices"]
            for call in choice["delta"].get("tool_calls", ())
        ]
    else:
        (made,) = answered.json["choices"][0]["message"]["tool_calls"]
        assert answered.json["choices"][0]["message"]["content"] is None
    assert made["function"] == {"name": "add", "arguments": '{"a": 7}'}
    history = [
        {"role": "user", "content": "use add with 7"},
        {"role": "assistant", "content": None, "tool_calls": [made]},
    ]
    history.append({"role": "tool", "tool_call_id": made["id"], "content": "8"})
    answered = await counter.ask(payer, "offline", tools=tools, messages=history)
    assert answered.json["choices"][0]["message"]["content"] == "Offline model: add says: 8"


@pytest.mark.parametrize("stream", [False, True])
async def test_responses_with_tools(counter, stream):
    payer = await counter.desk.payer(10_000)
    more = {"api": RESPONSES, "stream": stream, "tools": [{"type": "function", **TOOL}]}
    answered = await counter.ask(payer, "offline", input="use add with 7", instructions="Be kind.", **more)
    final = answered.chunks[-1]["response"] if stream else answered.json
    (call,) = final["output"]
    assert (call["name"], call["arguments"], final["status"]) == ("add", '{"a": 7}', "completed")
    items = [
        {"role": "user", "content": "use add with 7"},
        call,
        {"type": "function_call_output", "call_id": call["call_id"], "output": "8"},
    ]
    answered = await counter.ask(payer, "offline", input=items, **more)
    final = answered.chunks[-1]["response"] if stream else answered.json
    assert final["output"][0]["content"][0]["text"] == "Offline model: add says: 8"
    if stream:
        assert [chunk["sequence_number"] for chunk in answered.chunks] == [*range(len(answered.chunks))]


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_structured_output(counter, api):
    payer = await counter.desk.payer(10_000)
    form = {"name": "person", "schema": SCHEMA, "strict": True}
    if api == "chat":
        wish = {"response_format": {"type": "json_schema", "json_schema": form}}
        answered = await counter.ask(payer, "offline", **wish, **asks("I am 41"))
        text = answered.json["choices"][0]["message"]["content"]
    else:
        wish = {"text": {"format": {"type": "json_schema", **form}}}
        answered = await counter.ask(payer, "offline", api=RESPONSES, input="I am 41", **wish)
        text = answered.json["output"][0]["content"][0]["text"]
    assert json.loads(text) == {"age": 41}
    answered = await counter.ask(payer, "offline", response_format={"type": "json_object"}, **asks("Hi"))
    assert isinstance(json.loads(answered.json["choices"][0]["message"]["content"]), dict)


async def test_embeddings(counter):
    payer = await counter.desk.payer(10_000)
    inputs = ["the cat sat", "the cat sat there", "quite something else"]
    answered = await counter.ask(payer, "offline", api=EMBEDDINGS, input=inputs)
    one, two, three = (each["embedding"] for each in answered.json["data"])
    dot = lambda a, b: sum(x * y for x, y in zip(a, b, strict=True))  # noqa: E731
    assert abs(dot(one, one) - 1) < 1e-9
    assert dot(one, two) > dot(one, three)
    again = await counter.ask(
        payer, "offline", api=EMBEDDINGS, input=inputs[0], encoding_format="base64", dimensions=8
    )
    (vector,) = (each["embedding"] for each in again.json["data"])
    assert len(struct.unpack("<8f", base64.b64decode(vector))) == 8
    counter.desk.check(payer, spent=3 + 4 + 3 + 3)
    for wrong in ({"dimensions": 5000}, {"encoding_format": "int8"}, {"input": [1, 2]}):
        with pytest.raises(InvalidRequestError):
            await counter.ask(payer, "offline", api=EMBEDDINGS, **({"input": "a"} | wrong))
    counter.desk.check(payer, spent=13)


@pytest.mark.parametrize("stream", [False, True])
async def test_models_that_misbehave_cost_nothing_or_what_we_count(open_counter, stream):
    script = [
        ("Half", RuntimeError("boom")),
        ProviderError("no"),
        ("Hi there", Finish("stop", None)),
        ("Hi", Usage(-1, 1)),
    ]
    model = OfflineModel(name="mine", script=script)
    counter = open_counter(models=[model])
    payer = await counter.desk.payer(10_000)
    for _ in range(2):
        with pytest.raises(ProviderError):
            await counter.ask(payer, "mine", stream=stream, **asks("Hello"))
    counter.desk.check(payer, spent=0)
    await counter.ask(payer, "mine", stream=stream, **asks("Hello"))
    counter.desk.check(payer, spent=1 + 2 * 2)
    await counter.ask(payer, "mine", stream=stream, **asks("Hello"))  # spec P5: our own count of the input
    counter.desk.check(payer, spent=5 + 1 + 2)


async def test_half_a_surrogate_pair_is_written_as_a_replacement(open_counter):
    counter = open_counter(
        models=[OfflineModel(name="mine", script=["\ud800", ToolCall("c", "n", "\udfff")])]
    )
    payer = await counter.desk.payer(10_000)
    answered = await counter.ask(payer, "mine", stream=True)
    assert answered.text == "\ufffd"


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "pope", "content": "Hi"}]},
        {"temperature": "hot"},
        {"tools": [{"type": "function"}]},
    ],
)
async def test_what_our_models_do_not_understand_is_refused(counter, body):
    payer = await counter.desk.payer(10_000)
    with pytest.raises(InvalidRequestError):
        await counter.ask(payer, "offline", **body)
    with pytest.raises(ApiNotSupported):
        await counter.ask(
            payer,
            "offline",
            messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
        )
    counter.desk.check(payer, spent=0)
