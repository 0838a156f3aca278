"""Every error has one status, and two bodies in which it is told."""

from __future__ import annotations

import inspect
import json
import re

import pytest

from pages import read, rows
from prepaid import errors
from prepaid.errors import ChainError, InsufficientFunds, PrepaidError, StoreError
from prepaid.gateway.asgi import to_json
from prepaid.gateway.failures import (
    STATUS,
    headers_of,
    is_retryable,
    openai_failure,
    problem,
    remedy_of,
    status_of,
)

CLASSES = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, PrepaidError)]
ARGUMENTS = {
    "str": "x",
    "str | None": "x",
    "int": 7,
    "int | None": 7,
    "float": 7.0,
    "tuple[str, ...]": ("x",),
}
"""A value for each type that errors are made with."""


def made(kind):
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    return kind(*(ARGUMENTS[each.annotation] for each in parameters if each.default is each.empty))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_of_the_tree_has_a_status(kind):
    error = made(kind)
    known = next(STATUS[parent] for parent in kind.__mro__ if parent in STATUS)
    assert status_of(error) in {known, 429}
    assert 400 <= status_of(error) < 600


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_what_cannot_be_retried_says_so_and_what_can_says_when(kind):
    """OpenAI's clients retry 408, 409, 429 and 5xx unless they are told not to."""
    error = made(kind)
    headers = dict(headers_of(error))
    assert (b"retry-after" in headers) == is_retryable(error)
    assert (headers.get(b"x-should-retry") == b"false") == (not is_retryable(error))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_both_bodies_name_code_remedy_and_values(kind):
    error = made(kind)
    told, own = problem(error, "req_1"), openai_failure(error)["error"]
    assert told["code"] == own["prepaid"]["code"] == kind.code
    assert told["status"] == status_of(error)
    assert told["remedy"] == own["prepaid"]["remedy"]
    assert own["message"] == f"{told['detail']} {told['remedy']}".strip()
    if not issubclass(kind, errors.StoreError):
        assert (told["detail"], told["remedy"]) == (error.what, remedy_of(error))
    assert {"message", "type", "param", "code"} <= own.keys()
    assert json.loads(to_json(told)) == told


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_no_remedy_is_for_whoever_writes_python_or_runs_an_upstream(kind):
    """What only the operator can do, clients cannot."""
    if not issubclass(kind, ChainError | StoreError):
        assert not re.search(r"\(\)|prepaid\.toml|fallback|\bat the provider", remedy_of(made(kind)))


def test_a_wait_is_in_the_body_too():
    told = openai_failure(errors.TooManyFailedKeys("failed_keys_per_minute", 60, 1.5))["error"]["prepaid"]
    assert told["after_seconds"] == 1.5


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if issubclass(kind, errors.StoreError)])
def test_where_the_database_is_and_what_it_says_is_for_the_log(kind, caplog):
    """Spec P12: files, hosts and users."""
    error = made(kind).reworded("The database /srv/acme.db of user bob@db.acme failed.", "Look at /srv/acme.")
    vars(error).update(place="/srv/acme.db", why="bob")
    for told in (problem(error, "req_1"), openai_failure(error)):
        assert [mark for mark in ("acme", "bob", "/srv") if mark in json.dumps(told)] == []
    assert "/srv/acme.db of user bob@db.acme" in caplog.text


def test_the_page_has_the_table():
    told = {
        name.strip("`"): int(status.split(";")[0])
        for name, status in rows(read("docs/gateway.md"), "## Errors")
    }
    assert told == {kind.__name__: status for kind, status in STATUS.items()}


def test_no_money_is_402_and_openais_word_for_it():
    """Spec A9, D2."""
    error = InsufficientFunds(100, 30, held=50)
    own = openai_failure(error)["error"]
    assert status_of(error) == 402
    assert (own["type"], own["code"]) == ("insufficient_quota", "insufficient_quota")
    assert own["prepaid"]["needed"] == 100
    assert (problem(error, "r")["available"], problem(error, "r")["held"]) == (30, 50)
    assert dict(headers_of(error)) == {b"x-should-retry": b"false"}


def test_money_that_is_only_held_is_429_and_worth_a_retry():
    error = InsufficientFunds(100, 30, held=70)
    own = openai_failure(error)["error"]
    assert status_of(error) == 429
    assert (own["type"], own["code"]) == ("rate_limit_error", "funds_held_in_flight")
    assert problem(error, "r")["retryable"]
    assert own["prepaid"]["retryable"]
    assert dict(headers_of(error)) == {b"retry-after": b"1"}


def test_openais_own_codes_are_kept():
    assert openai_failure(errors.AuthenticationError("No key."))["error"]["code"] == "invalid_api_key"
    unpriced = openai_failure(errors.ModelNotPriced("m"))["error"]
    assert (unpriced["code"], unpriced["param"]) == ("model_not_found", "model")
    assert openai_failure(errors.StoreBusy("Busy."))["error"]["type"] == "server_error"


def test_an_upstream_that_is_left_alone_says_for_how_long():
    error = errors.UpstreamUnavailable("one", 5, 2.2)
    assert (status_of(error), dict(headers_of(error))) == (503, {b"retry-after": b"3"})


def test_a_wrong_method_is_told_the_right_ones():
    headers = dict(headers_of(errors.MethodNotAllowed("/v1/models", ("GET", "HEAD"))))
    assert headers[b"allow"] == b"GET, HEAD"


def test_half_a_character_does_not_break_a_reply():
    assert json.loads(to_json({"name": "\ud800"})) == {"name": "\ud800"}
    assert to_json({"name": "ü"}) == '{"name":"ü"}'.encode()
