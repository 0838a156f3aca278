"""Spec M1: no reply to a limited key holds a wider one, whatever the operation; nor does it act beyond its limits.

The operations are read from the routers, their bodies from the examples of their own schemas, so that a new
operation is tried without a line here.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from gateway.running import Gateway
from prepaid.gateway.rest import application
from providers.fake_openai import Behaviour, FakeOpenAI

from .api import Api, operator_key, problem

TOML = """
[gateway]
failed_keys_per_minute = 0
[sessions]
max_sessions_per_user = 1000
max_active_sessions = 100000
[upstreams.fake]
base_url = "{url}"
models = ["dear", "other"]
retries_max = 0

[prices.dear]
input_per_million = "1"
output_per_million = "2"
output_tokens_max = 1000

[prices.other]
input_per_million = "1"
output_per_million = "2"
output_tokens_max = 1000
"""
ONCE = (f"once-{number}" for number in count())
USERS = (f"ann {number}" for number in count())
SOON = "2035-01-01T00:00:00Z"
SECRET = re.compile(r"pp_(?:[a-z]+_[0-9a-z]+|op)\.[0-9]+_[A-Za-z0-9_-]{32}")
OPERATIONS = sorted(
    (method, route.path)
    for module in vars(application).values()
    if hasattr(module, "router")
    for route in module.router.routes
    for method in route.methods
)
KINDS = {
    "operator": {},
    "operator until": {"expires_at": SOON},
    "operator models": {"models": ["offline"]},
    "user": {"user_id": ...},
    "user models": {"user_id": ..., "models": ["offline", "other"]},
    "user until": {"user_id": ..., "expires_at": SOON},
    "user both": {"user_id": ..., "models": ["offline"], "expires_at": SOON},
    "session": {"session_id": ...},
    "session models": {"session_id": ..., "models": ["offline"]},
    "session until": {"session_id": ..., "expires_at": SOON},
    "session capped": {"session_id": ..., "cap": 5_000},
    "revoked": {"user_id": ..., "models": ["offline"]},
    "expired": {"user_id": ..., "models": ["offline"]},
}
MAKING = {
    ("POST", "/sessions"),
    ("POST", "/sessions/start"),
    ("POST", "/sessions/{session_id}/restart"),
    ("POST", "/keys"),
    ("POST", "/keys/{key_id}/rotate"),
}
"""What answers with secrets today."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with FakeOpenAI() as fake:
        toml = TOML.format(url=fake.base_url)
        with Gateway(tmp_path_factory.mktemp("limits"), toml) as running:
            running.fake = fake
            yield running


@pytest.fixture(scope="module")
def operator(gateway):
    return Api(gateway, operator_key(gateway))


@pytest.fixture(scope="module")
def document(gateway):
    return gateway.get("/api/v1/openapi.json").json()


@pytest.fixture(scope="module")
def expired(gateway, operator):
    """A key whose time is over."""
    soon = (datetime.now(UTC) + timedelta(seconds=0.2)).isoformat()
    key = operator.did("POST", "/keys", KINDS["expired"] | {"user_id": "ann", "expires_at": soon})["api_key"]
    gateway.wait_until(lambda: Api(gateway, key).get("/keys/self").status_code == 401)
    return key


@pytest.fixture
def ann():
    """A user of each test's own."""
    return next(USERS)


def opened(operator, user):
    """A session with money, and something in the user's deposit."""
    operator.did("POST", "/deposits", {"user_id": user, "amount": "0.01 USD"})
    return operator.did("POST", "/sessions", {"user_id": user, "fund": "0.5 USD"})


def key_of(operator, kind, session, expired):
    if kind == "expired":
        return expired
    asked = {name: session[name] if value is ... else value for name, value in KINDS[kind].items()}
    made = operator.did("POST", "/keys", asked)
    if kind == "revoked":
        operator.did("POST", f"/keys/{made['key_id']}/revoke")
    return made["api_key"]


