"""Sessions, money and statements over REST, as an operator and a user use them (spec A, B1-B6, C2-C8, D4)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import httpx
import pytest

from .api import Api, problem


class TestLife:
    def test_open_use_close(self, world, operator, ann):
        """Spec B1, B4: opened by the operator, paused, resumed and closed by its owner."""
        made = operator.did(
            "POST",
            "/sessions",
            {
                "user_id": "ann",
                "fund": "2 USD",
                "name": "Research",
                "metadata": {"plan": "pro", "n": 1.5},
                "preferences": {"language": "en"},
                "tags": ["work", "work", "äé"],
                "expires_at": "2040-01-01T00:00:00+02:00",
            },
        )
        assert (made["available"], made["currency"], made["state"]) == (2_000_000, "USD", "active")
        assert (made["metadata"], made["tags"]) == ({"plan": "pro", "n": 1.5}, ["work", "äé"])
        assert made["expires_at"] == "2039-12-31T22:00:00Z"
        path = f"/sessions/{made['session_id']}"
        assert Api(world.gateway, made["api_key"]).did("GET", path)["name"] == "Research"
        assert ann.user.did("POST", f"{path}/pause")["state"] == "paused"
        assert ann.user.refused("POST", f"{path}/pause") == (409, "transition_refused")
        assert ann.user.refused("POST", f"{path}/requests", {"prompt": "x"}) == (409, "session_paused")
        assert ann.user.did("POST", f"{path}/resume")["state"] == "active"
        closed = ann.user.did("POST", f"{path}/close")
        assert closed == {"session_id": made["session_id"], "refunded": 2_000_000, "held": 0}
        assert ann.user.refused("POST", f"{path}/close") == (409, "session_already_closed")
        assert ann.user.did("GET", path)["state"] == "closed"

    def test_restart(self, ann, fresh):
        """Spec A8."""
        made = fresh("1 USD", name="again")
        new = ann.user.did("POST", f"/sessions/{made['session_id']}/restart")
        assert (new["available"], new["name"]) == (1_000_000, "again")
        assert new["session_id"] != made["session_id"]
        assert ann.user.did("GET", f"/sessions/{made['session_id']}")["state"] == "closed"

    def test_a_deposit_starts_sessions(self, operator, world):
        """Spec A2."""
        operator.did("POST", "/deposits", {"user_id": "bob", "amount": "3 USD"})
        bob = world.bob.user
        assert bob.did("POST", "/sessions/start", {"amount": "1 USD"})["available"] == 1_000_000
        assert bob.did("GET", "/deposits/bob") == {
            "available": 2_000_000,
            "funded": 3_000_000,
            "currency": "USD",
        }
        left = operator.did("POST", "/withdrawals", {"user_id": "bob", "amount": "0.5 USD"})
        assert left["available"] == 1_500_000
        assert bob.did("POST", "/sessions/start", {})["available"] == 1_500_000
        assert bob.refused("POST", "/sessions/start", {}) == (402, "insufficient_funds")

    def test_lists_turn_pages_and_skip_nothing(self, operator, fresh):
        """Spec C7: by opaque cursors, while others open sessions."""
        made = [fresh(None, tags=["paged"])["session_id"] for _ in range(5)]
        seen, cursor = [], None
        while True:
            page = operator.did("GET", f"/sessions?tag=paged&limit=2{f'&cursor={cursor}' if cursor else ''}")
            seen += [each["session_id"] for each in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
            fresh(None, tags=["paged"])
        assert seen == made[::-1]

    def test_a_cursor_fits_its_own_list_only(self, ann):
        path = f"{ann.path}/chats"
        ann.user.did("POST", path, {"name": "second"})
        cursor = ann.user.did("GET", f"{path}?limit=1")["next_cursor"]
        assert ann.user.did("GET", f"{path}?limit=1&cursor={cursor}")["items"][0]["name"] == "second"
        for wrong in (cursor, "nonsense", "bnVsbA==", "WyJzZXNzaW9ucyIsIDVd", "e30=", "W1tbW1tbW1s="):
            assert ann.user.refused("GET", f"/sessions?cursor={wrong}") == (400, "invalid_request_error")

    @pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "status=open", "tag=", "limit=1e2"])
    def test_what_no_list_takes(self, ann, query):
        assert ann.user.refused("GET", f"/sessions?{query}") == (400, "invalid_request_error")


class TestMoney:
    @pytest.mark.parametrize(("amount", "units"), [("0.5 USD", 500_000), (7, 7), ("1.25", 1_250_000)])
    def test_amounts_are_exact(self, operator, fresh, amount, units):
        path = f"/sessions/{fresh(None)['session_id']}"
        assert operator.did("POST", f"{path}/fund", {"amount": amount})["available"] == units

    @pytest.mark.parametrize(
        ("amount", "code"),
        [
            (0.5, "invalid_request_error"),
            (1e3, "invalid_request_error"),
            (True, "invalid_request_error"),
            (None, "invalid_request_error"),
            (["5"], "invalid_request_error"),
            ("9" * 65, "invalid_request_error"),
            (0, "amount_not_positive"),
            (-5, "amount_not_positive"),
            ("-1 USD", "amount_not_positive"),
            ("1.0000001 USD", "amount_too_precise"),
            ("5 EUR", "currency_mismatch"),
            ("NaN", "amount_not_finite"),
            (2**63, "amount_too_large"),
            (10**400, "amount_too_large"),
        ],
    )
    def test_what_is_no_amount_moves_nothing(self, operator, ann, amount, code):
        before = operator.did("GET", ann.path)["funded"]
        reply = operator("POST", f"{ann.path}/fund", content=json.dumps({"amount": amount}), headers=JSON)
        assert (problem(reply)["status"], problem(reply)["code"]) == (400, code)
        assert operator.did("GET", ann.path)["funded"] == before

    def test_no_money_is_402_with_the_numbers(self, ann, fresh):
        """Spec A9."""
        path = f"/sessions/{fresh(5)['session_id']}"
        reply = ann.user("POST", f"{path}/requests", json={"prompt": "What is a ledger? " * 50})
        told = problem(reply)
        assert (told["status"], told["code"], told["available"], told["held"]) == (
            402,
            "insufficient_funds",
            5,
            0,
        )
        assert told["needed"] > 5

    def test_a_statement_verifies_offline(self, ann, tmp_path):
        """Spec D4."""
        reply = ann.user.get(f"{ann.path}/statement")
        assert "attachment" in reply.headers["content-disposition"]
        (tmp_path / "s.json").write_bytes(reply.content)
        verify = [sys.executable, "-m", "prepaid", "verify", "s.json", "--json"]
        done = subprocess.run(verify, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["spent"] == ann.user.did("GET", ann.path)["spent"] > 0


JSON = {"Content-Type": "application/json"}
DEPOSITED = ("POST", "/deposits", {"user_id": "di", "amount": 9})
WRITES = [
    ("POST", "/sessions", {"user_id": "ann", "fund": 9, "name": "once"}, {"user_id": "ann", "fund": 8}),
    ("POST", "{path}/fund", {"amount": 3}, {"amount": 4}),
    ("POST", "/deposits", {"user_id": "cy", "amount": 3}, {"user_id": "cy", "amount": 4}),
    ("POST", "/withdrawals", {"user_id": "di", "amount": 1}, {"user_id": "di", "amount": 2}, DEPOSITED),
    (
        "POST",
        "/keys",
        {"session_id": "{session_id}", "name": "a"},
        {"session_id": "{session_id}", "name": "b"},
    ),
    ("POST", "/keys", {"user_id": "cy", "name": "a"}, {"user_id": "cy", "name": "b"}),
    ("POST", "/keys/{key_id}/rotate", {}, {"grace_seconds": 5}),
    ("POST", "/keys/{key_id}/revoke", None, None),
    ("POST", "{path}/pause", None, None),
    ("POST", "{path}/resume", None, None, ("POST", "{path}/pause", None)),
    ("PUT", "{path}/pool", {"cap": 5}, {"cap": 6}),
    ("DELETE", "{path}/pool", None, None, ("PUT", "{path}/pool", {})),
    ("PATCH", "/config", {"pool_size": 5}, {"pool_size": 6}),
    ("POST", "{path}/restart", None, None),
    ("POST", "{other}/close", None, None),
]
OWNERS_WRITES = [
    ("POST", "{path}/chats", {"name": "a"}, {"name": "b"}),
    ("PUT", "{path}/chats/1/config", {"system_prompt": "a"}, {"system_prompt": "b"}),
    ("POST", "{path}/chats/1/switch", None, None),
    ("POST", "{path}/chats/1/messages", {"text": "a"}, {"text": "b"}),
    ("DELETE", "{path}/chats/1/messages", None, None),
    ("POST", "{path}/requests", {"prompt": "a"}, {"prompt": "b"}),
    ("POST", "{path}/batches", {"requests": [{"prompt": "a"}]}, {"requests": [{"prompt": "b"}]}),
]


@pytest.fixture
def place(world):
    """Two new sessions of Ann's, the first with a chat and a second key."""
    opened = [world.operator.did("POST", "/sessions", {"user_id": "ann", "fund": "1 USD"}) for _ in range(2)]
    first, second = (each["session_id"] for each in opened)
    Api(world.gateway, opened[0]["api_key"]).did("POST", f"/sessions/{first}/chats", {})
    key = world.operator.did("POST", "/keys", {"session_id": first})
    return {
        "session_id": first,
        "path": f"/sessions/{first}",
        "other": f"/sessions/{second}",
        "key_id": key["key_id"],
    }


