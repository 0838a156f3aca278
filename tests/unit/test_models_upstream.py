"""Upstreams over real HTTP: what is sent, what comes back, and every way in which that goes wrong."""

from __future__ import annotations

import asyncio
import json
import socket
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepaid.config import UpstreamSettings
from prepaid.errors import (
    ProviderError,
    ProviderResponseInvalid,
    ProviderStreamBroken,
    ProviderTimeout,
    ProviderUsageInvalid,
)
from prepaid.models import openai_compatible
from prepaid.models.failures import retry_after, retry_after_seconds
from prepaid.models.measure import request_bytes
from prepaid.models.openai_compatible import OpenAICompatibleModel, Upstream
from prepaid.models.openai_wire import USAGE_TOKENS_MAX, Answer
from prepaid.records import (
    ALL_CHAT_APIS,
    ChatRequest,
    Finish,
    Message,
    ModelInfo,
    Price,
    Role,
    TextDelta,
    Tool,
    ToolCall,
    Unit,
    Usage,
)
from providers.fake_openai import Behaviour, FakeOpenAI

INFO = ModelInfo("fast", Price.flat("USD", Unit.TOKEN, 1, 2), 1000, 1000, ALL_CHAT_APIS, "fake")
HELLO = ChatRequest("fast", (Message(Role.SYSTEM, "Be kind."), Message(Role.USER, "Hello there")))


@pytest.fixture(scope="module")
def server():
    with FakeOpenAI() as server:
        yield server


@pytest.fixture
def fake(server):
    server.reset()
    return server


@pytest.fixture
async def ask(fake):
    """Ask the fake's model; keywords are the upstream's settings."""
    opened = []

    def model(**settings):
        options = {"base_url": fake.base_url, "api_key": "sk-secret", "models": ("fast",)}
        upstream = Upstream("fake", UpstreamSettings(**(options | settings)))
        opened.append(upstream)
        return OpenAICompatibleModel(INFO, upstream, "fast-1")

    async def ask(request=HELLO, behaviour=None, **settings):
        if behaviour is not None:
            fake.next(behaviour)
        return [event async for event in model(**settings).stream(request)]

    ask.model = model
    yield ask
    for upstream in opened:
        await upstream.aclose()


def text_of(events) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


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


@pytest.mark.parametrize(
    "told",
    [
        {"prompt_tokens": -1, "completion_tokens": 1},
        {"prompt_tokens": 1, "completion_tokens": -1},
        {"prompt_tokens": 1.5, "completion_tokens": 1},
        {"prompt_tokens": "1", "completion_tokens": 1},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"prompt_tokens": 1, "completion_tokens": 10**12},
        {"prompt_tokens": 1, "completion_tokens": USAGE_TOKENS_MAX + 1},
        {"prompt_tokens": 1},
        {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}},
        {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": -5},
        [],
        "many",
    ],
)
async def test_usage_that_cannot_be_is_refused(ask, told):
    with pytest.raises(ProviderUsageInvalid, match="'fake'"):
        await ask(behaviour=Behaviour(usage=told))


async def test_no_usage_is_none(ask):
    assert (await ask(behaviour=Behaviour(usage=None)))[-1] == Finish("stop", None)


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        (301, False),
        (400, False),
        (401, False),
        (402, False),
        (403, False),
        (404, False),
        (408, True),
        (422, False),
        (429, True),
        (500, True),
        (502, True),
        (503, True),
        (529, True),
    ],
)
async def test_a_refusal_says_its_status_and_whether_to_retry(ask, status, retryable):
    with pytest.raises(ProviderError, match="refused by the fake") as caught:
        await ask(behaviour=Behaviour(status=status))
    assert (caught.value.status, caught.value.retryable) == (status, retryable)
    assert type(caught.value) is ProviderError
    assert retry_after(caught.value) is None
    assert ProviderError("another").retryable is True


async def test_a_refusal_may_say_when_to_retry(ask):
    with pytest.raises(ProviderError) as caught:
        await ask(behaviour=Behaviour(status=429, headers={"Retry-After": "7"}))
    assert retry_after(caught.value) == 7.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0", 0.0),
        ("soon", None),
        ("-1", None),
        ("", None),
        ("Sat, 21 Nov 2026 10:00:30 GMT", 30.0),
        ("Sat, 21 Nov 2026 09:00:00 GMT", 0.0),
        ("Sat, 21 Nov 2026 10:00:30", 30.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(header, seconds):
    assert retry_after_seconds(header, datetime(2026, 11, 21, 10, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "bad key sk-secret!"}},
        {"error": "bad key sk-secret!"},
        "bad key sk-secret!",
        {"message": "bad key sk-secret!"},
        "\x00 <html> bad key sk-secret!" + "x" * 200000,
        {"error": {"message": 1}},
    ],
)
async def test_a_refusal_never_shows_the_key(ask, error):
    with pytest.raises(ProviderError) as caught:
        await ask(behaviour=Behaviour(status=401, error=error))
    assert "sk-secret" not in str(caught.value)
    assert "api_key" in caught.value.remedy
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"data: {\n\n", "malformed"),
        (b"data: 7\n\n", "malformed"),
        (b"data: null\n\n", "malformed"),
        (b'data: {"choices": 1}\n\n', "malformed"),
        (b'data: {"choices": [{"delta": {"content": 5}}]}\n\n', "content"),
        (b'data: {"choices": [{"delta": {"tool_calls": [{"index": "x"}]}}]}\n\n', "tool_calls"),
        (b"data: " + b"[" * 100_000 + b"\n\n", "malformed"),
        (b'data: {"choices": [{"delta": {"content": "\xff\xfe"}}]}\n\n', "UTF-8"),
        (b"data: " + b"x" * (openai_compatible.EVENT_BYTES_MAX + 1), "without a whole event"),
        ([b"data: x\n"] * 9000 + [b"data: " + b"x" * 130_000] * 8, "without a whole event"),
        (
            b'data: {"choices": [{"delta": {"tool_calls": [{"id": "a"}]}, "finish_reason": "stop"}]}\n\n',
            "name",
        ),
        (
            b'data: {"choices": [{"delta": {"tool_calls": [{"function": {"name": "a", "arguments": "'
            + b"x" * 900_000
            + b'"}}]}}]}\n\n',
            None,
        ),
    ],
)
async def test_what_is_not_the_protocol_is_refused(ask, raw, what):
    repeated = [raw, raw] if what is None else raw
    with pytest.raises(ProviderResponseInvalid, match=what or "beyond the limit"):
        await ask(behaviour=Behaviour(raw=repeated))


