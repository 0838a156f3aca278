"""The gateway while its database is away: who asks is told to come back, and nothing is lost or paid twice."""

from __future__ import annotations

import re
import threading

import pytest

from gateway.rest.api import Api
from gateway.running import Gateway
from postgres_server import Databases, OwnServer

pytestmark = pytest.mark.slow

IMPATIENT = """
import prepaid.store.postgres.readers as readers
readers._READ_SECONDS_MAX = 1.0
from prepaid.cli import main
main()
"""
"""``prepaid``, which says after a second, not after ten, that the database does not answer."""

HELLO = {"model": "offline", "messages": [{"role": "user", "content": "Hello there"}]}
COUNT = {
    "model": "offline",
    "messages": [{"role": "user", "content": "count to 20000"}],
    "max_tokens": 30_000,
    "stream": True,
}
QUIET = {"PREPAID_SESSIONS__AUTO_CLEANUP": "false"}


@pytest.fixture(scope="module")
def server():
    made = OwnServer(shared_buffers="32MB", fsync="off")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def gateway(server, tmp_path_factory):
    url, folder = Databases(server.url).new(), tmp_path_factory.mktemp("away")
    with Gateway(folder, program=("-c", IMPATIENT), PREPAID_DATABASE=url, **QUIET) as running:
        yield running


def test_requests_are_refused_while_it_is_away_and_done_once_when_it_is_back(gateway, server):
    session_id, key = gateway.fund("1 USD")
    named = {"authorization": f"Bearer {key}", "idempotency-key": "once"}
    server.kill()
    refused = gateway.post("/v1/chat/completions", json=HELLO, headers=named)
    assert (refused.status_code, refused.json()["error"]["prepaid"]["retryable"]) == (503, True)
    assert int(refused.headers["retry-after"]) >= 1
    assert Api(gateway, key).refused("GET", f"/sessions/{session_id}") == (503, "store_error")
    assert gateway.get("/readyz").status_code == 503, "a load balancer sends requests elsewhere"
    assert gateway.get("/healthz").status_code == 200, "nobody restarts a gateway for it"
    server.start()
    gateway.wait_until(lambda: gateway.get("/readyz").status_code == 200)
    done, again = (gateway.post("/v1/chat/completions", json=HELLO, headers=named) for _ in range(2))
    assert done.status_code == again.status_code == 200
    assert again.content == done.content
    account = gateway.account(session_id)
    assert (account.held, account.request_count) == (0, 1)
    gateway.assert_sound()


def test_an_answer_goes_on_while_it_restarts_and_is_paid_when_it_is_back(gateway, server):
    """Its client hears of nothing."""
    session_id, key = gateway.fund("5 USD")
    asked = {"json": COUNT, "headers": {"authorization": f"Bearer {key}", "x-prepaid-receipt": "event"}}
    with gateway.http.stream("POST", "/v1/chat/completions", **asked) as stream:
        assert stream.status_code == 200
        pieces = stream.iter_bytes()
        said = next(pieces)
        server.kill()  # the rest is more than connections hold, so it is not settled yet
        coming = threading.Thread(target=server.start)
        coming.start()
        said += b"".join(pieces)
        coming.join()
    assert b"data: [DONE]" in said
    account = gateway.account(session_id)
    assert (account.held, account.request_count) == (0, 1)
    assert account.spent == int(re.search(rb'"cost":(\d+)', said)[1]) > 20_000
    gateway.assert_sound()
