"""Upstreams that refuse, break off, fall silent or lie, over real HTTP."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepaid.config import UpstreamSettings
from prepaid.errors import (
    MayBill,
    ProviderError,
    ProviderResponseInvalid,
    ProviderStreamBroken,
    ProviderTimeout,
)
from prepaid.models.events import EVENT_BYTES_MAX
from prepaid.models.failures import retry_after, retry_after_seconds
from prepaid.models.openai_compatible import OpenAICompatibleModel
from prepaid.models.openai_wire import Answer
from prepaid.models.upstream import Upstream
from prepaid.models.usage import USAGE_TOKENS_MAX
from providers.fake_openai import Behaviour
from providers.questions import HELLO, INFO, text_of

pytest_plugins = ["providers.asking"]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"prompt_tokens": -1, "completion_tokens": 1}, (5, 1)),
        ({"prompt_tokens": 1, "completion_tokens": -1}, (1, 8)),
        ({"prompt_tokens": 1.5, "completion_tokens": 1}, (1, 1)),
        ({"prompt_tokens": "1", "completion_tokens": 1}, (1, 1)),
        ({"prompt_tokens": True, "completion_tokens": 1}, (5, 1)),
        ({"prompt_tokens": 1, "completion_tokens": 10**12}, (1, 8)),
        ({"prompt_tokens": 1, "completion_tokens": USAGE_TOKENS_MAX + 1}, (1, 8)),
        ({"prompt_tokens": 1, "completion_tokens": 0}, (1, 8)),
        ({"prompt_tokens": 1}, (1, 8)),
        ({"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}}, (1, 1)),
        ({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": -5}, (1, 1)),
        ([], None),
        ({}, None),
        ("many", None),
    ],
)
async def test_usage_that_cannot_be_is_our_own_count(ask, told, expected, caplog):
    """Spec P5: nothing that was delivered is free for that, or an error."""
    *said, end = await ask(behaviour=Behaviour(usage=told))
    assert text_of(said) == "Hello from the fake provider."
    assert (end.usage and (end.usage.input_tokens, end.usage.output_tokens)) == expected
    is_odd = told not in ({"prompt_tokens": n, "completion_tokens": 1} for n in (1.5, "1"))
    assert ("'fake' told an odd usage" in caplog.text) is is_odd


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
    with pytest.raises(ProviderError, match=f"status {status}") as caught:
        await ask(behaviour=Behaviour(status=status))
    assert (caught.value.status, caught.value.retryable) == (status, retryable)
    assert "refused by the fake" not in str(caught.value)
    assert "refused by the fake" in caught.value.detail
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
        (b"data: " + b"x" * (EVENT_BYTES_MAX + 1), "without a whole event"),
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
    patience = 60 if behaviour.hang_after is None else 1
    events = await ask(behaviour=behaviour, timeout_seconds=patience)
    assert text_of(events) == "Hello from the fake provider."
    assert events[-1].reason == "stop"


@pytest.mark.parametrize("hang_after", [0, 3])
async def test_silence_times_out(ask, hang_after):
    with pytest.raises(ProviderTimeout, match=r"0\.1 seconds") as caught:
        await ask(behaviour=Behaviour(hang_after=hang_after), timeout_seconds=0.1)
    assert caught.value.retryable


async def test_a_connection_that_is_refused():
    upstream = Upstream("gone", UpstreamSettings(base_url="http://127.0.0.1:9/v1", models=("m",)))
    with pytest.raises(ProviderError, match="'gone' cannot be reached") as caught:
        await anext(OpenAICompatibleModel(INFO, upstream, "m").stream(HELLO))
    assert caught.value.retryable
    await upstream.aclose()


async def test_a_connection_that_is_not_accepted_times_out():
    """A queue of connections that nobody accepts takes no more: the next one is never answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port = server.getsockname()[1]
        waiting = [_begin_connecting(port) for _ in range(4)]
        settings = UpstreamSettings(
            base_url=f"http://127.0.0.1:{port}/v1", models=("m",), connect_timeout_seconds=0.2
        )
        upstream = Upstream("far", settings)
        with pytest.raises(ProviderTimeout, match=r"no connection within 0\.2 seconds"):
            await anext(OpenAICompatibleModel(INFO, upstream, "m").stream(HELLO))
        await upstream.aclose()
        for each in waiting:
            each.close()


def _begin_connecting(port):
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(("127.0.0.1", port))
    return client


async def test_an_error_inside_a_stream_is_an_error(ask):
    def event(code):
        return b"data: " + json.dumps({"error": {"message": "overloaded", "code": code}}).encode() + b"\n\n"

    for code, retryable in ((503, True), (400, False), ("server_error", True), (99, True)):
        with pytest.raises(ProviderError, match="'fake'") as caught:
            await ask(behaviour=Behaviour(raw=event(code)))
        assert caught.value.retryable is retryable
        assert caught.value.may_bill is MayBill.DELIVERED
        assert "overloaded" not in str(caught.value)
        assert "(10 characters)" in caught.value.detail, "it may repeat a prompt"


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
