"""The gateway on PostgreSQL (spec D8): everything once, and a database that is slow holds up only who asks it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import asyncpg
import openai
import pytest

from gateway.rest.api import Api, operator_key
from gateway.running import Gateway

pytestmark = pytest.mark.slow

HELLO = [{"role": "user", "content": "Hello there"}]
HELD_UP = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
TABLES = "session, chat, message, request"
"""Nothing that a key is looked up in: that is asked in another way."""


@pytest.fixture(scope="module")
def gateway(postgres, tmp_path_factory):
    url = postgres.new()
    quiet = {"PREPAID_SESSIONS__AUTO_CLEANUP": "false"}  # nobody but requests asks the database
    with Gateway(tmp_path_factory.mktemp("postgres"), PREPAID_DATABASE=url, **quiet) as running:
        yield running
        running.assert_sound()
    postgres.give_back(url)


@pytest.fixture
def operator(gateway):
    return Api(gateway, operator_key(gateway))


@pytest.fixture
def ann(gateway, operator):
    return Api(gateway, operator.did("POST", "/keys", {"user_id": "ann"})["api_key"])


@pytest.fixture
def session(operator):
    return operator.did("POST", "/sessions", {"user_id": "ann", "fund": "1 USD"})


def test_openai_s_api(gateway, session):
    session_id, key = session["session_id"], session["api_key"]
    chat = Api(gateway, key).did("POST", f"/sessions/{session_id}/chats", {})["chat"]
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key) as client:
        kept = {"X-Prepaid-Chat": f"{session_id}.{chat}"}
        said = client.chat.completions.create(model="offline", messages=HELLO, extra_headers=kept)
        stream = client.chat.completions.create(model="offline", messages=HELLO, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        assert client.responses.create(model="offline", input="Hello there").output_text
        assert client.embeddings.create(model="offline", input="Hello there").data
        assert [model.id for model in client.models.list()] == ["offline"]
        again = [
            client.chat.completions.with_raw_response.create(
                model="offline", messages=HELLO, extra_headers={"Idempotency-Key": "once"}
            )
            for _ in range(2)
        ]
    assert again[0].content == again[1].content
    assert again[1].headers["x-prepaid-replayed"] == "true"
    assert gateway.said(f"{session_id}.{chat}") == ["Hello there", said.choices[0].message.content]
    account = gateway.account(session_id)
    assert account.held == 0 < account.spent
    assert int(again[1].headers["x-prepaid-available"]) == account.available


def test_the_rest_api(gateway, operator, ann, session):
    path = f"/sessions/{session['session_id']}"
    chat = ann.did("POST", f"{path}/chats", {"name": "first"}, key="chat")
    assert ann.did("POST", f"{path}/chats", {"name": "first"}, key="chat") == chat
    answer = ann.did("POST", f"{path}/chats/1/messages", {"text": "Hello?"})
    streamed = ann.post(f"{path}/chats/1/messages", json={"text": "And now?", "stream": True})
    assert "event: answer" in streamed.text
    assert [each["text"] for each in ann.did("GET", f"{path}/chats/1/messages?limit=3")["items"]][
        2
    ] == answer["text"]
    asked = ann.did("POST", f"{path}/requests", {"prompt": "Hello?"})
    assert ann.did("GET", f"{path}/requests/{asked['request_id']}") == asked
    ann.did("PUT", f"{path}/pool", {"cap": 1000})
    bob = Api(gateway, operator.did("POST", "/keys", {"user_id": "bob"})["api_key"])
    lease = bob.did("POST", "/pool/leases", {})
    assert bob.did("GET", f"/sessions/{lease['session_id']}/leases/{lease['lease_id']}") == lease
    bob.did("DELETE", f"/sessions/{lease['session_id']}/leases/{lease['lease_id']}")
    ann.did("DELETE", f"{path}/pool")
    key = ann.did("POST", "/keys", {"session_id": session["session_id"], "cap": 50})
    assert ann.did("GET", f"/keys?session_id={session['session_id']}")["items"][1]["key_id"] == key["key_id"]
    found = ann.did("GET", "/sessions?limit=1")
    assert found["items"][0]["session_id"] == session["session_id"]
    for read in ("/stats", "/usage", "/statement", ""):
        assert ann.did("GET", path + read)
    for read in ("/stats", "/config", "/audit", "/users/ann/activity", "/deposits/ann"):
        assert operator.did("GET", read)
    assert ann.refused("GET", "/sessions/ses_01m7y6qkv88hxy3a7ak1pr") == (404, "session_not_found")
    closed = ann.did("POST", f"{path}/close")
    assert closed["refunded"] == 1_000_000 - gateway.account(session["session_id"]).spent


@pytest.mark.parametrize("read", ["", "/chats/1", "/chats/1/messages", "/requests", "/stats"])
def test_who_waits_for_the_database_waits_alone(gateway, ann, session, read):
    """The lock is given up only when others were answered: would the worker wait, they never were."""
    path = f"/sessions/{session['session_id']}"
    ann.did("POST", f"{path}/chats", {})
    with ThreadPoolExecutor(1) as pool:
        with locked(gateway.database, TABLES) as waits:
            reading = pool.submit(ann.did, "GET", path + read)
            gateway.wait_until(waits)
            for _ in range(3):
                assert gateway.get("/healthz").status_code == 200
            assert not reading.done()
        assert reading.result(120) is not None


@contextmanager
def locked(url, tables):
    """Keeps everybody from these tables; gives what says whether somebody waits for them."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(url))
        try:
            runner.run(connection.execute("BEGIN"))
            runner.run(connection.execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE"))
            yield lambda: runner.run(connection.fetchval(HELD_UP)) > 0
        finally:
            runner.run(connection.close())
