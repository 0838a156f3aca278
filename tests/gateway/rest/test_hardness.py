"""What the REST API takes and tells: the OpenAPI document, limits, bodies that are wrong, and silence about secrets."""

from __future__ import annotations

import gzip
import json

import pytest

from gateway.running import Gateway
from prepaid.sessions.values import JSON_BYTES_MAX

from .api import Api, operator_key, problem

JSON = {"Content-Type": "application/json"}


class TestDocument:
    @pytest.fixture
    def document(self, gateway):
        return gateway.get("/api/v1/openapi.json").json()

    def operations(self, document):
        return {
            f"{method} {path}": operation
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        }

    def test_every_operation_says_what_it_does_and_how_it_fails(self, document):
        for name, operation in self.operations(document).items():
            assert operation["description"], name
            assert "application/problem+json" in operation["responses"]["default"]["content"], name
            assert "422" not in operation["responses"], name
            assert operation["security"], name

    def test_every_write_takes_an_idempotency_key(self, document):
        for name, operation in self.operations(document).items():
            headers = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "header"}
            assert ("Idempotency-Key" in headers) == (not name.startswith("get ")), name

    def test_every_field_that_has_no_default_has_an_example(self, document):
        """So that every body and every reply can be shown."""
        lacking = [
            f"{name}.{field}"
            for name, schema in document["components"]["schemas"].items()
            for field, told in schema.get("properties", {}).items()
            if field in schema.get("required", ())
            and "examples" not in told
            and "$ref" not in told
            and "$ref" not in told.get("items", {})
        ]
        assert lacking == []

    def test_it_names_no_error_of_fastapi_s_own(self, document):
        assert "HTTPValidationError" not in document["components"]["schemas"]


class TestBodies:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"null",
            b"[]",
            b'"text"',
            b"\xff\xfe",
            b'{"amount": 5, "amount2": 6}',
            b'{"amount": NaN}',
            b'{"amount": 1e999}',
            b'{"amount": ' + b"9" * 5_000 + b"}",
            b"[" * 3_000,
            b'{"amount": {"a": ' * 1_500,
        ],
        ids=lambda content: repr(content[:20]),
    )
    def test_what_is_no_body_is_400(self, operator, ann, content):
        reply = operator("POST", f"{ann.path}/fund", content=content, headers=JSON)
        assert problem(reply)["status"] == 400
        assert operator.did("GET", ann.path)["state"] == "active"

    def test_what_is_not_json_is_not_read(self, operator, ann):
        reply = operator("POST", f"{ann.path}/fund", content=b"amount=5")
        assert problem(reply)["status"] == 400

    @pytest.mark.parametrize(
        "fields",
        [
            {"user_id": ""},
            {"user_id": "x" * 257},
            {"user_id": "a\nb"},
            {"name": "x" * 257},
            {"name": "a\x00b"},
            {"tags": ["x"] * 33},
            {"tags": ["x" * 65]},
            {"tags": "work"},
            {"metadata": {"x": "y" * JSON_BYTES_MAX}},
            {"metadata": []},
            {"expires_at": "2000-01-01T00:00:00Z"},
            {"expires_at": "2040-01-01T00:00:00"},
            {"expires_at": "soon"},
            {"auto_save": 1},
            {"surprise": True},
        ],
        ids=repr,
    )
    def test_what_no_session_takes(self, operator, fields):
        status, _ = operator.refused("POST", "/sessions", {"user_id": "ann", **fields})
        assert status in {400, 413}

    @pytest.mark.parametrize("count", [1, 4_000, 9_000])
    @pytest.mark.parametrize("where", ["{0}", '"config":{{{0}}}', '"config":{{"model":"m",{0}}},"name":"x"'])
    def test_names_that_are_unknown_are_told_a_few_times(self, ann, where, count):
        """Spec P10: no error is made for each, which would take the event loop's time."""
        names = ",".join(f'"{number:x}_":0' for number in range(count))
        content = f"{{{where.format(names)}}}".encode()
        detail = problem(ann.user("POST", f"{ann.path}/chats", content=content, headers=JSON))["detail"]
        assert "'0_'" in detail
        assert len(detail) < 300
        assert (f"and {count - 5} more" in detail) == (count > 5)

    def test_nor_in_lists_of_bodies(self, ann):
        body = {"requests": [{"prompt": "x", "routing": {"a": 1}}, {"prompt": "x", "b": 2}]}
        assert problem(ann.user.post(f"{ann.path}/batches", json=body))["status"] == 400

    def test_a_stranger_s_is_not_read_however_short_it_is(self, gateway):
        """An issue's case: FastAPI parses a body before it asks whose it is."""
        for key in (None, "pp_op.1_" + "x" * 32):
            for content in (b"{", b'{"x":1}', b"[" * 60_000):
                reply = Api(gateway, key)("POST", "/sessions", content=content, headers=JSON)
                assert problem(reply)["status"] == 401

    @pytest.mark.parametrize("coding", ["gzip", "identity"])
    def test_bodies_are_shorter_here_than_models_take_them(self, ann, coding):
        """Spec P10: nothing of our own API is as long."""
        headers = JSON | {"Content-Encoding": coding}
        for body in (
            {"text": "x" * 5_000_000},
            {"text": "x", "more": [0] * 30_000},
            {"metadata": [{}] * 5_000},
        ):
            content = json.dumps(body).encode()
            sent = gzip.compress(content) if coding == "gzip" else content
            told = problem(ann.user("POST", f"{ann.path}/chats/1/messages", content=sent, headers=headers))
            assert told["status"] == 413
        text = "word " * 800_000
        body = {"text": text, "max_output_tokens": 0}
        content = json.dumps(body).encode()
        sent = gzip.compress(content) if coding == "gzip" else content
        told = problem(ann.user("POST", f"{ann.path}/chats/1/messages", content=sent, headers=headers))
        assert "max_output_tokens" in told["detail"]  # it was read

    def test_half_a_character_is_no_crash(self, operator, ann):
        content = b'{"user_id": "ann", "name": "\\ud83d"}'
        assert problem(operator("POST", "/sessions", content=content, headers=JSON))["status"] == 400
        content = b'{"user_id": "ann", "metadata": {"x": "\\ud83d"}}'
        assert problem(operator("POST", "/sessions", content=content, headers=JSON))["status"] == 400

    def test_paths_that_are_not_there(self, operator):
        assert operator.refused("GET", "/nothing") == (404, "route_not_found")
        assert operator.refused("POST", "/stats") == (405, "method_not_allowed")
        assert operator("POST", "/stats").headers["allow"] == "GET"

    @pytest.mark.parametrize(
        "session_id", ["%00", "%0a", "..", "ses_%F0%9F%92%A9", "x" * 3_000, "'%20OR%201=1"]
    )
    def test_ids_that_cannot_be(self, operator, session_id):
        assert operator.refused("GET", f"/sessions/{session_id}")[0] == 404

    def test_a_body_above_the_limit_is_413(self, tmp_path):
        with Gateway(tmp_path, "[gateway]\nbody_bytes_max = 2000\n") as gateway:
            operator = Api(gateway, operator_key(gateway))
            body = {"user_id": "ann", "name": "x" * 200, "metadata": {"x": "y" * 3_000}}
            assert operator.refused("POST", "/sessions", body) == (413, "value_too_large")
            operator.did("POST", "/sessions", {"user_id": "ann"})


