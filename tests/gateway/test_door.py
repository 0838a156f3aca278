"""The gateway's own door: what is refused before anything is done for it, and what every reply says (spec P10)."""

from __future__ import annotations

import gzip
import json
import sys

import pytest

from gateway.running import Gateway
from providers.fake_openai import FakeOpenAI

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TOML = """
[gateway]
metrics = "anyone"

[upstreams.fake]
base_url = "{url}"
api_key = "sk-upstream"
models = ["fast"]

[prices.fast]
input_per_million = "1"
output_per_million = "2"
output_tokens_max = 1000
"""
HELLO = {"model": "offline", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
PACK = {"gzip": gzip.compress, "zstd": zstd.compress}


@pytest.fixture(scope="module")
def bomb():
    return gzip.compress(bytes(200 * 1024 * 1024))


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    with (
        FakeOpenAI() as fake,
        Gateway(tmp_path_factory.mktemp("door"), TOML.format(url=fake.base_url)) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def ann(door):
    """A session's id and its key."""
    return door.fund("10 USD")


def asked(door, key, body=HELLO, headers=(), path="/v1/chat/completions"):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = [("authorization", f"Bearer {key}"), ("content-type", "application/json"), *headers]
    return door.post(path, content=content, headers=sent)


class TestPacked:
    @pytest.mark.parametrize("coding", PACK)
    def test_bodies_in_both_apis(self, door, ann, coding):
        """Spec P10; an issue's case: gzip and zstd."""
        session_id, key = ann
        packed = [("content-encoding", coding)]
        reply = asked(door, key, PACK[coding](json.dumps(HELLO).encode()), packed)
        assert reply.status_code == 200
        chat = PACK[coding](b'{"name": "packed"}')
        made = asked(door, key, chat, packed, path=f"/api/v1/sessions/{session_id}/chats")
        assert (made.status_code, made.json()["name"]) == (201, "packed")

    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/api/v1/sessions"])
    def test_a_bomb_is_413_and_what_is_not_read_415(self, door, ann, bomb, path):
        assert asked(door, ann[1], bomb, [("content-encoding", "gzip")], path).status_code == 413
        refused = asked(door, ann[1], b"x", [("content-encoding", "br")], path)
        assert (refused.status_code, refused.headers["accept-encoding"]) == (415, "gzip, zstd")
        several = [("content-encoding", "gzip"), ("content-encoding", "gzip")]
        assert asked(door, ann[1], bomb, several, path).status_code == 400
        assert asked(door, ann[1], bomb, [("content-encoding", "gzip, gzip")], path).status_code == 415
        behind = gzip.compress(json.dumps(HELLO).encode()) + b"{}"
        assert asked(door, ann[1], behind, [("content-encoding", "gzip")], path).status_code == 400


class TestTwice:
    @pytest.mark.parametrize(
        "name", ["Authorization", "Idempotency-Key", "X-Prepaid-Session", "X-Prepaid-Lease", "X-Prepaid-Chat"]
    )
    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/api/v1/sessions", "/healthz"])
    def test_what_must_not_be_there_twice_is_refused_by_name(self, door, ann, name, path):
        """Spec P10: a proxy in front could believe the one, and we the other."""
        key = f"Bearer {ann[1]}"
        method = "POST" if path.endswith("completions") else "GET"
        for other in (key, "Bearer pp_op.1_" + "x" * 32):
            headers = [("Authorization", key), (name, "a"), (name.lower(), "b")]
            if name == "Authorization":
                headers = [(name, key), (name.lower(), other)]
            reply = door.http.request(method, path, headers=headers)
            assert reply.status_code == 400
            assert name in reply.text
            assert ann[1] not in reply.text

    def test_others_may(self, door, ann):
        several = [("x-anything", "a"), ("x-anything", "b"), ("accept", "a/b"), ("accept", "c/d")]
        assert asked(door, ann[1], headers=several).status_code == 200


class TestReplies:
    def test_nobody_may_keep_one_or_take_it_for_another_type(self, door, ann):
        """Spec P12: also what fails, below the application or in it."""
        session_id, key = ann
        stream = {**HELLO, "model": "fast", "stream": True}
        replies = [
            asked(door, key),
            asked(door, key, {**HELLO, "model": "fast"}),
            asked(door, key, stream),
            asked(door, key, b"{"),
            asked(door, "pp_nothing"),
            asked(door, key, path="/v1/nothing"),
            asked(door, key, b"x" * 200, [("x-big", "x" * 40_000)]),
            *(
                door.get(path)
                for path in ("/healthz", "/readyz", "/metrics", "/nothing", "/api/v1/openapi.json")
            ),
            *(
                door.get(path, headers={"authorization": f"Bearer {key}"})
                for path in (
                    "/v1/models",
                    "/v1/models/fast",
                    f"/api/v1/sessions/{session_id}",
                    "/api/v1/nothing",
                )
            ),
        ]
        assert {reply.status_code for reply in replies} >= {200, 400, 401, 404, 431}
        for reply in replies:
            assert reply.headers.get_list("x-content-type-options") == ["nosniff"], reply
            assert reply.headers.get_list("cache-control") == ["no-store"], reply
        assert replies[2].headers["x-accel-buffering"] == "no"

    def test_so_are_streams_of_our_own_api(self, door, ann):
        chat = door.open_chat(ann[0])
        path = f"/api/v1/sessions/{ann[0]}/chats/{chat.rsplit('.', 1)[1]}/messages"
        reply = asked(door, ann[1], {"text": "count to 3", "stream": True}, path=path)
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.headers.get_list("cache-control") == ["no-store"]


class TestReceipts:
    @pytest.mark.parametrize("model", ["offline", "fast"])
    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
    def test_as_an_event_only_for_who_asks(self, door, ann, path, model):
        """Spec P14; an issue's case: the Vercel AI SDK takes an event that OpenAI has not for an error."""
        body = {"model": model, "stream": True}
        body |= {"input": "hi"} if path.endswith("responses") else {"messages": HELLO["messages"]}
        plain = asked(door, ann[1], body, path=path)
        assert plain.text.endswith("data: [DONE]\n\n")
        assert "prepaid.receipt" not in plain.text
        assert int(plain.headers["x-prepaid-held"]) > 0
        told = asked(door, ann[1], body, [("x-prepaid-receipt", "event")], path=path)
        assert "data: [DONE]\n\nevent: prepaid.receipt\ndata: {" in told.text

    def test_of_no_other_kind(self, door, ann):
        before = door.account(ann[0])
        refused = asked(door, ann[1], {**HELLO, "stream": True}, [("x-prepaid-receipt", "yes")])
        assert (refused.status_code, "X-Prepaid-Receipt" in refused.text) == (400, True)
        assert door.account(ann[0]) == before