def example(document, schema):
    """A value that a schema allows: what is required, with the examples that it gives."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "examples" in schema:
        return schema["examples"][0]
    if "properties" in schema:
        required = schema.get("required", [])
        return {name: example(document, schema["properties"][name]) for name in required}
    return [example(document, schema["items"])] if schema.get("type") == "array" else 1


def bodies(document, operation, session):
    """The least that it takes; and, of those who say whose key they want, each kind, with limits above all."""
    method, path = operation
    described = document["paths"]["/api/v1" + path][method.lower()]
    if "requestBody" not in described:
        return [None]
    least = example(document, described["requestBody"]["content"]["application/json"]["schema"])
    wide = {"models": ["dear", "offline"], "expires_at": "2090-01-01T00:00:00Z"}
    mine = {"session_id": session["session_id"]}
    return [
        least,
        *(
            [{"user_id": session["user_id"]}, mine, wide, mine | wide]
            if operation == ("POST", "/keys")
            else []
        ),
    ]


def wider(secret, issuer):
    """What a key may do that the key it was made with may not."""
    found = []
    if issuer["models"] is not None and not set(secret["models"] or ["*"]) <= set(issuer["models"]):
        found.append(f"models {secret['models']}")
    if issuer["expires_at"] is not None and not (secret["expires_at"] or "9999") <= issuer["expires_at"]:
        found.append(f"until {secret['expires_at']}")
    if issuer["cap"] is not None:
        found.append("no part of the cap")
    return found


def asks_dear(gateway, operator, ann, secret):
    """The status of asking the model that no limited key is for, with this one."""
    told = Api(gateway, secret).did("GET", "/keys/self")
    headers = {"Authorization": f"Bearer {secret}"}
    if told["session_id"] is None:
        headers["X-Prepaid-Session"] = opened(operator, ann)["session_id"]
    body = {"model": "dear", "max_tokens": 5, "messages": [{"role": "user", "content": "Hello?"}]}
    return gateway.post("/v1/chat/completions", json=body, headers=headers).status_code


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
def test_no_reply_holds_a_wider_key(gateway, operator, ann, document, expired, operation, kind):
    method, template = operation
    others = []
    if "{key_id}" in template:
        others = [
            operator.did("POST", "/keys", {"user_id": ann})["key_id"],
            opened(operator, ann)["api_key"][:-33],
        ]
    nobody = {"session_id": "", "user_id": ""}
    found = 0
    for other in [None, *others]:
        for position in range(len(bodies(document, operation, nobody))):
            session = opened(operator, ann)
            key = key_of(operator, kind, session, expired)
            issuer = Api(gateway, key).get("/keys/self")
            path = template.format(
                session_id=session["session_id"],
                chat=1,
                request_id="req_x",
                lease_id="lease_x",
                key_id=other or key[:-33],
                user_id=ann,
            )
            body = bodies(document, operation, session)[position]
            reply = Api(gateway, key)(method, path, json=body, headers={"Idempotency-Key": next(ONCE)})
            if kind in {"revoked", "expired"}:
                assert reply.status_code == 401
            for secret in SECRET.findall(f"{reply.text} {reply.headers}"):
                found += 1
                told = Api(gateway, secret).did("GET", "/keys/self")
                assert not wider(told, issuer.json()), f"{path} {body} answered {told}"
                if issuer.json()["models"] is not None and told["kind"] != "operator":
                    assert asks_dear(gateway, operator, ann, secret) == 403
    if operation in MAKING and kind.startswith(("operator", "user")) and template != "/sessions":
        needs_user = kind.startswith("operator") and template.startswith("/sessions/start")
        assert found or needs_user, "nothing was made, so nothing was tried"


class TestWhatALimitedKeyMakes:
    def test_it_is_cut_to_what_both_allow(self, gateway, operator, ann):
        """Spec M1: models, expiry, the lesser of each."""
        limits = {"user_id": ann, "models": ["offline", "other"], "expires_at": SOON}
        limited = Api(gateway, operator.did("POST", "/keys", limits)["api_key"])
        made = limited.did("POST", "/keys", {"models": ["dear", "other"]})
        assert (made["models"], made["expires_at"]) == (["other"], SOON)
        sooner = limited.did("POST", "/keys", {"expires_at": "2034-01-01T00:00:00Z"})
        assert (sooner["models"], sooner["expires_at"]) == (["offline", "other"], "2034-01-01T00:00:00Z")
        reply = limited.post("/keys", json={"models": ["dear"]})
        assert (reply.status_code, problem(reply)["code"]) == (403, "key_too_narrow")
        assert all(name in problem(reply)["detail"] for name in ("dear", "offline", "other"))

    def test_no_other_key_comes_into_its_hands(self, gateway, operator, ann):
        session = opened(operator, ann)
        limited = operator.did("POST", "/keys", {"user_id": ann, "models": ["offline"]})
        api = Api(gateway, limited["api_key"])
        whole = operator.did("POST", "/keys", {"user_id": ann})
        for key_id in (session["api_key"][:-33], whole["key_id"]):
            for act in ("rotate", "revoke"):
                assert api.refused("POST", f"/keys/{key_id}/{act}", {}) == (403, "key_too_narrow")
        for key in (session["api_key"], whole["api_key"]):
            assert Api(gateway, key).get("/keys/self").status_code == 200
        narrow = api.did("POST", "/keys", {"session_id": session["session_id"], "cap": 100})
        assert api.did("POST", f"/keys/{narrow['key_id']}/rotate", {})["models"] == ["offline"]
        api.did("POST", f"/keys/{narrow['key_id']}/revoke", {})
        again = api.did("POST", f"/keys/{limited['key_id']}/rotate", {})
        assert Api(gateway, again["api_key"]).did("GET", "/keys/self")["models"] == ["offline"]

    def test_a_grace_does_not_outlive_the_key(self, gateway, operator, ann):
        soon = datetime.now(UTC) + timedelta(seconds=0.5)
        made = operator.did("POST", "/keys", {"user_id": ann, "expires_at": soon.isoformat()})
        api = Api(gateway, made["api_key"])
        new = api.did("POST", f"/keys/{made['key_id']}/rotate", {"grace_seconds": 3_600})["api_key"]
        for key in (made["api_key"], new):
            gateway.wait_until(lambda key=key: Api(gateway, key).get("/keys/self").status_code == 401)


class TestWhatALimitedKeyDoes:
    """Ways to another model, or to more time, that are no key."""

    @pytest.fixture
    def limited(self, gateway, operator, ann):
        made = operator.did("POST", "/keys", {"user_id": ann, "models": ["offline"]})
        return Api(gateway, made["api_key"])

    def test_it_shares_nothing(self, gateway, operator, ann, limited):
        """Others who take a shared session ask what they like, when they like."""
        path = f"/sessions/{opened(operator, ann)['session_id']}"
        timed = operator.did("POST", "/keys", {"user_id": ann, "expires_at": SOON})
        for api in (limited, Api(gateway, timed["api_key"])):
            assert api.refused("PUT", f"{path}/pool", {}) == (403, "key_too_narrow")
        whole = operator.did("POST", "/keys", {"user_id": ann})
        assert Api(gateway, whole["api_key"]).did("PUT", f"{path}/pool", {})["pooled"] > 0
        lease = limited.did("POST", "/pool/leases", {})
        headers = {
            "Authorization": f"Bearer {limited.key}",
            "X-Prepaid-Session": lease["session_id"],
            "X-Prepaid-Lease": lease["lease_id"],
        }
        body = {"model": "dear", "messages": [{"role": "user", "content": "Hello?"}]}
        assert gateway.post("/v1/chat/completions", json=body, headers=headers).status_code == 403
        limited.did("DELETE", f"{path}/pool")

    def test_it_asks_no_other_model(self, operator, ann, limited):
        path = f"/sessions/{opened(operator, ann)['session_id']}"
        asked = {"prompt": "Hello?", "model": "dear"}
        assert limited.refused("POST", "/requests", asked) == (403, "model_not_allowed")
        assert limited.refused("POST", f"{path}/requests", asked) == (403, "model_not_allowed")
        batch = limited.did("POST", f"{path}/batches", {"requests": [asked, {"prompt": "Hello?"}]})
        assert [each.get("code") for each in batch["results"]] == ["model_not_allowed", None]

    def test_it_names_none_in_a_chat_either(self, operator, ann, limited):
        """The owner would pay for it with a key that may ask it."""
        path = f"/sessions/{opened(operator, ann)['session_id']}"
        for config in ({"model": "dear"}, {"fallback_models": ["offline", "dear"]}):
            refused = (403, "model_not_allowed")
            assert limited.refused("POST", f"{path}/chats", {"config": config}) == refused
            limited.did("POST", f"{path}/chats", {"config": {"model": "offline"}})
            assert limited.refused("PUT", f"{path}/chats/1/config", config) == refused

    def test_no_fallback_answers_that_it_may_not_ask(self, gateway, operator, ann):
        """A chat of the owner's falls back to a model that this key is not for: it is left out."""
        path = f"/sessions/{opened(operator, ann)['session_id']}"
        whole = Api(gateway, operator.did("POST", "/keys", {"user_id": ann})["api_key"])
        whole.did("POST", f"{path}/chats", {"config": {"model": "other", "fallback_models": ["offline"]}})
        made = operator.did("POST", "/keys", {"user_id": ann, "models": ["other"]})
        asked = {"text": "Hello?", "max_output_tokens": 5}
        gateway.fake.reset()
        gateway.fake.default = Behaviour(status=404)
        try:
            assert whole.did("POST", f"{path}/chats/1/messages", asked)["model"] == "offline"
            reply = Api(gateway, made["api_key"]).post(f"{path}/chats/1/messages", json=asked)
        finally:
            gateway.fake.reset()
        assert reply.status_code >= 400


