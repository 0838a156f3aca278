"""A client of the REST API for tests, and a small world of users, sessions and keys behind one server."""

from __future__ import annotations

import re
from types import SimpleNamespace

PREFIX = "/api/v1"
SECRET = re.compile(r"pp_\S+_[A-Za-z0-9_-]{32}")


class Api:
    """One caller: ``api.post("/sessions", json={…})`` below the prefix, with this key."""

    def __init__(self, gateway, key=None):
        self.key = key
        self.gateway = gateway

    def __call__(self, method, path, *, headers=None, **options):
        given = {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        return self.gateway.http.request(method, PREFIX + path, headers=given | (headers or {}), **options)

    def get(self, path, **options):
        return self("GET", path, **options)

    def post(self, path, **options):
        return self("POST", path, **options)

    def did(self, method, path, body=None, *, key=None, **headers):
        """What it answered; it must have done it."""
        given = ({} if key is None else {"Idempotency-Key": key}) | headers
        reply = self(method, path, json=body, headers=given)
        assert reply.is_success, reply.text
        return reply.json() if reply.content else None

    def refused(self, method, path, body=None, *, key=None, **headers):
        """``(status, code)`` of a refusal, which must be a problem."""
        given = ({} if key is None else {"Idempotency-Key": key}) | headers
        reply = self(method, path, json=body, headers=given)
        return problem(reply)["status"], problem(reply)["code"]


def problem(reply):
    """The problem details of a refusal, checked for what every one has (RFC 9457)."""
    assert reply.headers["content-type"] == "application/problem+json", reply.text
    told = reply.json()
    assert {"type", "title", "status", "detail", "instance", "code", "retryable", "remedy"} <= set(told)
    assert told["status"] == reply.status_code
    assert told["type"] == f"urn:prepaid:error:{told['code']}"
    assert told["remedy"]
    assert told["instance"].endswith(reply.headers["x-request-id"])
    assert ("retry-after" in reply.headers) == told["retryable"]
    assert (reply.headers.get("x-should-retry") == "false") != told["retryable"]
    return told


def operator_key(gateway):
    """As the first start printed it."""
    return SECRET.search(gateway.stdout)[0]


def populated(gateway):
    """Ann with a session, a chat and a lease to give; Bob with the same; the operator."""
    operator = Api(gateway, operator_key(gateway))
    world = SimpleNamespace(gateway=gateway, operator=operator)
    for name in ("ann", "bob"):
        session = operator.did("POST", "/sessions", {"user_id": name, "fund": "1 USD", "name": name})
        user = Api(gateway, operator.did("POST", "/keys", {"user_id": name})["api_key"])
        path = f"/sessions/{session['session_id']}"
        user.did("POST", f"{path}/chats", {"name": "first"})
        asked = user.did("POST", f"{path}/requests", {"prompt": "Hello?"})
        setattr(
            world,
            name,
            SimpleNamespace(
                user=user,
                session_id=session["session_id"],
                path=path,
                request_id=asked["request_id"],
                own=Api(gateway, session["api_key"]),
            ),
        )
    return world
