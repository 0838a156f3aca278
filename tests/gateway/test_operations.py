"""Stopping, crashing, dawdling, with money in flight: it settles, to the unit, and nothing stays held (spec D1, D5)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import threading

import httpx
import pytest

from gateway.collector import Collector, attributes
from gateway.running import Gateway
from providers.fake_openai import Behaviour, FakeOpenAI

pytestmark = pytest.mark.slow

PROMPT = "my-most-secret-prompt"
ANSWER = "my most secret answer " * 10
FUNDED = 10_000_000
TOML = """
hold_seconds = {hold_seconds}
sweep_seconds = 0.2

[gateway]
grace_seconds = {grace_seconds}
write_seconds = 1
metrics = "anyone"
{more}

[upstreams.fake]
base_url = "{url}"
api_key = "sk-upstream-secret"
models = ["fast"]
retries_max = 0
circuit_failures = 3
circuit_seconds = 60

[prices.fast]
input_per_million = "1"
output_per_million = "2"
output_tokens_max = 100000000
"""


@pytest.fixture
def fake():
    with FakeOpenAI() as server:
        yield server


@pytest.fixture
def started(tmp_path, fake):
    """Starts a gateway on the fake upstream; its books are audited in the end."""
    with contextlib.ExitStack() as stack:

        def start(more="", hold_seconds=60, grace_seconds=1, **options):
            settings = {"hold_seconds": hold_seconds, "grace_seconds": grace_seconds, "more": more}
            gateway = Gateway(tmp_path, TOML.format(url=fake.base_url, **settings), **options)
            stack.callback(gateway.assert_sound)
            return stack.enter_context(gateway)

        yield start


def body(**more):
    return {"model": "fast", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 1000} | more


def ask(gateway, key, timeout=120, **more):
    return httpx.post(
        f"{gateway.url}/v1/chat/completions", json=body(**more), headers=bearer(key), timeout=timeout
    )


def bearer(key):
    return {"authorization": f"Bearer {key}", "connection": "close"}


class Asking(threading.Thread):
    """A client of its own; ``reply`` or ``failure`` is how it ended, ``lines`` what it had by then."""

    def __init__(self, gateway, key, *, path="/v1/chat/completions", chat=None, whole=None, **more):
        super().__init__(daemon=True)
        self.lines, self.reply, self.failure = [], None, None
        self._url, self._body = gateway.url + path, whole or body(**more)
        self._headers = bearer(key) | ({} if chat is None else {"x-prepaid-chat": chat})
        self.start()

    def run(self):
        asked = {"json": self._body, "headers": self._headers, "timeout": 120}
        try:
            with httpx.stream("POST", self._url, **asked) as self.reply:
                for line in self.reply.iter_lines():
                    self.lines.append(line)
        except httpx.HTTPError as error:
            self.failure = error


def words_of(lines):
    return sum('"content":' in line and '"content": ""' not in line for line in lines)


def nothing_is_held(gateway, session_id):
    account = gateway.account(session_id)
    return account if account.held == 0 else None


class TestStop:
    def test_what_ends_in_time_is_answered(self, started, fake):
        gateway = started(grace_seconds=60)
        session_id, key = gateway.fund(FUNDED)
        fake.next(Behaviour(text=ANSWER, chunk_delay_seconds=0.02))
        asking = Asking(gateway, key, stream=True)
        gateway.wait_until(lambda: words_of(asking.lines))
        gateway.process.send_signal(signal.SIGTERM)
        gateway.process.wait(120)
        asking.join(120)
        assert asking.failure is None
        assert "data: [DONE]" in asking.lines
        account = gateway.account(session_id)
        assert (account.held, account.available + account.spent) == (0, FUNDED)
        assert account.spent > 0

    def test_a_stream_that_does_not_is_cut_and_what_was_given_is_paid(self, started, fake):
        gateway = started()
        session_id, key = gateway.fund(FUNDED)
        fake.next(Behaviour(text=ANSWER, chunk_delay_seconds=0.5))
        asking = Asking(gateway, key, stream=True)
        gateway.wait_until(lambda: words_of(asking.lines) >= 2)
        gateway.process.send_signal(signal.SIGTERM)
        gateway.process.wait(120)
        asking.join(120)
        assert "data: [DONE]" not in asking.lines
        account = gateway.account(session_id)
        assert (account.held, account.available + account.spent) == (0, FUNDED)
        assert 0 < account.spent < 2 * len(ANSWER) + 2 * len(PROMPT)

    def test_an_answer_that_has_not_begun_is_refused_and_can_be_retried(self, started, fake):
        gateway = started()
        session_id, key = gateway.fund(FUNDED)
        fake.next(Behaviour(delay_seconds=30))
        asking = Asking(gateway, key)
        gateway.wait_until(lambda: fake.served)
        gateway.process.send_signal(signal.SIGTERM)
        gateway.process.wait(120)
        asking.join(120)
        assert asking.reply.status_code == 503
        assert json.loads("".join(asking.lines))["error"]["code"] == "gateway_stopping"
        assert asking.reply.headers["retry-after"] == "1"
        account = gateway.account(session_id)
        assert (account.held, account.available, account.spent) == (0, FUNDED, 0)

    def test_chats_keep_what_was_given_and_the_next_start_goes_on(self, started, fake):
        """Spec N5, P3. Over OpenAI's API in a chat, and over ours plain and as a stream."""
        gateway = started()
        session_id, key = gateway.fund(FUNDED)
        place = f"/api/v1/sessions/{session_id}/chats"
        for _ in range(3):
            made = gateway.post(place, json={"config": {"model": "fast"}}, headers=bearer(key))
            assert made.status_code == 201, made.text
        fake.default = Behaviour(text=ANSWER, chunk_delay_seconds=0.3)
        askings = [Asking(gateway, key, stream=True, chat=f"{session_id}.1")]
        askings += [
            Asking(
                gateway, key, path=f"{place}/{number}/messages", whole={"text": PROMPT, "stream": is_stream}
            )
            for number, is_stream in ((2, True), (3, False))
        ]
        gateway.wait_until(lambda: fake.served == 3 and all(len(each.lines) > 4 for each in askings[:2]))
        gateway.process.send_signal(signal.SIGTERM)
        gateway.process.wait(120)
        for asking in askings:
            asking.join(120)
        account = gateway.account(session_id)
        assert (account.held, account.available + account.spent) == (0, FUNDED)
        given = 0
        for number in (1, 2, 3):
            asked, *answers = gateway.said(f"{session_id}.{number}")
            assert (asked, len(answers)) == (PROMPT, 1)
            assert ANSWER.startswith(answers[0])
            given += len(answers[0].split())
        assert account.spent >= 2 * given
        fake.default = Behaviour()
        gateway.start()
        for number in (1, 2, 3):
            asked = gateway.post(f"{place}/{number}/messages", json={"text": "next"}, headers=bearer(key))
            assert asked.status_code == 200, asked.text


