"""Heavy bodies: counted before they are parsed, paid for before they are read, one of a key at a time (spec P10)."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import time
from pathlib import Path
from threading import Thread

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.running import Gateway
from prepaid import SessionManager
from prepaid.config import GatewaySettings
from prepaid.errors import BodiesLimitReached, ConcurrencyLimitReached, GatewayFull, ValueTooLarge
from prepaid.gateway.heavy import Heavy
from prepaid.gateway.limits import Kept, Room, Slots
from prepaid.relay import check_structure
from providers.fake_openai import Behaviour, FakeOpenAI

TOML = """
[gateway]
body_values_max = 20000
requests_per_key_max = 64

[upstreams.fake]
base_url = "{url}"
api_key = "sk-upstream"
models = ["fast"]

[prices.fast]
input_per_million = "1"
output_per_million = "2"
context_tokens_max = 100000000
output_tokens_max = 1000

[prices.offline]
input_per_million = "5"
output_per_million = "2"
"""
TEXTS = st.text(max_size=12) | st.sampled_from(['"', '\\"', "\\", "[{,:", '\\\\"', "\n\t", "{}" * 5])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=30,
)


def parts_of(value):
    """What a value counts, without itself."""
    if isinstance(value, dict):
        return 4 + max(len(value) - 1, 0) + len(value) + sum(map(parts_of, value.values()))
    if isinstance(value, list):
        return 4 + max(len(value) - 1, 0) + sum(map(parts_of, value))
    return 0


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_what_is_json_is_counted_exactly(value, ascii_only, indent):
    """Spec P10: whatever stands in its texts."""
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert check_structure(raw, 10_000) == parts_of(value)


@given(VALUES.filter(parts_of), st.binary(max_size=20))
def test_what_is_too_much_is_refused_and_so_whatever_comes_behind_it(value, rest):
    raw, count = json.dumps(value).encode(), parts_of(value)
    assert check_structure(raw, 10_000 + count) == count
    with pytest.raises(ValueTooLarge, match="body_values_max"):
        check_structure(raw, count - 1)
    with pytest.raises(ValueTooLarge, match="body_values_max"):
        check_structure(raw[:-1] + b"," * 20_000 + rest, 10_000)


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 100_000,
        b"{}," * 50_000,
        b'{"a":' * 50_000,
        b'"a",' * 50_000,
        b'""' * 50_000,
        b"0," * 50_000,
        b"9" * 1_000_000,
        b"[" + b",".join([b"9" * 4_000] * 100) + b"]",
    ],
)
def test_absurd_ones(raw):
    with pytest.raises(ValueTooLarge, match="body_values_max") as caught:
        check_structure(raw, 20_000)
    assert len(str(caught.value)) < 300


def test_long_texts_and_lists_of_tokens_are_ordinary():
    text = json.dumps({"messages": [{"content": 'a "quoted" {json: [1, 2, 3]} \\ ' * 20_000}]}).encode()
    assert check_structure(text, 100) == 14
    tokens = json.dumps({"input": list(range(300_000))}).encode()
    assert check_structure(tokens, 400_000) < 400_000


@given(st.integers(1, 200), st.lists(st.integers(0, 60), max_size=12))
def test_who_sends_much_takes_more_room_but_one_leaves_some(limit, sizes):
    slots, open_ones = Slots(limit), []
    for size in sizes:
        taken = slots.taken("a")
        try:
            slot = taken.__enter__()
        except ConcurrencyLimitReached:
            break
        open_ones.append(taken)
        try:
            slot.grow(size)
        except ConcurrencyLimitReached:
            break
        assert 1 <= slot.size <= max(limit // 32, 1)
    assert slots._taken.get("a", 0) <= limit
    for taken in open_ones:
        taken.__exit__(None, None, None)
    assert slots._taken == {}


SIZES = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 60)), max_size=40)


@given(st.integers(1, 400), st.integers(1, 60), SIZES)
def test_bodies_take_no_more_room_than_there_is_and_give_it_back(limit, body_max, sizes):
    """Spec P10: of one owner, with whatever keys, and of all."""
    room, kept = Room(limit, body_max), []
    most, share = max(limit, body_max), max(max(limit, body_max) // 4, body_max)
    taken = dict.fromkeys("abcdef", 0)
    for owner, size in sizes:
        body = Kept(room, owner)
        try:
            body.resize(size // 2)
            taken[owner] += size // 2
            kept.append(body)
            body.resize(size)
            taken[owner] += size - size // 2
        except BodiesLimitReached:
            assert taken[owner] + size > share
        except GatewayFull:
            assert sum(taken.values()) + size > most
        assert sum(taken.values()) <= most
        assert max(taken.values()) <= share
    for body in kept:
        body.end()
    room.check("a", body_max)
    assert (room._taken, room._by_owner) == (0, {})


@pytest.fixture(scope="module")
def fake():
    with FakeOpenAI() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(fake, tmp_path_factory):
    with Gateway(tmp_path_factory.mktemp("heavy"), TOML.format(url=fake.base_url)) as running:
        yield running


def body(messages=1, text="x", **more):
    asked = {"model": "fast", "max_tokens": 5, "messages": [{"role": "user", "content": text}] * messages}
    return json.dumps(asked | more).encode()


def ask(gateway, key, content, path="/v1/chat/completions", **headers):
    sent = {"authorization": f"Bearer {key}", "content-type": "application/json"} | headers
    return httpx.post(gateway.url + path, content=content, headers=sent, timeout=120)


def code_of(reply):
    return reply.status_code, reply.json()["error"]["code"]


LONG = "word " * 40_000
NOT_JSON = b"{" + b" " * 100_000
"""Refused with 400 by whoever reads it."""


def test_what_cannot_be_paid_is_not_read(gateway, fake):
    """Spec P10: the balance is looked at before the body is."""
    _, poor = gateway.fund(2)
    before = len(fake.requests)
    assert code_of(ask(gateway, poor, NOT_JSON)) == (402, "insufficient_quota")
    assert code_of(ask(gateway, poor, body(2_000))) == (402, "insufficient_quota")
    chunks = iter([NOT_JSON])
    assert code_of(ask(gateway, poor, chunks)) == (402, "insufficient_quota")
    assert len(fake.requests) == before
    _, rich = gateway.fund("10 USD")
    assert ask(gateway, rich, NOT_JSON).status_code == 400


def test_nor_where_a_session_spends_nothing_but_what_was_answered_is_given_again(gateway):
    """An idempotency key that was used is looked up, not turned away."""
    session_id, key = gateway.fund("10 USD")
    content = body(text=LONG)
    first = ask(gateway, key, content, **{"idempotency-key": "once"})
    assert first.status_code == 200

    async def pause(manager):
        await manager.get_session(session_id, "ann").pause()

    gateway._beside(pause)
    assert ask(gateway, key, NOT_JSON).json()["error"]["code"] == "session_paused"
    other = ask(gateway, key, content, **{"idempotency-key": "another"})
    assert other.json()["error"]["code"] == "session_paused"
    again = ask(gateway, key, content, **{"idempotency-key": "once"})
    assert (again.status_code, again.headers["x-prepaid-replayed"]) == (200, "true")
    assert again.content == first.content


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/api/v1/sessions"]
)
def test_what_has_too_many_parts_is_413(gateway, path):
    _, key = gateway.fund("10 USD")
    for content in (
        body(5_000),
        b"[" * 100_000,
        body(text=LONG, metadata=dict.fromkeys(map(str, range(20_000)), 0)),
    ):
        reply = ask(gateway, key, content, path)
        assert reply.status_code == 413
        assert "body_values_max" in reply.text


def test_what_is_long_arrives_as_it_was_sent(gateway, fake):
    _, key = gateway.fund("100 USD")
    text = 'a "quoted" \\ {text: [1, 2]} é ' * 20_000
    reply = ask(gateway, key, body(text=text))
    assert reply.status_code == 200
    assert fake.requests[-1]["messages"][0]["content"] == text


def test_a_stranger_s_is_not_read(gateway):
    """FastAPI would parse it before anybody asks whose it is."""
    for path in ("/v1/chat/completions", "/api/v1/sessions"):
        assert ask(gateway, "pp_op.1_" + "x" * 32, NOT_JSON, path).status_code == 401
        assert ask(gateway, "pp_op.1_" + "x" * 32, iter([NOT_JSON]), path).status_code == 401


@pytest.mark.slow
def test_others_notice_nothing(gateway):
    """An issue's case: bodies of many empty messages from a session with almost nothing; and from one that pays."""
    _, poor = gateway.fund(1)
    _, rich = gateway.fund("1000 USD")
    heavy = [
        (poor, body(400_000, "")),
        (rich, body(400_000, "")),
        (rich, body(2_000, "")),
        (rich, body(text=LONG * 50)),
    ]
    seen = []

    def send(key, content):
        seen.append(ask(gateway, key, content).status_code)

    threads = [Thread(target=send, args=each) for each in heavy * 3]
    for thread in threads:
        thread.start()
    answered = 0
    while any(thread.is_alive() for thread in threads):
        answered += gateway.get("/healthz").status_code == 200
        time.sleep(0.01)
    assert answered
    assert set(seen) <= {200, 402, 413}
    assert {402, 413} <= set(seen)


