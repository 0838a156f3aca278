"""What a provider says to the gateway stays there, but for how long to wait; and each failure has its reply."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from gateway.running import Gateway
from providers.fake_openai import Behaviour, FakeOpenAI

KEY = "sk-upstream-secret-0123456789"
SAYING = f"{KEY} of org-Xyz123 (proj_abc) is refused by gpu-7.corp.example, http://10.0.0.5:8000/v1"
MARKS = ("sk-", "upstream-secret", "org-", "proj_", "gpu-7", "10.0.0.5", "secret-0123456789")


@pytest.fixture(scope="module")
def fake():
    with FakeOpenAI() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, fake):
    price = 'input_per_million = "1"\noutput_per_million = "2"\noutput_tokens_max = 1000\n'
    toml = f"""
[upstreams.fake]
base_url = "{fake.base_url}"
api_key = "{KEY}"
models = ["fast", "first"]
retries_max = 0
circuit_failures = 1000
[upstreams.gone]
base_url = "http://127.0.0.1:9/v1?sig=hidden-signature"
models = ["gone"]
retries_max = 0
[prices.fast]
{price}
[prices.first]
{price}
[prices.gone]
{price}
[fallbacks]
first = ["fast"]
"""
    with Gateway(tmp_path_factory.mktemp("upstreams"), toml) as running:
        yield running
        running.assert_sound()


@pytest.fixture
def ask(gateway, fake):
    fake.reset()
    _, key = gateway.fund(100_000)

    def ask(*, stream=False, model="fast", api="chat/completions", text="Hi", **headers):
        asked = (
            {"input": text}
            if api != "chat/completions"
            else {"messages": [{"role": "user", "content": text}]}
        )
        return httpx.post(
            f"{gateway.url}/v1/{api}",
            json={"model": model, "stream": stream} | asked,
            headers={"authorization": f"Bearer {key}"} | headers,
            timeout=60,
        )

    return ask


def refusal(status, **more):
    return Behaviour(status=status, error={"error": {"message": SAYING, **more}})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", ["chat/completions", "responses"])
@pytest.mark.parametrize(
    ("status", "told"),
    [
        (301, 502),
        (400, 502),
        (401, 502),
        (402, 502),
        (403, 502),
        (404, 502),
        (429, 429),
        (500, 502),
        (503, 503),
    ],
)
def test_no_client_reads_what_is_the_operators(ask, fake, api, stream, status, told):
    """Spec P12."""
    fake.next(refusal(status, type=SAYING, code="invalid_api_key", param=SAYING))
    reply = ask(stream=stream, api=api)
    assert reply.status_code == (503 if status == 402 else told)
    assert [mark for mark in MARKS if mark in reply.text + str(reply.headers)] == []


@pytest.mark.parametrize("api", ["chat/completions", "responses"])
@pytest.mark.parametrize("started", [False, True])
def test_nor_in_a_stream_that_ends_with_an_error(ask, fake, api, started):
    """Spec P12."""
    word = {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}
    if api == "responses":
        word = {"type": "response.output_text.delta", "delta": "Hi", "sequence_number": 1}
    end = {"error": {"message": SAYING, "code": SAYING, "type": SAYING, "param": SAYING}}
    if api == "responses":
        end = end["error"] | {"type": "error"}
    events = [word, end] if started else [end]
    raw = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]
    fake.next(Behaviour(raw=raw, chunk_delay_seconds=0.1))
    reply = ask(stream=True, api=api)
    assert reply.status_code == (200 if started else 502)
    assert "provider_error" in reply.text
    assert [mark for mark in MARKS if mark in reply.text] == []


def test_nor_of_a_response_that_failed(ask, fake):
    failed = {"type": "response.failed", "response": {"status": "failed", "error": {"message": SAYING}}}
    fake.next(Behaviour(raw=b"data: " + json.dumps(failed).encode() + b"\n\n"))
    reply = ask(stream=True, api="responses")
    assert reply.status_code == 502
    assert [mark for mark in MARKS if mark in reply.text] == []


def test_nor_of_an_error_with_status_200(ask, fake):
    fake.next(
        Behaviour(raw=json.dumps({"error": {"message": SAYING}}).encode(), content_type="application/json")
    )
    reply = ask()
    assert reply.status_code == 502
    assert [mark for mark in MARKS if mark in reply.text] == []


@pytest.mark.parametrize("stream", [False, True])
def test_what_corrects_a_request_is_told(ask, fake, stream):
    """Spec P12: in our words, with the numbers and OpenAI's own fields."""
    words = "This model's maximum context length is 8 tokens. However, you requested 9 tokens. Host gpu-7."
    told = {"type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}
    fake.next(Behaviour(status=400, error={"error": {"message": words} | told}))
    reply = ask(stream=stream)
    error = reply.json()["error"]
    assert (reply.status_code, {name: error[name] for name in told}) == (400, told)
    assert "it takes 8 tokens; this has 9." in error["message"]
    assert "gpu-7" not in reply.text


@pytest.mark.parametrize(
    ("api", "kind"),
    [("chat/completions", kind) for kind in (400, 500, "stream", "whole")]
    + [("responses", kind) for kind in (400, 500, "stream")],
)
def test_no_prompt_is_in_the_log_because_a_provider_repeats_it(ask, fake, gateway, api, kind):
    """Spec P12: whatever way it fails."""
    prompt = f'PIN\n8421\n"tr0ub"\t{api}{kind}'
    error = {"error": {"message": f"cannot process: {prompt}", "code": "content_filter"}}
    if kind == "stream":
        fake.next(Behaviour(raw=[b"data: " + json.dumps(error).encode() + b"\n\n"]))
    elif kind == "whole":
        fake.next(Behaviour(raw=json.dumps(error).encode(), content_type="application/json"))
    else:
        fake.next(Behaviour(status=kind, error=error))
    request_id = f"quoted-{kind}-{api[:4]}"
    assert (
        ask(stream=kind == "stream", api=api, text=prompt, **{"x-request-id": request_id}).status_code >= 400
    )
    lines = [line for line in gateway.records() if line.get("request_id") == request_id]
    assert [line["logger"] for line in lines].count("prepaid.upstream") == 1
    assert [mark for mark in ("8421", "tr0ub") if mark in json.dumps(lines)] == []


def test_the_operator_reads_all_of_it_but_the_key(ask, fake, gateway):
    """Spec P12: with the id that the client was told, also of a first model whose fallback answered."""
    fake.next(refusal(401))
    reply = ask(**{"x-request-id": "ask-about-me"})
    assert "ask-about-me" in reply.json()["error"]["message"]
    assert reply.headers["x-should-retry"] == "false"
    fake.next(refusal(403), Behaviour())
    assert ask(model="first", **{"x-request-id": "fell-back"}).status_code == 200
    lines = {line["request_id"]: line for line in gateway.records() if line["logger"] == "prepaid.upstream"}
    for name, model, status in (("ask-about-me", "fast", 401), ("fell-back", "first", 403)):
        line = lines[name]
        assert (line["upstream"], line["model"], line["may_bill"]) == ("fake", model, "nothing")
        assert f"status {status}" in line["message"]
        assert "org-Xyz123" in line["message"]
        assert KEY not in line["message"]


def test_an_upstream_that_is_gone_has_no_address(ask, gateway):
    reply = ask(model="gone", **{"x-request-id": "gone-for-good"})
    assert reply.status_code == 502
    for mark in ("127.0.0.1", ":9", "hidden-signature"):
        assert mark not in reply.text
    assert "hidden-signature" not in gateway.log
    key = reply.request.headers["authorization"]
    listed = httpx.get(f"{gateway.url}/v1/models", headers={"authorization": key}).text
    assert "127.0.0.1" not in listed


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [429, 503, 529])
@pytest.mark.parametrize("seconds", [1, 45, 60])
def test_how_long_to_wait_is_told(ask, fake, stream, status, seconds):
    """Spec P12: its waiting time does reach the client."""
    fake.next(Behaviour(status=status, headers={"Retry-After": str(seconds)}))
    reply = ask(stream=stream)
    assert reply.status_code == (429 if status == 429 else 503)
    assert reply.headers["retry-after"] == str(seconds)
    assert "x-should-retry" not in reply.headers
    if status == 429:
        assert (reply.json()["error"]["type"], reply.json()["error"]["code"]) == (
            "rate_limit_error",
            "rate_limit_exceeded",
        )


