"""What a provider says to us stays with us; what a client needs to correct its request passes (spec P12)."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prepaid.config import UpstreamSettings
from prepaid.errors import ConfigError, ProviderFault
from prepaid.models.failures import refused, refused_in_stream, request_id
from prepaid.models.hiding import Hidden

SECRET = "sk-upstream-secret-0123456789"
BASE = "https://gpu-box-7.corp.example:8443/v1"
HIDDEN = Hidden(SECRET, BASE)
PASSING = [400, 413, 415, 422]
OURS = [301, 401, 402, 403, 404, 405, 409, 429, 500, 502, 503, 504, 529, 599]

ABOUT_US = [
    f"The key {SECRET} is not valid",
    "The key sk-upstr*************6789 is not valid; see https://platform.example/keys",
    "Your key ends in 456789",
    "It begins with sk-ups",
    "This key is of no member of org-Xyz123, project proj_abc",
    "API key not valid. Please pass a valid API key.",
    "Incorrect API key provided: xa***yz",
    "Your credit balance is too low to access the API",
    "Billing hard limit has been reached",
    "The organization must be verified to use this model",
    "The deployment for this resource does not exist",
]
PLACES = [
    "No route to gpu-box-7.corp.example",
    "Connection refused by 10.0.0.5:8000",
    "Cannot connect to host vllm.internal:8000",
    "See https://platform.openai.com/docs",
    "Write to support@provider.example",
    "bad peer fe80:0:0:1::7",
    "http://127.0.0.1/x",
]
ELSEWHERE = [
    "The provided model identifier arn:aws:bedrock:eu-west-1:123456789012:inference-profile/acme is invalid",
    "Publisher Model projects/acme-prod-771/locations/us-central1/publishers/google/models/g is not supported",
    "model '/srv/acme/models/llama3.gguf' does not support tools",
    'Traceback (most recent call last): File "/opt/acme/vllm/engine.py", line 12, in generate',
    "Backend llm7.acme.ch rejected the request",
    "service vllm-prod.llm-acme refused this prompt",
    "The resource acme-openai-east has content filter 'strict-acme'",
    "litellm.BadRequestError: Received Model Group=acme-gold Available Model Group Fallbacks=['acme-silver']",
    "user id 7c9e6679-7425-40de-944b-e07fc1f90ae7 of Acme GmbH is blocked",
    "<html><body>nginx at edge.acme.corp path /var/www/acme</body></html>",
    "Invalid value: 'acme-gold'. Supported values are: 'acme-silver', 'low'.",
    "acme_prod.771: field required",
    "Unsupported parameter: 'acme' is not supported with this model. Use 'acme_2' instead.",
]
"""Of the operator's affairs in ways that no pattern finds."""
FOREIGN = re.compile(r"acme|llama|123456789012|771|vllm|nginx|7c9e|engine|gold|silver", re.IGNORECASE)
OPENAIS = {"type": "invalid_request_error"}
THEIRS = [
    (
        (
            "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (8000 in the"
            " messages, 1000 in the completion). Please reduce the length of the messages or completion."
        ),
        {"param": "messages", "code": "context_length_exceeded"},
        (
            "messages: it is too long for the model; it takes 8192 tokens; this has 9000 (8000 in the messages,"
            " 1000 for the completion)"
        ),
    ),
    (
        "prompt is too long: 210000 tokens > 200000 maximum",
        {},
        "it is too long for the model; it takes 200000 tokens; this has 210000",
    ),
    (
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        {},
        "it is too long for the model; it takes 1048576 tokens; this has 1200000",
    ),
    (
        "Prompt contains 40,000 tokens and 0 draft tokens, too large for model with 32,768 maximum context length",
        {},
        "it is too long for the model; it takes 32,768 tokens; this has 40,000",
    ),
    (
        "the request exceeds the available context size",
        {"type": "exceed_context_size_error", "n_ctx": 4096, "n_prompt_tokens": 5000},
        "it is too long for the model; it takes 4096 tokens; this has 5000",
    ),
    (
        (
            "max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you"
            " provided 100000."
        ),
        {"param": "max_tokens", "code": "invalid_value"},
        "max_tokens: a value is not one that the model takes; it takes 16384 tokens; this has 100000",
    ),
    (
        "Invalid value: 'loud'. Supported values are: 'low', 'medium', and 'high'.",
        {"param": "reasoning.effort", "code": "invalid_value"},
        "reasoning.effort: a value is not one that the model takes; it takes low, medium, high",
    ),
    (
        "messages.1.content.0.text: text content blocks must be non-empty",
        {},
        "messages[1].content[0].text: something in it is empty that must not be",
    ),
    (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        {"param": "max_tokens", "code": "unsupported_parameter"},
        "max_tokens: it has a parameter that the model does not take; use max_completion_tokens",
    ),
    (
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
        {"param": "temperature", "code": "decimal_above_max_value"},
        "temperature: a value is too large; at most 2 is taken; this has 3",
    ),
    (
        (
            "Invalid type for 'messages[0].content': expected one of a string or array of objects, but got an integer"
            " instead."
        ),
        {"param": "messages[0].content", "code": "invalid_type"},
        "messages[0].content: a value is of the wrong type; it takes array or string; this is integer",
    ),
    (
        "Invalid schema for function 'add': unbalanced parentheses at 3:14",
        {"param": "tools[0].function.parameters", "code": "invalid_function_parameters"},
        "tools[0].function.parameters: a schema in it is invalid, or has what the model does not take",
    ),
    (
        "gpt-3.5-turbo does not support response_format.json_schema",
        {},
        "the model does not support JSON as its response_format",
    ),
    (
        "An assistant message with 'tool_calls' must be followed by tool messages",
        {"param": "messages.[2].role"},
        "messages[2].role: its messages are not in an order that the model takes",
    ),
    ("You uploaded an unsupported image.", {"code": "invalid_image_format"}, "an image in it cannot be used"),
    ("Flagged by our safety system", {}, "its content is against the upstream's policy"),
]
"""What providers say of requests, and what clients are told."""
SAID = [words for words, _, _ in THEIRS]


