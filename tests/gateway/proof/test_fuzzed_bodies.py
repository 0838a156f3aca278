"""Bodies that no client of OpenAI's would send: no 500, nothing charged for a refusal, nothing left held."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.proof.books import settled

FUNDED = 10**9
TALK = [{"role": "user", "content": "count to 3"}]
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CHAT = {
    "model": "offline",
    "messages": TALK,
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "n": 1,
    "stream": False,
    "stream_options": {"include_usage": True},
    "tools": [TOOL],
    "tool_choice": "auto",
    "response_format": {"type": "json_object"},
    "functions": [],
    "service_tier": "auto",
    "modalities": ["text"],
}
RESPONSES = {
    "model": "offline",
    "input": [{"role": "user", "content": [{"type": "input_text", "text": "count to 3"}]}],
    "instructions": "Be kind.",
    "max_output_tokens": 5,
    "stream": False,
    "tools": [{"type": "function", "name": "add", "parameters": {"type": "object"}}],
    "text": {"format": {"type": "text"}},
    "previous_response_id": None,
}
EMBEDDINGS = {"model": "offline", "input": ["one", "two"], "encoding_format": "float", "dimensions": 3}
ROOMS = {"/v1/chat/completions": CHAT, "/v1/responses": RESPONSES, "/v1/embeddings": EMBEDDINGS}

text = st.text(st.characters(exclude_categories=()), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
quickly = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def session(gateway):
    session_id, key = gateway.fund(FUNDED)
    yield session_id, key
    account = settled(gateway, session_id)
    assert account.funded == account.available + account.spent
    gateway.assert_sound()
    assert [record for record in gateway.records() if record["level"] not in ("info", "warning")] == []


def paths_of(value, path=()):
    """The place of every value inside ``value``, and of the whole."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inside:
        yield from paths_of(each, (*path, name))


def replaced(value, path, new):
    """``value`` with another value at one place."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize("model", ["offline", "fast"])
@pytest.mark.parametrize("path", ROOMS)
def test_a_wrong_value_at_any_place(gateway, upstream, session, path, model):
    """Any value of JSON's types at any place of a request that fits."""
    body = {**ROOMS[path], "model": model}

    @given(st.sampled_from(sorted(paths_of(body), key=repr)), values, st.booleans())
    @quickly
    def ask(place, value, stream):
        changed = replaced(body, place, value)
        if isinstance(changed, dict) and "stream" in body and place != ("stream",):
            changed = {**changed, "stream": stream}
        assert_answered(gateway, session, path, json.dumps(changed).encode())

    ask()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"model": "offline", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model": "offline", "messages": [], "messages": 5}',
        b'{"model": "offline", "max_tokens": 1' + b"0" * 10_000 + b', "messages": [{"content": "x"}]}',
        b'{"model": "offline", "max_tokens": NaN, "messages": [{"role": "user", "content": "x"}]}',
        b'\xef\xbb\xbf{"model": "offline", "messages": [{"role": "user", "content": "x"}]}',
        '{"model": "offline", "messages": [{"role": "user", "content": "x"}]}'.encode("utf-16"),
        b'{"model": "offline", "messages": [{"role": "user", "content": "\xff\xfe"}]}',
        b'{"model": "offline", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "offline\\u0000", "messages": [{"role": "user", "content": "\\u0000"}]}',
        b"\x00" * 1000,
        b"--x\r\ncontent-disposition: form-data; name=model\r\n\r\noffline\r\n--x--\r\n",
    ],
    ids=lambda content: content[:40].decode("latin-1").encode("unicode_escape").decode(),
)
@pytest.mark.parametrize("path", ROOMS)
def test_what_is_hardly_json(gateway, session, path, content):
    assert_answered(gateway, session, path, content)


@pytest.mark.parametrize(
    "name", ["x-prepaid-chat", "idempotency-key", "x-prepaid-session", "x-prepaid-lease", "x-request-id"]
)
def test_headers_of_ours_with_anything_in_them(gateway, session, name):
    content = json.dumps({"model": "offline", "messages": TALK}).encode()

    @given(st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=300))
    @quickly
    def ask(value):
        assert_answered(
            gateway, session, "/v1/chat/completions", content, {name: value.strip().encode("latin-1")}
        )

    ask()


def assert_answered(gateway, session, path, content, more=()):
    """With 200, or with a refusal in OpenAI's words that is the client's fault."""
    headers = {"authorization": f"Bearer {session[1]}", "content-type": "application/json", **dict(more)}
    reply = gateway.post(path, content=content, headers=headers)
    assert b"prepaid_error" not in reply.content, content[:500]
    if reply.status_code == 200:
        return
    told = reply.json()["error"]
    # What we forward may be too much for the upstream, too.
    assert 400 <= reply.status_code < 500 or told["code"].startswith("provider"), (content[:500], reply.text)
    assert {"message", "type", "param", "code", "prepaid"} <= told.keys()