def test_neither_keys_nor_prompts_are_in_the_log(tmp_path):
    """Not even of requests that are refused or broken, at the chattiest level; nor in what is told of them."""
    secret, prompt = "pp_op.1_" + "Q" * 32, "a-very-private-question"
    with Gateway(tmp_path, '[gateway]\nlog_level = "debug"\n') as gateway:
        operator = Api(gateway, operator_key(gateway))
        made = operator.did("POST", "/sessions", {"user_id": "ann", "fund": "1 USD"})
        path = f"/sessions/{made['session_id']}"
        own = Api(gateway, made["api_key"])
        own.did("POST", f"{path}/chats", {"config": {"system_prompt": prompt}})
        own.did("POST", f"{path}/chats/1/messages", {"text": prompt})
        own.did("POST", f"{path}/requests", {"prompt": prompt})
        own.refused("POST", f"{path}/requests", {"prompt": prompt, "model": "no"})
        broken = json.dumps({"text": prompt, "surprise": prompt, "max_output_tokens": prompt}).encode()
        wrong = own("POST", f"{path}/chats/1/messages", content=broken, headers=JSON)
        assert prompt not in problem(wrong)["detail"]
        own("POST", f"{path}/chats/1/messages", content=broken[:-2], headers=JSON)
        refused = Api(gateway, secret).get("/keys/self")
        assert secret[-32:] not in refused.text
        Api(gateway, secret).get(f"/keys/{made['api_key']}")
        rotated = operator.did("POST", "/keys/pp_op.1/rotate", {})
    kept = gateway.log
    assert "/api/v1/sessions/{session_id}/requests" in kept, "requests are logged, by their route"
    secrets = [secret, prompt, made["api_key"], operator.key, rotated["api_key"]]
    assert [each for each in secrets if each[-32:] in kept] == []