def body(message, **more):
    return json.dumps({"error": {"message": message, **more}}).encode()


def shown(error):
    return " ".join([str(error), error.what, error.remedy, *error.told.values()])


@pytest.mark.parametrize(("words", "more", "told"), THEIRS, ids=range(len(THEIRS)))
@pytest.mark.parametrize("status", PASSING)
def test_what_corrects_a_request_is_told_in_our_words(status, words, more, told):
    error = refused("up", status, body(words, **(OPENAIS | more)), None, HIDDEN)
    assert f"refused the request (status {status}): {told}" in str(error)
    assert error.fault is ProviderFault.REQUEST
    assert words.rstrip(".") not in shown(error)
    if "param" in more and "code" in more:
        assert error.told == OPENAIS | more


@pytest.mark.parametrize("words", ELSEWHERE)
@pytest.mark.parametrize("status", PASSING)
def test_no_name_of_the_operators_passes(status, words):
    """Neither where nobody knows what is wrong, nor beside what is known; nor as a code or a parameter."""
    for more in ({}, OPENAIS, {"code": "invalid_value"}, {"code": "acme_771", "type": words, "param": words}):
        for said in (body(words, **more), words.encode(), json.dumps({"detail": [{"msg": words}]}).encode()):
            assert FOREIGN.search(shown(refused("up", status, said, None, HIDDEN, b'{"model": "m"}'))) is None


@given(st.text(max_size=80), st.sampled_from(SAID), st.text(max_size=80), st.sampled_from(PASSING))
def test_what_stands_around_what_is_known_does_not_pass(before, words, after, status):
    name = "Zyxwv_utsrq"
    said = f"{before} {name} {words} {name}.{name} '{name}' {after}"
    error = refused("up", status, body(said, param=f"messages.{name}", code=name, type=name), None, HIDDEN)
    assert name not in shown(error)


