"""Chats, messages, requests and the pool over REST (spec A10-A14, B7, B8, B13, C3-C5)."""

from __future__ import annotations

import json
import socket

import pytest

from gateway.running import Gateway

from .api import Api, operator_key, problem


@pytest.fixture
def place(ann, fresh):
    """The path of a new session of Ann's with a chat."""
    path = f"/sessions/{fresh('1 USD')['session_id']}"
    ann.user.did("POST", f"{path}/chats", {"name": "first", "metadata": {"a": [1]}, "max_messages": 6})
    return path


def events(text):
    """``(name, data)`` of server-sent events."""
    blocks = [block.split("\n") for block in text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


def raw(api, path, body):
    """A request as it goes over the wire."""
    content = json.dumps(body)
    lines = [
        f"POST /api/v1{path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {api.key}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n" + content).encode()


class TestMessages:
    def test_question_and_answer(self, ann, place):
        """Spec C5."""
        answer = ann.user.did(
            "POST", f"{place}/chats/1/messages", {"text": "Hello?", "max_output_tokens": 30}
        )
        assert answer["cost"] > 0
        assert answer["available"] == ann.user.did("GET", place)["available"]
        kept = ann.user.did("GET", f"{place}/chats/1/messages")["items"]
        assert [(each["role"], each["seq"]) for each in kept] == [("assistant", 2), ("user", 1)]
        assert kept[0]["text"] == answer["text"]

    def test_streamed(self, ann, place):
        reply = ann.user.post(f"{place}/chats/1/messages", json={"text": "Hello?", "stream": True})
        assert reply.headers["content-type"].startswith("text/event-stream")
        told = events(reply.text)
        assert {name for name, _ in told[:-1]} == {"delta"}
        name, answer = told[-1]
        assert (name, "".join(data["text"] for _, data in told[:-1])) == ("answer", answer["text"])
        assert ann.user.did("GET", place)["spent"] == answer["cost"] > 0

    def test_a_stream_that_cannot_begin_is_a_status(self, ann, fresh):
        path = f"/sessions/{fresh(1)['session_id']}"
        ann.user.did("POST", f"{path}/chats", {})
        told = ann.user.refused("POST", f"{path}/chats/1/messages", {"text": "Hello? " * 9, "stream": True})
        assert told == (402, "insufficient_funds")

    def test_who_hangs_up_in_mid_stream_leaves_nothing_held(self, world, ann, place):
        url = f"/api/v1{place}/chats/1/messages"
        headers = {"Authorization": f"Bearer {ann.user.key}"}
        body = {"text": "Count to 5000", "stream": True}
        with world.gateway.http.stream("POST", url, json=body, headers=headers) as reply:
            next(reply.iter_bytes(64))
        world.gateway.wait_until(lambda: ann.user.did("GET", place)["held"] == 0)

    def test_who_hangs_up_gives_the_place_back(self, tmp_path):
        """One request at once: whoever left, early or late, is in nobody's way."""
        with Gateway(tmp_path, "[gateway]\nrequests_per_key_max = 1\n") as gateway:
            operator = Api(gateway, operator_key(gateway))
            made = operator.did("POST", "/sessions", {"user_id": "ann", "fund": "1 USD"})
            own, path = Api(gateway, made["api_key"]), f"/sessions/{made['session_id']}"
            own.did("POST", f"{path}/chats", {})
            for _ in range(5):
                with socket.create_connection(("127.0.0.1", gateway.port)) as wire:
                    wire.sendall(raw(own, f"{path}/chats/1/messages", {"text": "Hello?", "stream": True}))
            gateway.wait_until(lambda: own.did("GET", path)["held"] == 0)
            gateway.wait_until(lambda: own.post(f"{path}/requests", json={"prompt": "x"}).status_code == 201)

    def test_pages_go_back(self, ann, place):
        for number in range(3):
            ann.user.did("POST", f"{place}/chats/1/messages", {"text": f"q{number}"})
        path = f"{place}/chats/1/messages?limit=4"
        page = ann.user.did("GET", path)
        rest = ann.user.did("GET", f"{path}&cursor={page['next_cursor']}")
        assert [each["seq"] for each in page["items"] + rest["items"]] == [6, 5, 4, 3, 2, 1]
        assert rest["next_cursor"] is None
        assert ann.user.refused("POST", f"{place}/chats/1/messages", {"text": "7"}) == (
            429,
            "message_limit_reached",
        )
        assert ann.user("DELETE", f"{place}/chats/1/messages").status_code == 204
        assert ann.user.did("GET", path)["items"] == []

    @pytest.mark.parametrize("chat", ["0", "2", "-1", "x", "99999999999999999999"])
    def test_no_such_chat(self, ann, place, chat):
        assert ann.user.refused("GET", f"{place}/chats/{chat}")[0] in {400, 404}


class TestConfiguration:
    def test_nobody_overwrites_what_they_never_saw(self, ann, place):
        """If-Match: the first of two writers wins, the other is told."""
        read = ann.user.get(f"{place}/chats/1")
        tag = {"If-Match": read.headers["etag"]}
        path = f"{place}/chats/1/config"
        first = ann.user("PUT", path, json={"system_prompt": "Be brief."}, headers=tag)
        assert first.headers["etag"] != read.headers["etag"]
        assert first.json()["config"]["system_prompt"] == "Be brief."
        assert ann.user.refused("PUT", path, {"system_prompt": "Be long."}, **tag) == (
            412,
            "version_conflict",
        )
        assert ann.user.did("GET", f"{place}/chats/1")["config"]["system_prompt"] == "Be brief."
        ann.user.did("PUT", path, {"temperature": 1}, **{"If-Match": "*"})

    def test_a_retry_of_the_first_is_no_conflict(self, ann, place):
        tag = {"If-Match": ann.user.get(f"{place}/chats/1").headers["etag"]}
        for _ in range(2):
            ann.user.did("PUT", f"{place}/chats/1/config", {"system_prompt": "x"}, key="k", **tag)

    def test_of_the_whole_system(self, operator):
        """Spec B11."""
        read = operator.get("/config")
        tag = {"If-Match": read.headers["etag"]}
        changed = operator.did("PATCH", "/config", {"minimum_balance": "0.000001 USD", "pool_size": 7}, **tag)
        assert (changed["minimum_balance"], changed["pool_size"]) == (1, 7)
        assert operator.refused("PATCH", "/config", {"pool_size": 8}, **tag) == (412, "version_conflict")
        assert operator.did("PATCH", "/config", {"minimum_balance": 0})["pool_size"] == 7

    def test_switching(self, ann, place):
        """Spec C4."""
        ann.user.did("POST", f"{place}/chats", {"name": "second"})
        assert ann.user.did("POST", f"{place}/chats/1/switch")["name"] == "first"


class TestRequests:
    def test_by_the_byte(self, ann, place):
        """Spec A10: the worst case is held, what it was is captured."""
        fee = {"per_request_byte": 3, "per_response_byte": 2, "response_max": 400}
        asked = ann.user.did("POST", f"{place}/requests", {"prompt": "four", "fee": fee})
        assert asked["cost"] == 4 * 3 + min(400, 2 * len(asked["message"].encode()))
        low = {**fee, "per_response_byte": 0, "response_max": 0, "per_request_byte": 0}
        status, code = ann.user.refused("POST", f"{place}/requests", {"prompt": "four", "fee": low})
        assert (status, code) in {(400, "insufficient_fee"), (201, "")} or code

    def test_unknown_models_and_nodes(self, ann, place):
        """Spec A11, A12."""
        assert ann.user.refused("POST", f"{place}/requests", {"prompt": "x", "model": "no"}) == (
            404,
            "model_not_supported",
        )
        routing = {"trusted_nodes": ["nobody"], "aggregation": "ALL", "redundancy": 2}
        assert ann.user.refused("POST", f"{place}/requests", {"prompt": "x", "routing": routing}) == (
            503,
            "no_nodes_available",
        )

    def test_fetched_later(self, world, ann, place):
        """Spec A14: PENDING at once, then SUCCESS."""
        headers = {"Prefer": "respond-async", "Idempotency-Key": "later"}
        reply = ann.user.post(f"{place}/requests", json={"prompt": "Hello?"}, headers=headers)
        assert (reply.status_code, reply.json()["status"]) == (202, "PENDING")
        where = reply.headers["location"].removeprefix("/api/v1")
        done = world.gateway.wait_until(lambda: (told := ann.user.did("GET", where))["ended_at"] and told)
        assert (done["status"], done["nodes"]) == ("SUCCESS", ["offline"])
        again = ann.user.post(
            f"{place}/requests", json={"prompt": "Hello?"}, headers={"Idempotency-Key": "later"}
        )
        assert (again.status_code, again.json()) == (201, done)
        assert ann.user.did("GET", place)["spent"] == done["cost"]

    def test_a_failure_is_kept_and_costs_nothing(self, ann, place):
        ann.user.refused("POST", f"{place}/requests", {"prompt": "x", "model": "no"}, key="fails")
        kept = ann.user.did("GET", f"{place}/requests")["items"]
        assert [(each["status"], each["error"], each["cost"]) for each in kept] == [
            ("FAILED", "model_not_supported", 0)
        ]
        assert ann.user.did("GET", place)["spent"] == 0

    def test_a_batch_fails_one_by_one(self, ann, place):
        """Spec B13."""
        batch = {"requests": [{"prompt": "a"}, {"prompt": "b", "model": "no"}, {"prompt": "c"}]}
        results = ann.user.did("POST", f"{place}/batches", batch)["results"]
        assert [each["status"] for each in results] == ["SUCCESS", 404, "SUCCESS"]

    def test_the_session_managed(self, operator, world):
        """Spec A4, B2."""
        operator.did("POST", "/deposits", {"user_id": "dee", "amount": "1 USD"})
        dee = Api(world.gateway, operator.did("POST", "/keys", {"user_id": "dee"})["api_key"])
        first, second = (dee.did("POST", "/requests", {"prompt": "Hello?"}) for _ in range(2))
        assert first["session_id"] == second["session_id"]


class TestKeysAtWork:
    def test_a_cap_bounds_chats_and_requests(self, world, ann, place):
        """Spec D1."""
        session_id = place.rpartition("/")[2]
        made = ann.user.did("POST", "/keys", {"session_id": session_id, "cap": 3_000, "name": "notebook"})
        capped = Api(world.gateway, made["api_key"])
        capped.did("POST", f"{place}/chats/1/messages", {"text": "Hello?"})
        capped.did("POST", f"{place}/requests", {"prompt": "Hello?"})
        own = capped.did("GET", "/keys/self")
        assert own["spent"] == ann.user.did("GET", place)["spent"] > 0
        told = problem(capped.post(f"{place}/requests", json={"prompt": "Hello? " * 2_000}))
        assert (told["status"], told["code"], told["cap"]) == (402, "key_cap_reached", 3_000)
        assert told["available"] == 3_000 - own["spent"]

    def test_models(self, world, ann, place):
        session_id = place.rpartition("/")[2]
        for ask in ({"session_id": session_id, "models": ["other"]},):
            limited = Api(world.gateway, ann.user.did("POST", "/keys", ask)["api_key"])
            refused = limited.refused("POST", f"{place}/chats/1/messages", {"text": "Hello?"})
            assert refused == (403, "model_not_allowed")
            assert limited.refused("POST", f"{place}/requests", {"prompt": "x"}) == (403, "model_not_allowed")

    def test_rotation_with_and_without_grace(self, world, operator):
        made = operator.did("POST", "/keys", {"user_id": "ann"})
        second = operator.did("POST", f"/keys/{made['key_id']}/rotate", {"grace_seconds": 600})
        for key in (made["api_key"], second["api_key"]):
            Api(world.gateway, key).did("GET", "/keys/self")
        third = operator.did("POST", f"/keys/{made['key_id']}/rotate", {})
        assert Api(world.gateway, second["api_key"]).get("/keys/self").status_code == 401
        Api(world.gateway, third["api_key"]).did("GET", "/keys/self")
        listed = operator.did("GET", "/keys?user_id=ann&limit=200")["items"]
        assert made["key_id"] in [each["key_id"] for each in listed]


class TestPool:
    def test_lent_and_given_back(self, world, ann, place):
        """Spec B7, B8: a taker spends within the cap, in chats of their own."""
        assert ann.user.did("PUT", f"{place}/pool", {"cap": 5_000})["pooled"] == 1
        assert ann.user.refused("PUT", f"{place}/pool", {}) == (409, "already_pooled")
        bob = world.bob.user
        lease = bob.did("POST", "/pool/leases", {"lasts_seconds": 60}, key="take")
        assert bob.did("POST", "/pool/leases", {"lasts_seconds": 60}, key="take") == lease
        assert f"/sessions/{lease['session_id']}" == place
        under = {"X-Prepaid-Lease": lease["lease_id"]}
        chat = bob.did("POST", f"{place}/chats", {"name": "Bob's"}, **under)
        answer = bob.did("POST", f"{place}/chats/{chat['chat']}/messages", {"text": "Hello?"}, **under)
        path = f"{place}/leases/{lease['lease_id']}"
        assert bob.did("GET", path)["spent"] == answer["cost"]
        assert [each["name"] for each in bob.did("GET", f"{place}/chats", **under)["items"]] == ["Bob's"]
        assert bob.refused("GET", f"{place}/chats/1", **under) == (404, "chat_not_found")
        assert bob.refused("GET", place) == (404, "session_not_found")
        assert ann.user.refused("POST", f"{place}/chats", {}, **under) == (404, "lease_not_found")
        for _ in range(2):
            assert bob("DELETE", path, headers={"Idempotency-Key": "back"}).status_code == 204
        assert bob.refused("DELETE", path) == (404, "lease_not_found")
        assert bob.refused("POST", f"{place}/chats", {}, **under) == (404, "lease_not_found")
        assert ann.user("DELETE", f"{place}/pool").status_code == 204


class TestReports:
    def test_they_add_up(self, world, operator, ann):
        """Spec A7, B10, C9."""
        sessions = ann.user.did("GET", "/sessions?limit=200")["items"]
        usage = ann.user.did("GET", "/usage")
        assert sum(line["spent"] for line in usage) == sum(each["spent"] for each in sessions) > 0
        assert ann.user.did("GET", "/users/ann/activity")["total_sessions"] == len(sessions)
        everybody = operator.did("GET", "/usage?days=1")
        assert sum(line["spent"] for line in everybody) >= sum(line["spent"] for line in usage)
        assert operator.did("GET", "/stats")["active_sessions"] >= 2
        assert operator.did("GET", "/audit")["is_clean"]
        stats = ann.user.did("GET", f"{ann.path}/stats")
        assert (stats["user_id"], stats["spent"]) == ("ann", ann.user.did("GET", ann.path)["spent"])
        assert sum(line["spent"] for line in ann.own.did("GET", f"{ann.path}/usage")) == stats["spent"]