class TestWhatALimitedKeyIsTold:
    """An issue's case: errors named every model that is configured."""

    @pytest.fixture
    def limited(self, operator, ann, gateway):
        session_id = opened(operator, ann)["session_id"]
        key = operator.did("POST", "/keys", {"user_id": ann, "models": ["offline"]})["api_key"]
        return session_id, Api(gateway, key)

    @pytest.mark.parametrize("path", ["/v1/models/x", "/v1/models/dear", "/v1/models/other"])
    def test_of_models_over_openai_s_api(self, gateway, limited, path):
        reply = gateway.get(path, headers={"Authorization": f"Bearer {limited[1].key}"})
        assert reply.status_code == 403
        assert "offline" in reply.text
        assert not {"dear", "other"} & set(re.findall(r"\w+", reply.text.replace(path, ""))) - {path[11:]}

    def test_of_models_that_there_are_not(self, gateway, limited):
        session_id, api = limited
        body = {"prompt": "x", "model": "x"}
        path = f"/sessions/{session_id}"
        told = [
            api.post(f"{path}/requests", json=body).text,
            api.post(f"{path}/batches", json={"requests": [body]}).text,
        ]
        begun = api.post(f"{path}/requests", json=body, headers={"Prefer": "respond-async"})
        begun = begun.headers["location"].removeprefix("/api/v1")
        gateway.wait_until(lambda: api.did("GET", begun)["status"] == "FAILED")
        told.append(api.get(begun).text)
        for text in told:
            assert "offline" in text
            assert "dear" not in text

    def test_nor_does_it_set_the_default_model_that_it_may_not_ask(self, gateway, operator, ann):
        session = opened(operator, ann)
        path = f"/sessions/{session['session_id']}"
        whole = Api(gateway, operator.did("POST", "/keys", {"user_id": ann})["api_key"])
        whole.did("POST", f"{path}/chats", {"config": {"model": "other"}})
        limits = {"user_id": ann, "models": ["other"]}
        api = Api(gateway, operator.did("POST", "/keys", limits)["api_key"])
        told = api.refused("PUT", f"{path}/chats/1/config", {"system_prompt": "Be brief."})
        assert told == (403, "model_not_allowed")
        assert whole.did("GET", f"{path}/chats/1")["config"]["current_model"] == "other"
        api.did("PUT", f"{path}/chats/1/config", {"system_prompt": "Be brief.", "model": "other"})