def test_a_parameter_passes_if_the_request_has_it():
    asked = json.dumps({"model": "m", "guided_choice": [{"deep": 1}], "max_tokens": 5}).encode()
    for param, told in (
        ("guided_choice.0.deep", "guided_choice[0].deep"),
        ("max_tokens", "max_tokens"),
        ("messages.0.content", "messages[0].content"),
        ("guided_choice[0].acme", None),
        ("acme", None),
        ("/srv/acme", None),
        ("messages[0].acme", None),
        ("messages[12345].content", None),
    ):
        error = refused("up", 400, body("no", param=param), None, HIDDEN, asked)
        assert error.told.get("param") == told
        assert (told or "as wrong") in str(error)


def test_what_nobody_knows_is_the_operators_to_look_up():
    assert "the log prepaid.upstream" in refused("up", 400, body("no"), None, HIDDEN).remedy
    token = request_id.set("req_7")
    try:
        assert "req_7" in refused("up", 400, body("no"), None, HIDDEN).remedy
    finally:
        request_id.reset(token)


@pytest.mark.parametrize("words", ABOUT_US)
@pytest.mark.parametrize("status", PASSING)
def test_what_is_about_the_operator_is_not_the_requests_fault(status, words):
    """Gemini says 400 of a wrong key, and Anthropic of an empty account."""
    error = refused("up", status, body(words, type="invalid_request_error"), None, HIDDEN)
    assert error.fault is ProviderFault.ACCESS
    assert not error.told
    assert words not in shown(error)


@pytest.mark.parametrize("words", PLACES)
def test_an_address_does_not_pass(words):
    error = refused("up", 400, body(words, code="bad"), None, HIDDEN)
    assert (error.fault, error.told) == (ProviderFault.REQUEST, {})
    assert "refused the request as wrong (status 400)" in str(error)
    assert words not in shown(error)


def test_what_a_client_wrote_itself_is_not_taken_for_the_operators():
    asked = b'{"tool": "get_account"}'
    assert (
        refused("up", 400, body("'get_account' is no tool"), None, HIDDEN, asked).fault
        is ProviderFault.REQUEST
    )
    echoed = refused("up", 400, body(f"The key {SECRET}"), None, HIDDEN, SECRET.encode())
    assert SECRET not in shown(echoed)


@pytest.mark.parametrize("words", [*ABOUT_US, *PLACES, *SAID])
@pytest.mark.parametrize("status", OURS)
def test_any_other_status_is_told_in_our_words(status, words):
    said = body(words, type=words, param=words, code=words)
    error = refused("up", status, said, None, HIDDEN)
    assert words not in shown(error)
    assert not error.told
    assert (SECRET in error.detail, "status" in error.detail) == (False, True)


@given(st.text(max_size=60), st.integers(6, len(SECRET)), st.integers(0, len(SECRET)), st.text(max_size=60))
@example("", 6, 0, "")
def test_no_beginning_or_end_of_the_key_is_told(before, length, at, after):
    for part in (SECRET[:length], SECRET[-length:], SECRET[at : at + length + 2]):
        if len(part) < 6 or (len(part) < 8 and not (SECRET.startswith(part) or SECRET.endswith(part))):
            continue
        error = refused("up", 400, body(before + part + after, code=part), None, HIDDEN)
        assert part not in shown(error).replace("upstream", "")


@given(st.binary(max_size=300), st.sampled_from(PASSING + OURS))
@example(b"[" * 200, 400)
@example(b'{"error": null}', 400)
def test_no_body_makes_it_crash(raw, status):
    error = refused("up", status, raw, None, HIDDEN)
    assert len(str(error)) < 500
    assert SECRET not in str(error) + error.detail


@pytest.mark.parametrize("words", [*ABOUT_US, *PLACES, *SAID])
@pytest.mark.parametrize("code", [400, 401, 429, 500, "x", None, "context_length_exceeded"])
def test_an_error_in_a_stream_is_told_in_our_words(code, words):
    error = refused_in_stream("up", {"message": words, "code": code, "type": words})
    assert words not in shown(error)
    assert SECRET not in error.detail
    assert ("context_length_exceeded" in str(error)) == (code == "context_length_exceeded")


