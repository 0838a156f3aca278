"""Spec A5: every operation with every wrong key. What is not the caller's does not exist; the rest is forbidden.

The table below is the one in docs/security.md, and has to name every operation of the OpenAPI document.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from .api import Api, problem

O, U, S = "operator", "user", "session"  # noqa: E741 -- the letters of docs/security.md
SESSION = "/sessions/{session_id}"
CHAT = SESSION + "/chats/{chat}"

ALLOWED = {
    ("POST", "/sessions"): (O, U),
    ("POST", "/sessions/start"): (O, U),
    ("GET", "/sessions"): (O, U),
    ("GET", SESSION): (O, U, S),
    ("POST", SESSION + "/pause"): (O, U),
    ("POST", SESSION + "/resume"): (O, U),
    ("POST", SESSION + "/close"): (O, U),
    ("POST", SESSION + "/restart"): (O, U),
    ("GET", SESSION + "/stats"): (O, U, S),
    ("GET", SESSION + "/usage"): (O, U, S),
    ("GET", SESSION + "/statement"): (O, U),
    ("POST", SESSION + "/fund"): (O,),
    ("POST", "/deposits"): (O,),
    ("POST", "/withdrawals"): (O,),
    ("GET", "/deposits/{user_id}"): (O, U),
    ("POST", SESSION + "/chats"): (U, S),
    ("GET", SESSION + "/chats"): (O, U, S),
    ("GET", CHAT): (O, U, S),
    ("PUT", CHAT + "/config"): (U, S),
    ("POST", CHAT + "/switch"): (U, S),
    ("GET", CHAT + "/messages"): (O, U, S),
    ("POST", CHAT + "/messages"): (U, S),
    ("DELETE", CHAT + "/messages"): (U, S),
    ("POST", "/requests"): (U, S),
    ("POST", SESSION + "/requests"): (U, S),
    ("POST", SESSION + "/batches"): (U, S),
    ("GET", SESSION + "/requests"): (O, U, S),
    ("GET", SESSION + "/requests/{request_id}"): (O, U, S),
    ("GET", "/pool"): (O, U, S),
    ("PUT", SESSION + "/pool"): (O, U),
    ("DELETE", SESSION + "/pool"): (O, U),
    ("POST", "/pool/leases"): (U,),
    ("GET", SESSION + "/leases/{lease_id}"): (U,),
    ("DELETE", SESSION + "/leases/{lease_id}"): (U,),
    ("POST", "/keys"): (O, U),
    ("GET", "/keys"): (O, U),
    ("GET", "/keys/self"): (O, U, S),
    ("GET", "/keys/{key_id}"): (O, U),
    ("POST", "/keys/{key_id}/rotate"): (O, U),
    ("POST", "/keys/{key_id}/revoke"): (O, U),
    ("GET", "/stats"): (O,),
    ("GET", "/users/{user_id}/activity"): (O, U),
    ("GET", "/usage"): (O, U),
    ("GET", "/config"): (O,),
    ("PATCH", "/config"): (O,),
    ("GET", "/audit"): (O,),
}
BODIES = {
    ("POST", "/sessions"): {"name": "x"},
    ("POST", "/sessions/start"): {},
    ("POST", SESSION + "/fund"): {"amount": 5},
    ("POST", "/deposits"): {"user_id": "ann", "amount": 5},
    ("POST", "/withdrawals"): {"user_id": "ann", "amount": 5},
    ("POST", SESSION + "/chats"): {},
    ("PUT", CHAT + "/config"): {},
    ("POST", CHAT + "/messages"): {"text": "Hello?"},
    ("POST", "/requests"): {"prompt": "Hello?"},
    ("POST", SESSION + "/requests"): {"prompt": "Hello?"},
    ("POST", SESSION + "/batches"): {"requests": [{"prompt": "Hello?"}]},
    ("PUT", SESSION + "/pool"): {},
    ("POST", "/pool/leases"): {},
    ("POST", "/keys"): {},
    ("POST", "/keys/{key_id}/rotate"): {},
    ("PATCH", "/config"): {"pool_size": 5},
}
OF_SESSIONS = [operation for operation in ALLOWED if "{session_id}" in operation[1]]
OF_KEYS = [operation for operation in ALLOWED if "{key_id}" in operation[1]]
OF_USERS = [operation for operation in ALLOWED if "{user_id}" in operation[1]]
OF_LEASES = [operation for operation in ALLOWED if "{lease_id}" in operation[1]]


def named(operation):
    return " ".join(operation)


def path_for(template, session_id, request_id="req_x", key_id="pp_op.1", user_id="ann"):
    return template.format(
        session_id=session_id,
        chat=1,
        request_id=request_id,
        lease_id="lease_x",
        key_id=key_id,
        user_id=user_id,
    )


def send(api, operation, **places):
    method, template = operation
    return api(method, path_for(template, **places), json=BODIES.get(operation))


def test_every_operation_has_its_row(gateway):
    paths = gateway.get("/api/v1/openapi.json").json()["paths"]
    found = {
        (method.upper(), path.removeprefix("/api/v1"))
        for path, methods in paths.items()
        for method in methods
    }
    assert found == set(ALLOWED)


@pytest.fixture(scope="module")
def keys_that_open_nothing(world):
    """None, nonsense, guessed, expired and revoked ones, of Ann's own."""
    ann, operator = world.ann, world.operator
    soon = (datetime.now(UTC) + timedelta(seconds=0.3)).isoformat()
    expired = operator.did("POST", "/keys", {"session_id": ann.session_id, "expires_at": soon})
    revoked = operator.did("POST", "/keys", {"user_id": "ann"})
    operator.did("POST", f"/keys/{revoked['key_id']}/revoke")
    world.gateway.wait_until(
        lambda: Api(world.gateway, expired["api_key"]).get("/keys/self").status_code == 401
    )
    guessed = ann.own.key[:-1] + ("A" if ann.own.key[-1] != "A" else "B")
    return [None, "sk-nonsense", guessed, expired["api_key"], revoked["api_key"]]


