"""What goes to the upstream and comes back from it: untouched but for what the hold demands."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepaid.errors import InvalidRequestError
from prepaid.meter import Payer
from prepaid.relay import CHAT, EMBEDDINGS, RESPONSES, Order
from providers.fake_openai import Behaviour

NOBODY = Payer("ses_1", "ann", "USD")


async def test_unknown_fields_pass_in_both_directions(counter, fake):
    """Spec D2."""
    payer = await counter.desk.payer(10_000)
    unknown = {"x_любой": [None, {"a": 1.5}], "seed": 7, "logit_bias": {"1": -100}, "metadata": {"k": "v"}}
    body = b'{"id": "1",  "x_new": {"deep": [1e2, null]}, "choices": [{"message": {"content": "Hi"}}], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}'
    fake.next(Behaviour(raw=body, content_type="application/json; charset=utf-8"))
    answered = await counter.ask(payer, max_tokens=5, **unknown)
    assert answered.content == body
    sent = fake.requests[0]
    assert {name: sent[name] for name in unknown} == unknown
    assert sent == {"model": "fast", "messages": sent["messages"], "max_tokens": 5, **unknown}
    assert fake.headers[0]["authorization"] == "Bearer sk-secret"
    counter.desk.check(payer, spent=3 + 2)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
async def test_chunks_pass_byte_by_byte(counter, fake, line_end):
    """Spec D2: whatever the upstream writes around its data, and however it is cut into packets."""
    payer = await counter.desk.payer(10_000)
    lines = [
        ": keep-alive é",
        "",
        'data:{"choices":[{"index":0,"delta":{"content":"Hi 🎈"}}],  "x":1}',
        "",
        "event: odd",
        "id: 7",
        'data: {"choices":',
        'data: [{"index":0,"delta":{},"finish_reason":"stop"}]}',
        "",
        'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}',
        "",
        "data: [DONE]",
        "",
        "",
    ]
    whole = line_end.join(lines).encode()
    fake.next(Behaviour(raw=[whole[at : at + 1] for at in range(len(whole))]))
    answered = await counter.ask(payer, stream=True, stream_options={"include_usage": True})
    assert answered.content == whole
    counter.desk.check(payer, spent=3 + 2)


async def test_connections_are_used_again(counter, fake):
    """Also where the end of a stream comes a moment after its last event."""
    payer = await counter.desk.payer(10_000)
    end = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
    fake.default = Behaviour(raw=[end, b"data: [DONE]\n\n", b": bye\n\n"], chunk_delay_seconds=0.005)
    for _ in range(3):
        await counter.ask(payer, stream=True)
    assert len(set(fake.ports)) == 1


@pytest.mark.parametrize("wants", [None, {}, {"include_usage": False}, {"include_usage": True}])
async def test_usage_is_asked_for_and_told_only_to_who_wants_it(counter, fake, wants):
    payer = await counter.desk.payer(10_000)
    options = {} if wants is None else {"stream_options": {**wants, "x": 1}}
    answered = await counter.ask(payer, stream=True, **options)
    assert fake.requests[0]["stream_options"]["include_usage"] is True
    assert (wants is None) or fake.requests[0]["stream_options"]["x"] == 1
    is_wanted = bool(wants and wants.get("include_usage"))
    assert any("usage" in chunk for chunk in answered.chunks) is is_wanted
    assert answered.text == "Hello from the fake provider."
    assert answered.events[-1] == b"[DONE]"
    counter.desk.check(payer, spent=2 + 5 * 2)


async def test_a_prefix_is_taken_off(open_counter, fake):
    counter = open_counter(
        upstreams={"fast": {"prefix": "far/"}},
        prices={"far/deep": {"input_per_million": "1", "output_per_million": "1"}},
    )
    payer = await counter.desk.payer(500_000)
    await counter.ask(payer, "far/deep")
    assert fake.requests[0]["model"] == "deep"
    assert [line.split()[-1] for line in counter.desk.lines(payer)] == ["far/deep"]


@pytest.mark.parametrize(
    ("given_limits", "sent"),
    [
        ({}, {"max_tokens": 64}),
        ({"max_tokens": None}, {"max_tokens": 64}),
        ({"max_tokens": 7}, {"max_tokens": 7}),
        ({"max_completion_tokens": 7}, {"max_completion_tokens": 7}),
        ({"max_completion_tokens": 9, "max_tokens": 7}, {"max_completion_tokens": 7, "max_tokens": 7}),
        ({"max_tokens": 5000}, {"max_tokens": 1000}),
    ],
)
async def test_the_limit_that_was_quoted_is_what_the_upstream_is_told(counter, fake, given_limits, sent):
    """Spec D1: otherwise an answer could cost more than its hold."""
    payer = await counter.desk.payer(100_000)
    await counter.ask(payer, **given_limits)
    told = fake.requests[0]
    names = ("max_tokens", "max_completion_tokens")
    assert {name: told[name] for name in names if told.get(name) is not None} == sent


async def test_an_upstream_may_call_the_limit_otherwise(open_counter, fake):
    counter = open_counter(upstreams={"fast": {"output_limit_field": "max_completion_tokens"}})
    payer = await counter.desk.payer(10_000)
    await counter.ask(payer)
    assert fake.requests[0]["max_completion_tokens"] == 64
    assert "max_tokens" not in fake.requests[0]


def test_a_limit_said_twice_is_sent_once():
    """Another parser might take the other one."""
    raw = b'{"model": "m", "messages": [{"role": "user"}], "max_tokens": 1000000, "max_tokens": 5}'
    order = Order.read(CHAT, NOBODY, raw)
    assert order.asked.limit == 5
    assert json.dumps(CHAT.sent(order.body, "m", 5, "max_tokens")).count("max_tokens") == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_responses(counter, fake, stream):
    """Spec D2."""
    payer = await counter.desk.payer(10_000)
    answered = await counter.ask(
        payer, api=RESPONSES, input="Hello there", stream=stream, max_output_tokens=3
    )
    assert fake.requests[0]["max_output_tokens"] == 3
    final = answered.chunks[-1]["response"] if stream else answered.json
    assert final["status"] == "incomplete"
    assert final["x_unknown"] == {"kept": True}
    if stream:
        assert [chunk["delta"] for chunk in answered.chunks if "delta" in chunk] == ["Hello", " from", " the"]
    counter.desk.check(payer, spent=2 + 3 * 2)


async def test_embeddings_cost_their_input(counter, fake, open_counter):
    """Spec D2."""
    counter = open_counter(
        prices={"fast": {"input_per_million": "1", "output_per_million": "2", "apis": ["embeddings"]}}
    )
    payer = await counter.desk.payer(10_000)
    answered = await counter.ask(payer, api=EMBEDDINGS, input=["Hello there", "you"], encoding_format="float")
    assert [each["embedding"] for each in answered.json["data"]] == [[11.0, 1.0], [3.0, 1.0]]
    assert fake.requests[0] == {"model": "fast", "input": ["Hello there", "you"], "encoding_format": "float"}
    counter.desk.check(payer, spent=3)
    assert answered.receipt.held < 200
    assert not answered.receipt.is_lowered


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
PARTS = st.sampled_from(
    ["text", "image_url", "input_text", "input_image", "message", "function", "auto", "json_schema"]
)
FIELDS = st.sampled_from(
    [
        "messages",
        "input",
        "max_tokens",
        "n",
        "stream",
        "stream_options",
        "tools",
        "response_format",
        "text",
        "instructions",
        "service_tier",
        "modalities",
        "max_output_tokens",
        "functions",
        "content",
        "role",
        "type",
    ]
)
NESTED = st.recursive(
    JSON | PARTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5),
    max_leaves=12,
)


@given(st.sampled_from([CHAT, RESPONSES, EMBEDDINGS]), st.dictionaries(FIELDS, NESTED, max_size=6))
def test_no_body_makes_the_reader_crash(api, body):
    try:
        order = Order.read(api, NOBODY, json.dumps({"model": "m", **body}).encode())
    except InvalidRequestError:
        return
    assert all(isinstance(text, str) for text in api.texts(order.body))
    api.sent(order.body, "m", 1, "max_tokens")
    assert order.asked.choices >= 0
    if api is not EMBEDDINGS:
        api.question(order.body)


@given(
    st.sampled_from([CHAT, RESPONSES]),
    st.dictionaries(
        FIELDS | st.sampled_from(["choices", "delta", "usage", "output", "tool_calls", "response", "error"]),
        NESTED,
        max_size=6,
    ),
)
def test_no_answer_makes_the_reader_crash(api, reply):
    from prepaid.errors import ProviderError
    from prepaid.models.usage import read_usage
    from prepaid.records import Usage

    order = Order.read(api, NOBODY, b'{"model": "m", "messages": [{}], "input": "a"}')
    reader = api.reader("up", None, order.asked)
    try:
        assert all(isinstance(text, str) for text in api.reply_texts(reply))
        api.reply_message(reply)
        reader.see(reply)
        reader.message()
        read_usage(reader.usage, api.usage, Usage(1, 1))
    except ProviderError:
        pass


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"model": 1}',
        b'{"model": ""}',
        b'{"model": "m"}',
        b'{"model": "m", "messages": []}',
        b'{"model": "m", "messages": [1]}',
        b'{"model": "m", "messages": [{}], "max_tokens": 0}',
        b"[" * 5000,
        b'{"model": "m", "messages": [{}], "max_tokens": true}',
        b'{"model": "m", "messages": [{}], "n": -1}',
        b'{"model": "m", "messages": [{}], "n": 129}',
        b'{"model": "m", "messages": [{"content": "\xff"}]}',
        b'{"model": "m", "messages": [{"content": "\\ud800"}]}',
        b'{"model": "m", "messages": [{}], "x": NaN}',
    ],
)
def test_what_is_no_request_is_refused(raw):
    with pytest.raises(InvalidRequestError):
        Order.read(CHAT, NOBODY, raw)