class TestCrash:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_holds_without_a_process_are_settled_after_the_next_start(self, started, fake, workers):
        """Guarantee 6, and no money pinned."""
        gateway = started(workers=workers, hold_seconds=2)
        session_id, key = gateway.fund(FUNDED)
        fake.default = Behaviour(text=ANSWER, chunk_delay_seconds=0.5)
        askings = [Asking(gateway, key, stream=True) for _ in range(4)]
        gateway.wait_until(lambda: all(words_of(asking.lines) for asking in askings))
        gateway.kill()
        for asking in askings:
            asking.join(120)
        held = gateway.account(session_id).held
        assert held > 0
        gateway.start()
        account = gateway.wait_until(lambda: nothing_is_held(gateway, session_id))
        assert account.available + account.spent == FUNDED
        lines = gateway.read(lambda store: store.reads.transfers(session_id))
        booked = sum(line.amount for line in lines if line.kind == "exposure")
        assert account.spent + booked == held  # charged, or booked as what the upstream may bill
        fake.default = Behaviour()
        assert ask(gateway, key).status_code == 200

    def test_a_worker_that_dies_in_a_burst_loses_no_money(self, started, fake):
        gateway = started(workers=2, hold_seconds=2)
        session_id, key = gateway.fund(FUNDED)
        fake.default = Behaviour(delay_seconds=0.5)
        askings = [Asking(gateway, key) for _ in range(40)]
        gateway.wait_until(lambda: fake.served >= 10)
        os.kill(gateway.workers()[0], signal.SIGKILL)
        for asking in askings:
            asking.join(120)
        answered = sum(asking.reply is not None and asking.reply.status_code == 200 for asking in askings)
        assert answered > 0
        account = gateway.wait_until(lambda: nothing_is_held(gateway, session_id))
        assert account.available + account.spent == FUNDED
        assert account.spent >= answered
        gateway.wait_until(lambda: len(gateway.workers()) == 2)
        assert ask(gateway, key).status_code == 200


class TestDawdling:
    def test_a_client_that_does_not_read_its_stream_pays_for_what_was_written_and_holds_nothing(
        self, started, fake
    ):
        gateway = started()
        session_id, key = gateway.fund("10000 USD")
        piece = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "fast"}
        piece["choices"] = [{"index": 0, "delta": {"content": "x" * 64_000}, "finish_reason": None}]
        fake.next(Behaviour(raw=[f"data: {json.dumps(piece)}\n\n".encode()] * 1_000))
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.connect(("127.0.0.1", gateway.port))
            content = json.dumps(body(stream=True, max_tokens=90_000_000)).encode()
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
            raw.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
            gateway.wait_until(lambda: gateway.account(session_id).held)
            account = gateway.wait_until(lambda: nothing_is_held(gateway, session_id))
        assert account.available + account.spent == 10_000_000_000
        assert 0 < account.spent < 2 * 64_000_000
        assert fake.disconnected.wait(120)