def test_how_long_to_wait_may_be_a_date(ask, fake):
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=1000), usegmt=True)
    fake.next(Behaviour(status=429, headers={"Retry-After": until}))
    assert 900 < int(ask().headers["retry-after"]) <= 1000


@pytest.mark.parametrize("stream", [False, True])
def test_an_empty_account_is_not_for_the_client_to_wait_for(ask, fake, stream):
    fake.next(
        Behaviour(status=429, error={"error": {"code": "insufficient_quota"}}, headers={"Retry-After": "5"})
    )
    reply = ask(stream=stream)
    assert reply.status_code == 503
    assert reply.headers["x-should-retry"] == "false"
    assert "retry-after" not in reply.headers
    assert "insufficient_quota" not in reply.text


def test_no_header_of_the_provider_reaches_a_client(ask, fake):
    named = {
        "openai-organization": "org-Xyz123",
        "set-cookie": "a=b",
        "x-request-id": "theirs",
        "server": "gpu-7",
    }
    for behaviour in (Behaviour(headers=named), Behaviour(status=400, headers=named)):
        for stream in (False, True):
            fake.next(behaviour)
            reply = ask(stream=stream)
            assert "openai-organization" not in reply.headers
            assert "set-cookie" not in reply.headers
            assert reply.headers["x-request-id"] != "theirs"
            assert reply.headers["content-type"] == (
                "text/event-stream" if stream and reply.status_code == 200 else "application/json"
            )
