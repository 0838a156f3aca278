"""What goes to the upstream and comes back from it: untouched but for what the hold demands."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepaid.errors import InvalidRequestError, ProviderError, ProviderResponseInvalid
from prepaid.meter import Payer
from prepaid.relay import CHAT, EMBEDDINGS, RESPONSES, Order
from providers.fake_openai import Behaviour

NOBODY = Payer("ses_1", "ann", "USD")


async def test_free_fields_pass_as_they_came_and_so_does_the_reply(counter, fake):
    """Spec D2, P1: ours are lists of what may be sent; what comes back is the provider's own."""
    payer = await counter.desk.payer(10_000)
    free = {
        "stop": [None, "a"],
        "seed": 7,
        "logit_bias": {"1": -100},
        "metadata": {"k": "любой"},
        "user": None,
    }
    body = b'{"id": "1",  "x_new": {"deep": [1e2, null]}, "choices": [{"message": {"content": "Hi"}}], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}'
    fake.next(Behaviour(raw=body, content_type="application/json; charset=utf-8"))
    answered = await counter.ask(payer, max_tokens=5, **free)
    assert answered.content == body
    sent = fake.requests[0]
    assert sent == {"model": "fast", "messages": sent["messages"], "max_tokens": 5, **free}
    assert fake.headers[0]["authorization"] == "Bearer sk-secret"
    counter.desk.check(payer, spent=3 + 2)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
async def test_data_of_chunks_passes_byte_by_byte(counter, fake, line_end):
    """Spec D2, P12: however it is cut into packets; nothing that the upstream writes around it passes."""
    payer = await counter.desk.payer(10_000)
    lines = [
        ": served by sk-secret at 10.0.0.7 é",
        "",
        'data:{"choices":[{"index":0,"delta":{"content":"Hi 🎈"}}],  "x":1}',
        "",
        ": and again",
        "",
        'data: {"detail": "of another shape"}',
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
    assert answered.content.replace(b": waiting\n\n", b"").decode() == (
        'data: {"choices":[{"index":0,"delta":{"content":"Hi 🎈"}}],  "x":1}\n\n'
        'data: {"choices":\ndata: [{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
        'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n'
        "data: [DONE]\n\n"
    )
    counter.desk.check(payer, spent=3 + 2)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_operator_s_key_passes_nowhere(counter, fake, stream):
    """Spec P12: not even as an answer's own words."""
    payer = await counter.desk.payer(10_000)
    fake.next(Behaviour(text="The key is sk-secret indeed"))
    answered = await counter.ask(payer, stream=stream)
    assert b"sk-secret" not in answered.content
    assert b"***" in answered.content


@pytest.mark.parametrize(
    "reply",
    [
        {"detail": "the key sk-secret is not valid"},
        {"choices": None},
        {"object": "list", "data": []},
        {"choices": [{"error": {"message": "sk-secret has no funds"}}], "usage": {"prompt_tokens": 3}},
    ],
)
async def test_what_is_no_reply_of_the_api_is_none(counter, fake, reply):
    """Spec P12: it is the upstream's failure, costs nothing, and its words stay here."""
    payer = await counter.desk.payer(10_000)
    fake.next(Behaviour(raw=json.dumps(reply), content_type="application/json"))
    with pytest.raises(ProviderError) as refused:
        await counter.ask(payer)
    assert "sk-secret" not in str(refused.value)
    counter.desk.check(payer, spent=0)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_of_too_many_parts_is_refused_before_it_is_parsed(counter, fake, stream):
    """Spec P10: a parser in C would stop everybody."""
    payer = await counter.desk.payer(10_000)
    parts = '{"a":1},' * 200_000
    reply = '{"choices":[{"index":0,"delta":{"content":"x"}}],"more":[' + parts + "0]}"
    raw = f"data: {reply}\n\ndata: [DONE]\n\n" if stream else reply
    kind = "text/event-stream" if stream else "application/json"
    fake.next(Behaviour(raw=raw, content_type=kind))
    with pytest.raises(ProviderResponseInvalid, match="400000"):
        await counter.ask(payer, stream=stream)
    counter.desk.check(payer, spent=0)


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
    options = {} if wants is None else {"stream_options": {**wants, "include_obfuscation": False}}
    answered = await counter.ask(payer, stream=True, **options)
    assert fake.requests[0]["stream_options"]["include_usage"] is True
    assert (wants is None) or fake.requests[0]["stream_options"]["include_obfuscation"] is False
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
        ({"max_completion_tokens": 7}, {"max_tokens": 7}),  # in the field that the upstream reads
        ({"max_completion_tokens": 9, "max_tokens": 7}, {"max_tokens": 7}),
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


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_openai_is_sent_the_limit_as_its_client_named_it(open_counter, fake, field):
    """It knows both, and refuses either for some models."""
    counter = open_counter(upstreams={"fast": {"provider": "openai"}})
    payer = await counter.desk.payer(10_000)
    await counter.ask(payer, **{field: 7})
    assert fake.requests[0][field] == 7
    assert len(fake.requests[0].keys() & {"max_tokens", "max_completion_tokens"}) == 1


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

    asked = {"messages": [{"role": "user"}]} if api is CHAT else {"input": "a"}
    order = Order.read(api, NOBODY, json.dumps({"model": "m", **asked}).encode())
    reader = api.reader("up", order.asked)
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
        b'{"model": "m", "messages": [{}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": [7]}]}',
        b'{"model": "m", "messages": [{"role": "user"}], "max_tokens": 0}',
        b"[" * 5000,
        b'{"model": "m", "messages": [{"role": "user"}], "max_tokens": true}',
        b'{"model": "m", "messages": [{"role": "user"}], "n": -1}',
        b'{"model": "m", "messages": [{"role": "user"}], "n": 129}',
        b'{"model": "m", "messages": [{"role": "user", "content": "\xff"}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "m", "messages": [{"role": "user"}], "seed": NaN}',
    ],
)
def test_what_is_no_request_is_refused(raw):
    with pytest.raises(InvalidRequestError):
        Order.read(CHAT, NOBODY, raw)