class TestOnce:
    """Spec D3: every write, twice with one key."""

    def filled(self, value, place):
        if isinstance(value, dict):
            return {name: self.filled(each, place) for name, each in value.items()}
        return value.format(**place) if isinstance(value, str) else value

    @pytest.mark.parametrize("write", WRITES, ids=lambda write: f"{write[0]} {write[1]}")
    def test_operator(self, operator, place, write):
        self.check(operator, place, write)

    @pytest.mark.parametrize("write", OWNERS_WRITES, ids=lambda write: f"{write[0]} {write[1]}")
    def test_owner(self, ann, operator, fresh, write):
        session_id = fresh("1 USD")["session_id"]
        place = {"session_id": session_id, "path": f"/sessions/{session_id}"}
        ann.user.did("POST", f"{place['path']}/chats", {})
        self.check(ann.user, place, write)

    def check(self, api, place, write):
        *write, before = write if len(write) > 4 else (*write, None)
        if before is not None:
            api.did(*(self.filled(each, place) for each in before))
        method, path, body, other = (self.filled(each, place) for each in write)
        key = f"once-{method}-{abs(hash(str((path, str(body)))))}"
        first = api.did(method, path, body, key=key)
        again = api.did(method, path, body, key=key)
        assert stable(again) == stable(first)
        if first and first.get("api_key"):
            assert again["api_key"] is None
        if other is not None:
            reply = api(method, path, json=other, headers={"Idempotency-Key": key})
            conflicts = [reply.json()] if not reply.is_success else reply.json()["results"]
            assert [each["code"] for each in conflicts] == ["idempotency_conflict"]

    def test_at_once_from_many(self, world, ann, fresh):
        """Of fifty retries at once, money moves once."""
        made = fresh("1 USD")
        url = f"{world.gateway.url}/api/v1/sessions/{made['session_id']}/fund"
        headers = {"Authorization": f"Bearer {world.operator.key}", "Idempotency-Key": "burst"}

        async def burst():
            async with httpx.AsyncClient(timeout=120) as client:
                return await asyncio.gather(
                    *(client.post(url, json={"amount": 7}, headers=headers) for _ in range(50))
                )

        assert {reply.status_code for reply in asyncio.run(burst())} == {200}
        assert ann.user.did("GET", f"/sessions/{made['session_id']}")["funded"] == 1_000_007

    @pytest.mark.parametrize("key", ["x" * 256, "with space", "ünï"])
    def test_what_is_no_key(self, operator, ann, key):
        headers = {"Idempotency-Key": key.encode()}
        reply = operator("POST", f"{ann.path}/fund", json={"amount": 1}, headers=headers)
        assert problem(reply)["status"] == 400


def stable(told):
    """A reply without what a retry does not get again, and what time changes."""
    if told is None:
        return None
    changing = {"api_key", "replayed", "available", "results"}
    kept = {name: value for name, value in told.items() if name not in changing}
    if "results" in told:
        kept["results"] = [each["request_id"] for each in told["results"]]
    return kept
