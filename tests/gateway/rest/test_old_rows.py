"""What older versions kept and would be refused today is told all the same, and spoils nobody's lists."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

LAST = "9999-12-31T23:59:59.999000Z"
LATER = "9999-12-31T23:59:59.999999-14:00"
DEEP = '{"a":' + "[" * 500 + "]" * 500 + ',"b":1}'


def nested(depth):
    return '{"a":' * depth + "1" + "}" * depth


@pytest.mark.parametrize("depth", [65, 100, 300, 900, 20_000])
@pytest.mark.parametrize("field", ["metadata", "preferences"])
def test_what_is_too_deep_is_refused_and_the_lists_go_on(world, ann, depth, field):
    """An issue's case: one user's metadata made the operator's list of sessions fail for good."""
    content = f'{{"{field}":{nested(depth)}}}'.encode()
    reply = ann.user.post("/sessions", content=content, headers={"Content-Type": "application/json"})
    assert reply.status_code in {400, 413}
    content = f'{{"metadata":{nested(depth)}}}'.encode()
    reply = ann.user.post(f"{ann.path}/chats", content=content, headers={"Content-Type": "application/json"})
    assert reply.status_code in {400, 413}
    assert world.operator.get("/sessions").status_code == 200


@pytest.mark.parametrize("path", ["/sessions", "/keys"])
def test_an_end_that_cannot_be_told_is_refused(ann, world, path):
    assert ann.user.refused("POST", path, {"expires_at": LATER})[0] == 400
    made = ann.user.did("POST", path, {"expires_at": "9999-12-31T23:59:59.999999Z"})
    assert made["expires_at"] == LAST
    assert world.operator.get(path).status_code == 200


def test_rows_of_older_versions(world, ann, fresh):
    made, whole = fresh(), fresh(metadata={"a": [[1]]})
    session_id = made["session_id"]
    ann.user.did("POST", f"/sessions/{session_id}/chats", {"name": "old"})
    key_id = ann.user.did("POST", "/keys", {"expires_at": "2090-01-01T00:00:00Z"})["key_id"]
    later = 253_402_300_799_999 + 14 * 3_600_000
    with closing(sqlite3.connect(world.gateway.database)) as books, books:
        for work, values in (
            ("session SET metadata = ?, preferences = ? WHERE session_id = ?", (DEEP, DEEP, session_id)),
            ("account SET expires_ms = ? WHERE session_id = ?", (later, session_id)),
            ("chat SET metadata = ? WHERE session_id = ?", (DEEP, session_id)),
            ("api_key SET expires_ms = ? WHERE 'pp_' || holder || '.' || number = ?", (later, key_id)),
        ):
            assert books.execute(f"UPDATE {work}", values).rowcount == 1
    for caller in (world.operator, ann.user):
        listed = {each["session_id"]: each for each in caller.did("GET", "/sessions?limit=200")["items"]}
        told = listed[session_id]
        assert (told["expires_at"], told["metadata"]["b"], told["preferences"]["b"]) == (LAST, 1, 1)
        assert listed[whole["session_id"]]["metadata"] == {"a": [[1]]}
    chats = ann.user.did("GET", f"/sessions/{session_id}/chats")["items"]
    assert chats[0]["metadata"]["b"] == 1
    keys = {each["key_id"]: each for each in ann.user.did("GET", "/keys?limit=200")["items"]}
    assert keys[key_id]["expires_at"] == LAST
    assert ann.user.did("GET", f"/sessions/{session_id}/stats")["expires_at"]
