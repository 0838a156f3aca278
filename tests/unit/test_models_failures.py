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
THEIRS = [
    "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens",
    "Invalid value: 'loud'. Supported values are: 'low', 'medium', and 'high'.",
    "messages.1.content.0.text: text content blocks must be non-empty",
    "Unsupported parameter: 'max_tokens' is not supported with this model",
    "Invalid schema for function 'add': unbalanced parentheses at 3:14",
    "gpt-3.5-turbo does not support response_format.json_schema",
]


def body(message, **more):
    return json.dumps({"error": {"message": message, **more}}).encode()


def shown(error):
    return " ".join([str(error), error.what, error.remedy, *error.told.values()])


@pytest.mark.parametrize("words", THEIRS)
@pytest.mark.parametrize("status", PASSING)
def test_what_corrects_a_request_passes(status, words):
    told = {"type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}
    error = refused("up", status, body(words, **told), None, HIDDEN)
    assert words.rstrip(".") in str(error)
    assert (error.fault, error.told) == (ProviderFault.REQUEST, told)


@pytest.mark.parametrize("words", ABOUT_US)
@pytest.mark.parametrize("status", PASSING)
def test_what_is_about_the_operator_is_not_the_requests_fault(status, words):
    """Gemini says 400 of a wrong key, and Anthropic of an empty account."""
    error = refused("up", status, body(words, type="invalid_request_error"), None, HIDDEN)
    assert error.fault is ProviderFault.ACCESS
    assert not error.told
    assert words not in shown(error)


@pytest.mark.parametrize("words", PLACES)
def test_an_address_takes_its_whole_sentence_with_it(words):
    error = refused("up", 400, body(words, code="bad"), None, HIDDEN)
    assert (error.fault, error.told) == (ProviderFault.REQUEST, {"code": "bad"})
    assert str(error) == "Upstream 'up' answered with status 400. Correct the request."


def test_what_a_client_wrote_itself_is_no_secret_to_it():
    asked = b'{"image": "https://client.example/cat.png", "tool": "get_account"}'
    for words in ("Cannot fetch https://client.example/cat.png", "'get_account' is no tool"):
        assert words in str(refused("up", 400, body(words), None, HIDDEN, asked))
    echoed = refused("up", 400, body(f"The key {SECRET}"), None, HIDDEN, SECRET.encode())
    assert SECRET not in shown(echoed)


@pytest.mark.parametrize("words", [*ABOUT_US, *PLACES, *THEIRS])
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


@pytest.mark.parametrize("words", [*ABOUT_US, *PLACES, *THEIRS])
@pytest.mark.parametrize("code", [400, 401, 429, 500, "x", None, "context_length_exceeded"])
def test_an_error_in_a_stream_is_told_in_our_words(code, words):
    error = refused_in_stream("up", {"message": words, "code": code, "type": words}, SECRET)
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
    assert "gpu-box-7 of org-1 refuses *** for" in detail
    assert "secret prompt" not in detail
    long = refused("up", 500, body("my most secret prompt"), None, HIDDEN, asked + b" " * 300_000).detail
    assert "secret" not in long


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
