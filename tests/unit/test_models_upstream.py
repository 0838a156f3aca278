"""Upstreams over real HTTP: what is sent and what comes back."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepaid.config import UpstreamSettings
from prepaid.models.measure import request_bytes
from prepaid.models.openai_compatible import OpenAICompatibleModel
from prepaid.models.upstream import Upstream
from prepaid.records import (
    ChatRequest,
    Finish,
    Message,
    Role,
    TextDelta,
    Tool,
    ToolCall,
    Usage,
)
from providers.fake_openai import Behaviour
from providers.questions import HELLO, INFO, text_of

pytest_plugins = ["providers.asking"]


async def test_an_answer_comes_in_pieces_and_ends_with_its_usage(ask, fake):
    events = await ask()
    assert text_of(events) == "Hello from the fake provider."
    assert len(events) == 6
    answered = len("Hello from the fake provider.")
    expected = Usage(4, 5, input_bytes=request_bytes(HELLO), output_bytes=answered)
    assert events[-1] == Finish("stop", expected)
    assert fake.headers[0]["authorization"] == "Bearer sk-secret"
    assert fake.requests == [
        {
            "model": "fast-1",
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Hello there"},
            ],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


async def test_extra_is_forwarded_untouched_but_undoes_nothing(ask, fake):
    extra = {
        "seed": 7,
        "response_format": {"type": "json_object"},
        "logit_bias": {"1": -100},
        "x-любой": [None],
    }
    undoing = {"max_tokens": 9, "max_completion_tokens": 9, "stream": False, "model": "dear", "messages": []}
    request = ChatRequest(
        "fast",
        HELLO.messages,
        output_tokens_max=2,
        temperature=0.5,
        extra=extra | undoing | {"stream_options": {}},
    )
    assert text_of(await ask(request)) == "Hello from"
    sent = fake.requests[0]
    assert {key: sent[key] for key in extra} == extra
    assert (sent["max_tokens"], sent["model"], sent["stream"], sent["temperature"]) == (
        2,
        "fast-1",
        True,
        0.5,
    )
    assert "max_completion_tokens" not in sent
    assert sent["stream_options"] == {"include_usage": True}
    await ask(request, output_limit_field="max_completion_tokens")
    assert fake.requests[1]["max_completion_tokens"] == 2
    assert "max_tokens" not in fake.requests[1]


async def test_the_output_limit_is_honoured(ask):
    events = await ask(ChatRequest("fast", HELLO.messages, output_tokens_max=3))
    assert (text_of(events), events[-1].reason, events[-1].usage.output_tokens) == (
        "Hello from the",
        "length",
        3,
    )


async def test_tools_are_sent_and_called(ask, fake):
    """Spec C16."""
    tool = Tool("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}})
    calls = [{"name": "add", "arguments": '{"a": 1}'}, {"name": "add", "arguments": '{"a": 2}'}]
    request = ChatRequest("fast", HELLO.messages, tools=(tool,))
    events = await ask(request, Behaviour(text="", tool_calls=calls))
    made = [ToolCall("call_0", "add", '{"a": 1}'), ToolCall("call_1", "add", '{"a": 2}')]
    assert events[:-1] == made
    assert events[-1].reason == "tool_calls"
    assert events[-1].usage.output_bytes == 22
    results = [Message(Role.TOOL, str(n), (), call.id) for n, call in enumerate(made)]
    history = (*HELLO.messages, Message(Role.ASSISTANT, "", tuple(made)), *results)
    await ask(ChatRequest("fast", history, tools=(tool,)))
    sent = fake.requests[1]["messages"]
    assert sent[2]["content"] is None
    assert sent[2]["tool_calls"][1] == {
        "id": "call_1",
        "type": "function",
        "function": {"name": "add", "arguments": '{"a": 2}'},
    }
    assert sent[3] == {"role": "tool", "content": "0", "tool_call_id": "call_0"}
    assert fake.requests[0]["tools"][0]["function"]["name"] == "add"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 2}, Usage(9, 2)),
        (
            {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
            Usage(9, 2, 4),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": None}, Usage(9, 2)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 2,
                "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
            },
            Usage(9, 2, 4, 3),
        ),
        # Some providers leave reasoning out of completion_tokens, but not out of the total, nor of the bill.
        ({"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 111}, Usage(9, 102)),
    ],
)
async def test_usage_is_read_as_it_is_billed(ask, told, expected):
    end = (await ask(behaviour=Behaviour(usage=told)))[-1]
    seen = end.usage
    assert (seen.input_tokens, seen.output_tokens) == (expected.input_tokens, expected.output_tokens)
    assert (seen.cache_read_tokens, seen.cache_write_tokens) == (
        expected.cache_read_tokens,
        expected.cache_write_tokens,
    )


async def test_no_usage_is_none(ask):
    assert (await ask(behaviour=Behaviour(usage=None)))[-1] == Finish("stop", None)


async def test_utf8_may_be_cut_anywhere(ask):
    whole = 'data: {"choices": [{"delta": {"content": "héllo 你好 🎈"}, "finish_reason": "stop"}]}\r\n\r\n'.encode()
    events = await ask(behaviour=Behaviour(raw=[whole[at : at + 1] for at in range(len(whole))]))
    assert text_of(events) == "héllo 你好 🎈"


async def test_half_a_surrogate_pair_is_not_our_crash(ask):
    request = ChatRequest("fast", (Message(Role.USER, "\ud800"),))
    assert text_of(await ask(request)) == "Hello from the fake provider."


async def test_connections_are_used_again(ask, fake):
    """Also where the end of a stream comes a moment after its last event."""
    model = ask.model()
    end = b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
    fake.default = Behaviour(raw=[end, b"data: [DONE]\n\n", b": bye\n\n"], chunk_delay_seconds=0.005)
    for _ in range(3):
        assert text_of([event async for event in model.stream(HELLO)]) == "Hi"
    assert len(set(fake.ports)) == 1


async def test_closing_early_drops_the_connection(ask, fake):
    fake.next(Behaviour(hang_after=3))
    stream = ask.model().stream(HELLO)
    assert await anext(stream) == TextDelta("Hello")
    await stream.aclose()
    assert await asyncio.to_thread(fake.disconnected.wait, 5)


async def test_the_input_bound_covers_everything_sent(ask, fake):
    """Spec D1: what is held for covers what can be billed."""
    model = ask.model()
    assert model.input_tokens_max(HELLO) >= len(b"Be kind.Hello there") + 16
    schema = {"type": "json_schema", "json_schema": {"schema": {"title": "x" * 500}}}
    richer = ChatRequest("fast", HELLO.messages, extra={"response_format": schema})
    assert model.input_tokens_max(richer) >= model.input_tokens_max(HELLO) + 500
    tooled = ChatRequest("fast", HELLO.messages, tools=(Tool("t", "d" * 300, {}),))
    assert model.input_tokens_max(tooled) >= model.input_tokens_max(HELLO) + 300 + 1024
    assert ask.model(bytes_per_token=4).input_tokens_max(HELLO) < model.input_tokens_max(HELLO)


@given(st.lists(st.tuples(st.sampled_from(Role), st.text()), max_size=5), st.integers(1, 8))
def test_the_input_bound_is_never_below_the_bytes(messages, ratio):
    request = ChatRequest("m", tuple(Message(role, text) for role, text in messages))
    settings = UpstreamSettings(base_url="http://127.0.0.1:1", models=("m",), bytes_per_token=ratio)
    upstream = Upstream("u", settings)
    model = OpenAICompatibleModel(INFO, upstream, "m")
    texts = sum(len(text.encode()) for _, text in messages)
    assert model.input_tokens_max(request) * ratio >= texts + 8 * len(messages)


@given(st.text())
def test_the_estimate_is_at_least_one_for_any_text(text):
    settings = UpstreamSettings(base_url="http://127.0.0.1:1", models=("m",))
    upstream = Upstream("u", settings)
    estimate = OpenAICompatibleModel(INFO, upstream, "m").estimate_tokens(text)
    assert bool(text) <= estimate <= -(-len(text.encode()) // 4)
