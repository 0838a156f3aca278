"""The small parts of the hot path: bodies in any pieces, routes of any table, slots."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepaid.errors import ConcurrencyLimitReached, MethodNotAllowed, RouteNotFound, ValueTooLarge
from prepaid.gateway.asgi import ClientGone, Request
from prepaid.gateway.limits import Slots
from prepaid.gateway.routes import Router


def request_of(path="/", method="GET", pieces=(), headers=(), ends=True):
    """A request whose body comes in these pieces; without ``ends`` the client hangs up after them."""
    end = {"type": "http.request", "body": b"", "more_body": False} if ends else {"type": "http.disconnect"}
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces] + [end]

    async def receive():
        return messages.pop(0)

    scope = {"method": method, "path": path, "headers": list(headers), "query_string": b""}
    return Request(scope, receive, None)


@given(st.lists(st.binary(max_size=20), max_size=8), st.integers(0, 60))
def test_a_body_is_its_pieces_or_too_large(pieces, limit):
    whole = b"".join(pieces)
    if len(whole) <= limit:
        assert asyncio.run(request_of(pieces=pieces).body(limit)) == whole
    else:
        with pytest.raises(ValueTooLarge) as caught:
            asyncio.run(request_of(pieces=pieces).body(limit))
        assert caught.value.limit == limit


@given(st.lists(st.binary(max_size=20), max_size=4))
def test_a_client_that_hangs_up_in_its_body_is_gone(pieces):
    with pytest.raises(ClientGone):
        asyncio.run(request_of(pieces=pieces, ends=False).body(1_000))


def test_what_says_that_it_is_too_large_is_not_read():
    request = request_of(headers=[(b"content-length", b"1001")], ends=False)
    with pytest.raises(ValueTooLarge):
        asyncio.run(request.body(1_000))


def test_of_two_headers_the_first_counts():
    request = request_of(headers=[(b"authorization", b"one"), (b"authorization", b"two")])
    assert request.header(b"authorization") == b"one"
    assert request.header(b"missing") is None


segments = st.text(st.sampled_from("ab"), min_size=1, max_size=2)
paths = st.lists(segments, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))


@given(st.sets(paths), st.sets(paths), paths)
def test_the_exact_path_wins_then_the_longest_that_leads_there(exact, below, path):
    table = {each: {"GET": f"exact {each}"} for each in exact}
    table |= {f"{each}/*": {"GET": f"below {each}"} for each in below}
    request = request_of(path)
    leading = max((each for each in below if path.startswith(f"{each}/")), key=len, default=None)
    if path in exact:
        assert Router(table).find(request) == f"exact {path}"
        assert (request.route, request.tail) == (path, "")
    elif leading is not None:
        assert Router(table).find(request) == f"below {leading}"
        assert f"{leading}/{request.tail}" == path
        assert request.route == f"{leading}/*"
    else:
        with pytest.raises(RouteNotFound):
            Router(table).find(request)


def test_a_method_that_is_not_there_is_told_those_that_are():
    request = request_of("/a", "PUT")
    with pytest.raises(MethodNotAllowed) as caught:
        Router({"/a": {"POST": None, "GET": None}}).find(request)
    assert caught.value.allowed == ("GET", "HEAD", "POST")
    assert request.route == "/a"


@given(st.lists(st.sampled_from("ab"), max_size=30), st.integers(1, 4))
def test_slots_are_counted_by_name_and_given_back(names, limit):
    slots, taken = Slots(limit), {"a": [], "b": []}
    for name in names:
        slot = slots.taken(name)
        if len(taken[name]) < limit:
            slot.__enter__()
            taken[name].append(slot)
        else:
            with pytest.raises(ConcurrencyLimitReached):
                slot.__enter__()
            taken[name].pop().__exit__(None, None, None)
    for held in taken.values():
        for slot in held:
            slot.__exit__(None, None, None)
    assert slots._taken == {}
