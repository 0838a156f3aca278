"""Spec P10: lists are read and written in pieces, and end where they grow long; what costs nothing is not kept without bound."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from prepaid.gateway.rest.listing import PAGE_BYTES_MAX

from .api import problem

LISTS = {
    "chats": lambda path: f"{path}/chats",
    "messages": lambda path: f"{path}/chats/1/messages",
    "requests": lambda path: f"{path}/requests",
    "sessions": lambda _: "/sessions",
}


def whole(api, path, limit):
    """All items of a list, and how many each page had."""
    items, pages, cursor = [], [], ""
    while cursor is not None:
        told = api.did("GET", f"{path}?limit={limit}" + (f"&cursor={cursor}" if cursor else ""))
        items += told["items"]
        pages.append(len(told["items"]))
        cursor = told["next_cursor"]
    return items, pages


@pytest.fixture(scope="module")
def place(world):
    """A session of Ann's with some of everything."""
    path = f"/sessions/{world.operator.did('POST', '/sessions', {'user_id': 'ann', 'fund': '1 USD'})['session_id']}"
    for number in range(17):
        world.ann.user.did("POST", f"{path}/chats", {"name": f"{number}"})
        world.ann.user.did("POST", f"{path}/chats/1/messages", {"text": f"{number}", "max_output_tokens": 1})
        world.ann.user.did("POST", f"{path}/requests", {"prompt": f"{number}", "max_output_tokens": 1})
        world.operator.did("POST", "/sessions", {"user_id": "ann"})
    return path


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50, 200])
@pytest.mark.parametrize("name", LISTS)
def test_every_item_is_there_once_whatever_the_pages(ann, place, name, limit):
    items, pages = whole(ann.user, LISTS[name](place), limit)
    assert all(size == limit for size in pages[:-1])
    assert len({json.dumps(each) for each in items}) == len(items) >= 17
    assert items == whole(ann.user, LISTS[name](place), 200)[0]


def test_a_page_of_long_items_is_shorter_and_its_cursor_goes_on(world, ann):
    """An issue's case: system prompts of 4 MiB, which older versions kept, made a page of 159 MiB."""
    session = world.operator.did("POST", "/sessions", {"user_id": "ann"})
    path = f"/sessions/{session['session_id']}"
    for number in range(12):
        ann.user.did("POST", f"{path}/chats", {"name": f"{number}"})
    with closing(sqlite3.connect(world.gateway.database)) as books, books:
        for chat_no, size in ((2, 4_100_000), (3, 4_100_000), (7, 1_500_000), (8, 1_500_000), (9, 1_500_000)):
            config = json.dumps({"system_prompt": "a" * size})
            told = books.execute(
                "UPDATE chat SET config = ? WHERE session_id = ? AND chat_no = ?",
                (config, session["session_id"], chat_no),
            )
            assert told.rowcount == 1
    first = ann.user.get(f"{path}/chats?limit=40")
    assert len(first.content) < 2 * PAGE_BYTES_MAX
    items, pages = whole(ann.user, f"{path}/chats", 40)
    assert [each["chat"] for each in items] == list(range(1, 13))
    assert len(pages) > 2
    with_one = ann.user.did("GET", f"{path}/chats?limit=1")
    assert len(with_one["items"]) == 1


def test_a_lease_s_chats_are_the_taker_s_alone(world, ann):
    session = world.operator.did("POST", "/sessions", {"user_id": "ann", "fund": "1 USD"})
    path = f"/sessions/{session['session_id']}"
    for _ in range(20):
        ann.user.did("POST", f"{path}/chats", {})
    ann.user.did("PUT", f"{path}/pool", {})
    lease = world.bob.user.did("POST", "/pool/leases", {})
    assert lease["session_id"] == session["session_id"]
    for _ in range(5):
        lent = {"X-Prepaid-Lease": lease["lease_id"]}
        world.bob.user.did("POST", f"{path}/chats", {}, **lent)
        ann.user.did("POST", f"{path}/chats", {})
    told = world.bob.user.did("GET", f"{path}/chats?limit=3", **lent)
    assert [each["chat"] for each in told["items"]] == [21, 23, 25]
    rest = world.bob.user.did("GET", f"{path}/chats?cursor={told['next_cursor']}", **lent)
    assert ([each["chat"] for each in rest["items"]], rest["next_cursor"]) == ([27, 29], None)
    world.bob.user.did("DELETE", f"{path}/leases/{lease['lease_id']}")


def test_what_costs_nothing_is_no_place_to_keep_much_in(ann, fresh):
    path = f"/sessions/{fresh(None)['session_id']}"
    ann.user.did("POST", f"{path}/chats", {"config": {"system_prompt": "a" * 262_144}})
    for method, where, body in (
        ("POST", f"{path}/chats", {"config": {"system_prompt": "é" * 131_073}}),
        ("PUT", f"{path}/chats/1/config", {"system_prompt": "a" * 262_145}),
    ):
        told = problem(ann.user(method, where, json=body))
        assert (told["status"], told["limit_name"]) == (413, "system_prompt_bytes_max")
    assert len(ann.user.did("GET", f"{path}/chats/1")["config"]["system_prompt"]) == 262_144
