"""A server as it stands there: its paths, its refusals, what one request is called."""

from __future__ import annotations

import httpx
import pytest


def test_it_is_alive_and_ready(gateway):
    assert gateway.get("/healthz").json() == {"status": "ok"}
    assert gateway.get("/readyz").json() == {"status": "ready"}


def test_openais_paths_are_refused_in_openais_words(gateway):
    reply = gateway.post("/v1/nothing")
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "route_not_found"
    assert reply.headers["x-should-retry"] == "false"


def test_other_paths_are_refused_with_problem_details(gateway):
    reply = gateway.get("/nothing")
    assert reply.status_code == 404
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["code"] == "route_not_found"
    assert reply.json()["instance"] == f"urn:prepaid:request:{reply.headers['x-request-id']}"


def test_a_wrong_method_is_told_the_right_one(gateway):
    reply = gateway.http.put("/healthz")
    assert reply.status_code == 405
    assert reply.headers["allow"] == "GET, HEAD"
    assert gateway.get("/v1/chat/completions").headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_load_balancer_may_ask_with_head(gateway, path):
    """Twice on one connection: a body would be taken for the beginning of the next reply."""
    for _ in range(2):
        reply = gateway.http.head(path)
        assert (reply.status_code, reply.content) == (200, b"")
        assert reply.headers["content-length"] == str(len(gateway.get(path).content))
    assert gateway.http.head("/v1/chat/completions").status_code == 405


@pytest.mark.parametrize("given", ["abc-1.2_3", "x" * 128])
def test_a_clients_request_id_is_echoed(gateway, given):
    assert gateway.get("/healthz", headers={"x-request-id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", 'a"b', "a\tb", "é".encode()])
def test_one_that_could_do_harm_is_replaced(gateway, given):
    told = gateway.get("/healthz", headers={"x-request-id": given}).headers["x-request-id"]
    assert told.startswith("req_")
    assert len(told) == 28


def test_what_nobody_reads_ends_the_connection(gateway):
    """The rest of a body that was refused must not be read as the next request."""
    with httpx.Client(base_url=gateway.url) as client:
        assert (
            client.post("/nothing", content=b"GET /healthz HTTP/1.1\r\n\r\n").headers["connection"] == "close"
        )
        assert "connection" not in client.get("/nothing").headers