def test_one_key_has_so_much_in_flight_and_gives_it_back(gateway, fake):
    """A long body takes the room of many short ones."""
    _, key = gateway.fund("1000 USD")
    fake.default = Behaviour(is_gated=True)
    seen = []
    content = body(text="word " * 120_000)
    threads = [Thread(target=lambda: seen.append(ask(gateway, key, content))) for _ in range(36)]
    for thread in threads:
        thread.start()
    gateway.wait_until(lambda: len(seen) == 4)
    assert {reply.status_code for reply in seen} == {429}
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in seen)
    fake.gate.set()
    _, other = gateway.fund("1000 USD")
    assert ask(gateway, other, content).status_code == 200
    for thread in threads:
        thread.join()
    assert [reply.status_code for reply in seen].count(200) == 32
    assert ask(gateway, key, content).status_code == 200
    fake.reset()


FULL = """
[gateway]
body_bytes_max = 4000000
bodies_bytes_max = 8000000
body_seconds = 600
"""


@pytest.fixture(scope="module")
def narrow(fake, tmp_path_factory):
    with Gateway(
        tmp_path_factory.mktemp("narrow"), FULL + TOML.format(url=fake.base_url).replace("[gateway]\n", "")
    ) as running:
        yield running


class TestMemory:
    """Spec P10: an issue's case was 40 connections, of each 33 MB unpacked, whose last bytes never came."""

    @pytest.fixture
    def connect(self):
        opened = []

        def connecting(gateway, key, sent, length, **headers):
            raw = socket.create_connection(("127.0.0.1", gateway.port), timeout=60)
            opened.append(raw)
            named = {"host": "x", "authorization": f"Bearer {key}", "content-length": str(length)} | headers
            lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
            raw.sendall(f"POST /v1/chat/completions HTTP/1.1\r\n{lines}\r\n".encode() + sent)
            return raw

        yield connecting
        for each in opened:
            each.close()

    def resident(self, gateway):
        pages = int(Path(f"/proc/{gateway.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def test_what_is_packed_stays_packed_until_it_is_whole(self, gateway, connect):
        content = gzip.compress(body(text="a" * 30_000_000))
        _, key = gateway.fund("1000 USD")
        assert ask(gateway, key, content, **{"content-encoding": "gzip"}).status_code == 200
        before = self.resident(gateway)
        waiting = [
            connect(gateway, key, content[:-40], len(content), **{"content-encoding": "gzip"})
            for _ in range(20)
        ]
        for _ in range(3):
            assert ask(gateway, key, body(text=LONG)).status_code == 200
        assert self.resident(gateway) - before < 100_000_000
        waiting[0].sendall(content[-40:])
        assert waiting[0].recv(15) == b"HTTP/1.1 200 OK"

    def test_an_owner_has_a_part_of_it_with_whatever_keys(self, narrow, connect):
        keys = [narrow.fund("10 USD", "eve")[1] for _ in range(3)]
        content = b" " * 3_999_999 + b"{"
        connect(narrow, keys[0], content[:3_000_000], len(content))

        def refused():
            reply = ask(narrow, keys[1], content)
            return reply if reply.status_code == 429 else None

        told = narrow.wait_until(refused)
        assert told.json()["error"]["prepaid"]["code"] == "bodies_limit_reached"
        assert int(told.headers["retry-after"]) >= 1
        packed = gzip.compress(content)
        told = ask(narrow, keys[2], packed, **{"content-encoding": "gzip"})
        assert told.json()["error"]["prepaid"]["code"] == "bodies_limit_reached"
        chunks = (content[at : at + 100_000] for at in range(0, len(content), 100_000))
        told = ask(narrow, keys[2], chunks)
        assert told.json()["error"]["prepaid"]["code"] == "bodies_limit_reached"
        assert ask(narrow, keys[2], body()).status_code == 200, "what is short is let by"
        _, other = narrow.fund("10 USD", "bob")
        assert ask(narrow, other, content).status_code == 400

    def test_and_all_together_no_more_than_there_is(self, narrow, connect):
        content = b" " * 3_999_999 + b"{"
        for user in ("eve", "mallory"):
            connect(narrow, narrow.fund("10 USD", user)[1], content[:3_900_000], len(content))
        _, other = narrow.fund("10 USD", "bob")

        def refused():
            reply = ask(narrow, other, content)
            return reply if reply.status_code == 503 else None

        told = narrow.wait_until(refused)
        assert told.json()["error"]["prepaid"]["code"] == "gateway_full"
        assert int(told.headers["retry-after"]) >= 1
        assert ask(narrow, other, body()).status_code == 200
        # and it is given back by who leaves


async def test_turns_go_round_between_owners(tmp_path):
    """An issue's case: 40 keys of one user made others wait for all of their long bodies."""
    async with SessionManager(tmp_path / "test.db") as manager:
        heavy, slots = Heavy(manager._workspace, GatewaySettings()), Slots(1_000)
        raw, done = body(text=LONG), []

        async def read(number, owner):
            with slots.taken(f"key {number}") as slot:
                slot.owner = owner
                await heavy.read(slot, raw, lambda: done.append(owner))

        mine = [asyncio.create_task(read(number, "eve")) for number in range(40)]
        await asyncio.sleep(0)
        await read(40, "vic")
        await asyncio.gather(*mine)
    assert done.index("vic") <= 2, "whoever has sent one waits for one of each other owner's"
    assert len(done) == 41