async def test_an_answer_that_is_no_event_stream_is_refused(ask):
    with pytest.raises(ProviderResponseInvalid, match="event stream"):
        await ask(behaviour=Behaviour(raw=b"<html>Welcome</html>", content_type="text/html"))


async def test_utf8_may_be_cut_anywhere(ask):
    whole = 'data: {"choices": [{"delta": {"content": "héllo 你好 🎈"}, "finish_reason": "stop"}]}\r\n\r\n'.encode()
    events = await ask(behaviour=Behaviour(raw=[whole[at : at + 1] for at in range(len(whole))]))
    assert text_of(events) == "héllo 你好 🎈"


async def test_half_a_surrogate_pair_is_not_our_crash(ask):
    request = ChatRequest("fast", (Message(Role.USER, "\ud800"),))
    assert text_of(await ask(request)) == "Hello from the fake provider."


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(cut_after=0),
        Behaviour(cut_after=3),
        Behaviour(finish_reason=None, done=False),
        Behaviour(raw=b": nothing but a comment\n\n"),
        Behaviour(raw=b""),
    ],
)
async def test_a_stream_that_breaks_off_is_no_answer(ask, behaviour):
    with pytest.raises(ProviderStreamBroken) as caught:
        await ask(behaviour=behaviour)
    assert caught.value.retryable


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(done=False),
        Behaviour(finish_reason=None),
        Behaviour(cut_after=7),
        Behaviour(hang_after=7),
        Behaviour(finish_reason="eos"),
    ],
)
async def test_a_whole_answer_counts_however_it_is_signed_off(ask, behaviour):
    events = await ask(behaviour=behaviour, timeout_seconds=0.2)
    assert text_of(events) == "Hello from the fake provider."
    assert events[-1].reason == "stop"


@pytest.mark.parametrize("hang_after", [0, 3])
async def test_silence_times_out(ask, hang_after):
    with pytest.raises(ProviderTimeout, match=r"0\.1 seconds") as caught:
        await ask(behaviour=Behaviour(hang_after=hang_after), timeout_seconds=0.1)
    assert caught.value.retryable


async def test_a_connection_that_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    upstream = Upstream("gone", UpstreamSettings(base_url=f"http://127.0.0.1:{port}/v1", models=("m",)))
    with pytest.raises(ProviderError, match="'gone' cannot be reached") as caught:
        await anext(OpenAICompatibleModel(INFO, upstream, "m").stream(HELLO))
    assert caught.value.retryable
    await upstream.aclose()


async def test_a_connection_that_is_not_accepted_times_out():
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectTimeout("no route", request=request)

    settings = UpstreamSettings(base_url="http://127.0.0.1:1/v1", models=("m",))
    upstream = Upstream("far", settings, httpx.MockTransport(refuse))
    with pytest.raises(ProviderTimeout, match="ConnectTimeout"):
        await anext(OpenAICompatibleModel(INFO, upstream, "m").stream(HELLO))
    await upstream.aclose()


async def test_an_error_inside_a_stream_is_an_error(ask):
    def event(code):
        return b"data: " + json.dumps({"error": {"message": "overloaded", "code": code}}).encode() + b"\n\n"

    for code, retryable in ((503, True), (400, False), ("server_error", True), (99, True)):
        with pytest.raises(ProviderError, match="overloaded") as caught:
            await ask(behaviour=Behaviour(raw=event(code)))
        assert caught.value.retryable is retryable


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
    upstream = Upstream("u", settings, httpx.MockTransport(lambda _: httpx.Response(200)))
    model = OpenAICompatibleModel(INFO, upstream, "m")
    texts = sum(len(text.encode()) for _, text in messages)
    assert model.input_tokens_max(request) * ratio >= texts + 8 * len(messages)


@given(st.text())
def test_the_estimate_is_at_least_one_for_any_text(text):
    settings = UpstreamSettings(base_url="http://127.0.0.1:1", models=("m",))
    upstream = Upstream("u", settings, httpx.MockTransport(lambda _: httpx.Response(200)))
    estimate = OpenAICompatibleModel(INFO, upstream, "m").estimate_tokens(text)
    assert estimate == -(-len(text.encode()) // 4)
    assert estimate >= bool(text)


@given(
    st.text() | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(json.dumps)
)
def test_no_event_makes_the_reader_crash(data):
    answer = Answer("u")
    try:
        list(answer.texts(data))
        list(answer.end())
    except ProviderError:
        pass
