"""The REST API against its own OpenAPI document: schemathesis makes requests of it, fitting and not.

No 500, nothing that the document does not say, and whatever was asked, the books balance and nothing stays held.
"""

from __future__ import annotations

import zlib
from types import SimpleNamespace

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.rest.api import Api, operator_key
from gateway.running import Gateway

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
]
"""Not that what fits is done: there may be no money, or the state may be another."""

EXAMPLES = {"operator": 5, "user": 5, "session": 5, "nobody": 1}
"""Requests of each kind for each operation, by whose key it is."""

REAL_OF_FIVE = 4
"""So many of five requests name what exists."""

SETTINGS = "hold_seconds = 2\nsweep_seconds = 0.2\n[sessions]\nmax_sessions_per_user = 100000\n"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with Gateway(tmp_path_factory.mktemp("rest"), SETTINGS) as running:
        yield running


@pytest.fixture(scope="module")
def ann(gateway):
    """Ann's key, and the operator's."""
    operator = Api(gateway, operator_key(gateway))
    key = operator.did("POST", "/keys", {"user_id": "ann"})["api_key"]
    return SimpleNamespace(operator=operator, user=Api(gateway, key))


@pytest.fixture(scope="module")
def document(gateway):
    return schemathesis.openapi.from_url(f"{gateway.url}/api/v1/openapi.json")


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("kind", EXAMPLES)
def test_every_operation_does_what_the_document_says(ann, document, kind, mode):
    operations = [result.ok() for result in document.get_all_operations()]
    assert len(operations) >= 46
    key, real = new_session(ann, kind)
    for operation in operations:
        ask_for(operation, mode, EXAMPLES[kind], key, real)
        if key is not None:  # it may have ended the session
            key, real = new_session(ann, kind)


def ask_for(operation, mode, examples, key, real):
    headers = {} if key is None else {"authorization": f"Bearer {key}"}

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def ask(case):
        make_real(case, real)
        reply = case.call(headers=headers, timeout=120)
        case.validate_response(reply, checks=[*CHECKS, *more_checks(case, reply)])
        assert reply.status_code < 500 or reply.json()["code"] == "no_nodes_available"
        assert key or reply.status_code >= 400

    ask()


def more_checks(case, reply):
    """What schemathesis cannot judge is left out: a stream's schema is of the whole stream, and a header or a
    query that is wrong in its eyes may only have something more in it than the document names."""
    if not reply.headers["content-type"][0].startswith("text/event-stream"):
        yield response_schema_conformance
    wrong = {where for where, part in case.meta.components.items() if part.mode is GenerationMode.NEGATIVE}
    if not wrong & {ParameterLocation.QUERY, ParameterLocation.HEADER}:
        yield negative_data_rejection


def new_session(ann, kind):
    """A key of this kind, and what exists for it: another operation may have ended the last."""
    opened = ann.operator.did("POST", "/sessions", {"user_id": "ann", "fund": "1 USD"})
    session_id = opened["session_id"]
    ann.user.did("POST", f"/sessions/{session_id}/chats", {})
    asked = ann.user.did("POST", f"/sessions/{session_id}/requests", {"prompt": "Hello?"})
    keys = {"operator": ann.operator.key, "user": ann.user.key, "session": opened["api_key"], "nobody": None}
    return keys[kind], {
        "session_id": session_id,
        "user_id": "ann",
        "chat": 1,
        "request_id": asked["request_id"],
    }


def make_real(case, real):
    """Ids of what exists, in most requests: what is not found is refused long before anything is done."""
    parameters, path = case.path_parameters or {}, case.meta.components.get(ParameterLocation.PATH)
    is_wrong_by_intent = path is not None and path.mode is GenerationMode.NEGATIVE
    if is_wrong_by_intent or zlib.crc32(repr(parameters).encode()) % 5 >= REAL_OF_FIVE:
        return
    parameters.update({name: value for name, value in real.items() if name in parameters})


def test_in_the_end_the_books_balance_and_nothing_is_held(gateway, ann):
    """After all of the above."""
    for session in ann.operator.did("GET", "/sessions?limit=100")["items"]:
        gateway.wait_until(lambda session=session: gateway.account(session["session_id"]).held == 0)
    gateway.assert_sound()
    assert [record for record in gateway.records() if record["level"] not in ("info", "warning")] == []