class TestWatching:
    def test_numbers_of_all_workers_say_what_was_captured(self, started, fake):
        gateway = started(workers=2)
        session_id, key = gateway.fund(FUNDED)
        for _ in range(20):
            assert ask(gateway, key).status_code == 200
        fake.next(Behaviour(usage={"prompt_tokens": 5, "completion_tokens": 10_000, "total_tokens": 10_005}))
        assert ask(gateway, key, max_tokens=10).status_code == 200
        account = gateway.account(session_id)
        assert number(gateway, 'prepaid_captured_base_units_total{model="fast"}') == account.spent
        assert number(gateway, 'prepaid_shortfall_base_units_total{model="fast"}') > 10_000

    def test_an_upstream_that_fails_is_seen(self, started, fake):
        gateway = started()
        keys = [gateway.fund(FUNDED, user)[1] for user in ("ann", "bob", "cyd")]
        fake.default = Behaviour(status=500)
        for key, status in zip([*keys, keys[0]], (502, 502, 502, 503), strict=True):
            assert ask(gateway, key).status_code == status
        gateway.wait_until(lambda: number(gateway, 'prepaid_upstream_circuit_open{upstream="fake"}') == 1)
        assert number(gateway, 'prepaid_upstream_failures_total{upstream="fake"}') == 3

    def test_a_log_line_and_a_trace_say_what_it_cost(self, started, fake):
        with Collector() as collector:
            gateway = started(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
            session_id, key = gateway.fund(FUNDED)
            reply = ask(gateway, key)
            (line,) = gateway.wait_until(lambda: [each for each in gateway.records() if "cost" in each])
            gateway.process.send_signal(signal.SIGTERM)
            gateway.process.wait(120)
        spent = gateway.account(session_id).spent
        assert (line["session_id"], line["model"], line["cost"]) == (session_id, "fast", spent)
        assert line["request_id"] == reply.headers["x-request-id"]
        (asked,) = collector.named("chat fast")
        told, usage = attributes(asked), reply.json()["usage"]
        assert told["gen_ai.provider.name"] == "fake"
        assert told["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
        assert told["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
        assert told["prepaid.cost_base_units"] == spent
        assert PROMPT.encode() not in collector.raw
        assert key.encode() not in collector.raw

    def test_a_log_line_and_a_trace_say_what_went_wrong(self, started, fake):
        """Also in mid-stream, where the status has said that all is well."""
        with Collector() as collector:
            gateway = started(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
            _, key = gateway.fund(FUNDED)
            fake.next(Behaviour(text=ANSWER, cut_after=3))
            assert "provider_stream_broken" in ask(gateway, key, stream=True).text
            assert ask(gateway, key, messages=[]).status_code == 400
            gateway.get("/api/v1/sessions/none", headers=bearer(key))
            gateway.get("/nothing")
            assert ask(gateway, key).status_code == 200
            gateway.process.send_signal(signal.SIGTERM)
            gateway.process.wait(120)
        lines = [each for each in gateway.records() if each["message"] == "request"]
        told = [(each["status"], each.get("error")) for each in lines if each["route"] != "/readyz"]
        assert told == [
            (200, "provider_stream_broken"),
            (400, "invalid_request_error"),
            (404, "session_not_found"),
            (404, "route_not_found"),
            (200, None),
        ]
        failed, answered = collector.named("chat fast")
        assert (failed.status.code, attributes(failed)["error.type"]) == (2, "provider_stream_broken")
        assert (answered.status.code, attributes(answered).get("error.type")) == (0, None)


class TestSilence:
    def test_nothing_that_is_written_has_a_key_a_prompt_or_an_answer(self, started, fake):
        gateway = started('log_level = "debug"', workers=2)
        _, key = gateway.fund(FUNDED)
        quoting = {"error": {"message": f"bad {PROMPT} with sk-upstream-secret", "type": "x"}}
        for behaviour in (
            Behaviour(text=ANSWER),
            Behaviour(status=400, error=quoting),
            Behaviour(status=500, error=quoting),
            Behaviour(text=ANSWER, cut_after=3),
            Behaviour(raw=f"data: {PROMPT}\n\n".encode()),
            Behaviour(text=ANSWER, usage={"prompt_tokens": -1, "completion_tokens": 1}),
        ):
            fake.next(behaviour)
            with contextlib.suppress(httpx.HTTPError):
                ask(gateway, key, stream=True)
        for wrong in (
            {"messages": PROMPT},
            {"model": PROMPT},
            {"max_tokens": PROMPT},
            {"messages": [PROMPT]},
        ):
            assert 400 <= ask(gateway, key, **wrong).status_code < 500
        assert ask(gateway, f"{key[:-4]}abcd").status_code == 401
        for path in ("/v1/chat/completions", "/api/v1/sessions", f"/{PROMPT}?key={key}"):
            httpx.post(f"{gateway.url}{path}", content=f'{{"{PROMPT}": '.encode(), headers=bearer(key))
        operator = re.search(r"pp_\S+", gateway.stdout)[0]
        gateway.stop()
        for secret in (key, key[:-4], operator, PROMPT, "secret answer", "sk-upstream-secret"):
            assert secret not in gateway.log
        assert gateway.stdout.count("\n") == 1


def number(gateway, sample):
    text = httpx.get(f"{gateway.url}/metrics", headers={"connection": "close"}).text
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(sample)), 0)