@pytest.mark.parametrize("code", ["insufficient_quota", "billing_hard_limit_reached"])
@pytest.mark.parametrize("field", ["code", "type"])
def test_an_empty_account_is_the_operators_matter(field, code):
    error = refused("up", 429, body("no money", **{field: code}), 20.0, HIDDEN)
    assert (error.fault, error.retryable, error.can_resend) == (ProviderFault.QUOTA, False, False)
    assert code not in shown(error)


def test_a_client_of_the_gateway_is_told_whom_to_ask():
    assert "api_key" in refused("up", 401, b"", None, HIDDEN).remedy
    token = request_id.set("req_7")
    try:
        assert (
            refused("up", 401, b"", None, HIDDEN).remedy
            == "Tell the gateway's operator the request's id: req_7."
        )
    finally:
        request_id.reset(token)


def test_the_log_has_all_but_secrets_and_what_the_client_wrote():
    asked = json.dumps({"messages": [{"content": "my most secret prompt"}]}).encode()
    words = f"Host gpu-box-7 of org-1 refuses {SECRET} for 'my most secret prompt'"
    detail = refused("up", 500, body(words), None, HIDDEN, asked).detail
    assert "gpu-box-7 of org-1 refuses *** for '[…]" in detail
    assert "secret prompt" not in detail
    long = refused("up", 500, body("my most secret prompt"), None, HIDDEN, asked + b" " * 300_000).detail
    assert "secret" not in long


def test_a_key_at_the_edge_of_what_is_logged_is_masked():
    for at in range(250, 310):
        assert (
            SECRET[:8] not in refused("up", 500, body("x" * at + " " + SECRET.upper()), None, HIDDEN).detail
        )
        assert (
            SECRET[:8].upper() not in refused("up", 500, body("x" * at + SECRET.upper()), None, HIDDEN).detail
        )


def test_an_error_in_a_stream_has_no_words_in_the_log():
    error = {"message": f"{SECRET} at {BASE}?sig=s1gnature: PIN 8421", "code": "8421", "type": "server_error"}
    detail = refused_in_stream("up", error).detail
    assert detail == f"an error inside its answer, type server_error: ({len(error['message'])} characters)"
    for mark in (SECRET, "s1gnature", "8421", "PIN"):
        assert mark not in detail


class TestSettings:
    URL = "https://ann:pass-word@host.example/v1?api-version=2024-06-01&sig=s1gnature"

    def test_credentials_in_a_url_are_not_shown(self):
        settings = UpstreamSettings(base_url=self.URL, models=("m",))
        assert settings.base_url == self.URL
        for text in (repr(settings), str(settings)):
            assert "host.example/v1?api-version=2024-06-01&sig=***" in text
            assert re.search("pass-word|s1gnature|ann", text) is None

    @pytest.mark.parametrize(
        "url",
        [
            "ftp://ann:pass-word@h/v1",
            "http://ann:pass-word@",
            "http://ann:pass/word@h",
            "ftp://h/?sig=pass-word",
            "http://h/v1?sig=pass-word#x",
            "ftp://" + "a" * 80 + ":pass-word@h",
        ],
    )
    def test_a_wrong_url_is_not_repeated(self, url):
        from prepaid.config import Settings

        with pytest.raises(ConfigError, match="base_url") as caught:
            Settings(upstreams={"u": {"base_url": url, "models": ["m"]}})
        assert re.search("pass|word", str(caught.value)) is None

    def test_two_kinds_of_credentials_are_one_too_many(self):
        from prepaid.config import Settings

        with pytest.raises(ConfigError, match="keep one") as caught:
            Settings(upstreams={"u": {"base_url": self.URL, "models": ["m"], "api_key": "k3y"}})
        assert "k3y" not in str(caught.value)