@pytest.mark.parametrize("operation", ALLOWED, ids=named)
def test_nothing_without_a_key_that_works(world, keys_that_open_nothing, operation):
    for key in keys_that_open_nothing:
        reply = send(Api(world.gateway, key), operation, session_id=world.ann.session_id)
        assert problem(reply)["code"] == "authentication_error"
        assert reply.headers["www-authenticate"].startswith("Bearer")
        assert key is None or key[-32:] not in reply.text


@pytest.mark.parametrize("operation", OF_SESSIONS, ids=named)
@pytest.mark.parametrize("kind", [U, S])
def test_a_foreign_session_does_not_exist(world, operation, kind):
    """The same answer as for one that never was, but for the id in it; and Ann's is as it was."""
    api = world.bob.user if kind == U else world.bob.own
    before = world.ann.user.did("GET", world.ann.path)
    told = [
        problem(send(api, operation, session_id=session_id, request_id=world.ann.request_id))
        for session_id in (world.ann.session_id, "ses_01m7y6qkv88hxy3a7ak1pr")
    ]
    if operation in OF_LEASES and kind == S:
        assert [each["code"] for each in told] == ["permission_denied"] * 2
    elif operation in OF_LEASES:
        assert [each["code"] for each in told] == ["lease_not_found"] * 2
    else:
        assert [each["code"] for each in told] == ["session_not_found"] * 2
    theirs, nobodys = (
        {name: re.sub(r"(ses|req)_\w+", "ID", str(value)) for name, value in each.items()} for each in told
    )
    assert theirs == nobodys
    assert world.ann.user.did("GET", world.ann.path) == before


@pytest.mark.parametrize("operation", OF_KEYS, ids=named)
@pytest.mark.parametrize("whose", ["session", "user", "operator"])
def test_a_foreign_key_does_not_exist(world, operation, whose):
    key_ids = {"session": world.ann.own, "user": world.ann.user, "operator": world.operator}
    key_id = key_ids[whose].did("GET", "/keys/self")["key_id"]
    for each in (key_id, "pp_ses_01m7y6qkv88hxy3a7ak1pr.1", "nonsense"):
        reply = send(world.bob.user, operation, session_id="x", key_id=each)
        assert problem(reply)["code"] == "key_not_found"
    assert key_ids[whose].get("/keys/self").status_code == 200


@pytest.mark.parametrize("operation", OF_USERS, ids=named)
def test_another_user_is_not_told_of(world, operation):
    """The same for users there are and users there are not."""
    for user_id in ("ann", "nobody"):
        assert (
            problem(send(world.bob.user, operation, session_id="x", user_id=user_id))["code"]
            == "permission_denied"
        )


@pytest.mark.parametrize("operation", ALLOWED, ids=named)
@pytest.mark.parametrize("kind", [O, U, S])
def test_a_key_of_the_wrong_kind_is_forbidden_and_changes_nothing(world, operation, kind):
    if kind in ALLOWED[operation]:
        return
    api = {O: world.operator, U: world.ann.user, S: world.ann.own}[kind]
    before = world.operator.did("GET", world.ann.path)
    key_id = world.ann.own.did("GET", "/keys/self")["key_id"]
    reply = send(
        api, operation, session_id=world.ann.session_id, request_id=world.ann.request_id, key_id=key_id
    )
    assert problem(reply)["code"] == "permission_denied"
    assert world.operator.did("GET", world.ann.path) == before


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/sessions", {"user_id": "ann", "name": "x"}),
        ("/sessions/start", {"user_id": "ann"}),
        ("/keys", {"user_id": "ann"}),
    ],
)
def test_nobody_acts_in_another_s_name(world, path, body):
    assert world.bob.user.refused("POST", path, body) == (403, "permission_denied")


def test_nobody_lists_another_s(world):
    for path in ("/sessions", "/keys", "/usage"):
        assert world.bob.user.refused("GET", f"{path}?user_id=ann") == (403, "permission_denied")
    assert world.bob.user.refused("GET", f"/keys?session_id={world.ann.session_id}") == (
        404,
        "session_not_found",
    )
    assert world.bob.user.refused("POST", "/keys", {"session_id": world.ann.session_id}) == (
        404,
        "session_not_found",
    )
    seen = world.bob.user.did("GET", "/sessions")["items"]
    assert {each["user_id"] for each in seen} == {"bob"}


def test_a_user_funds_nothing(world):
    """What has come from outside only the operator can say."""
    assert world.ann.user.refused("POST", "/sessions", {"fund": 5}) == (403, "permission_denied")


def test_a_key_with_limits_makes_none_without(world):
    """Spec M1; ``test_limits`` has the rest."""
    made = world.operator.did("POST", "/keys", {"user_id": "ann", "models": ["offline"]})
    limited = Api(world.gateway, made["api_key"])
    assert limited.did("POST", "/keys", {})["models"] == ["offline"]
    assert limited.did("POST", f"/keys/{made['key_id']}/rotate", {"grace_seconds": 60})["models"] == [
        "offline"
    ]
    assert limited.did("GET", world.ann.path)["user_id"] == "ann"


def test_a_request_of_one_session_is_not_another_s(world):
    """An id of Ann's request below Bob's own session is unknown."""
    path = f"{world.bob.path}/requests/{world.ann.request_id}"
    assert world.bob.user.refused("GET", path) == (404, "request_not_found")
