"""Spec P10: a user's reports, however long, slow nobody else, and take no more than their share."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from prepaid.gateway.rest.access import REPORTS_MAX
from prepaid.statements import build_statement, verify_statement
from prepaid.store.operations import Fund
from stores import open_store

from .api import Api, problem

LINES = 20_000
AT_ONCE = 12


@pytest.fixture(scope="module")
def long(world):
    """A session of Ann's with very many lines; its id."""
    session = world.operator.did("POST", "/sessions", {"user_id": "ann", "fund": "1 USD"})

    async def work():
        store = open_store(world.gateway.database)
        works = [Fund(session["session_id"], "ann", f"f{number}", b"", 1) for number in range(LINES)]
        for first in range(0, LINES, 1_000):
            await asyncio.gather(*map(store.submit, works[first : first + 1_000]))
        await store.aclose()

    asyncio.run(work())
    return session["session_id"]


def test_it_is_whole_and_the_one_that_python_gives(world, long):
    document = world.ann.user.did("GET", f"/sessions/{long}/statement")
    assert verify_statement(document).line_count == LINES + 1
    store = open_store(world.gateway.database)
    with closing(store.reads):
        assert document == build_statement(store.reads, long)
    asyncio.run(store.aclose())


def test_others_are_answered_meanwhile(world, long):
    """The books are read, and the reply is written, beside the event loop."""
    served = 0
    with ThreadPoolExecutor(1) as pool:
        report = pool.submit(world.ann.user.get, f"/sessions/{long}/statement")
        while not report.done():
            assert world.bob.user.get(world.bob.path).status_code == 200
            served += 1
    assert report.result().status_code == 200
    assert served > REPORTS_MAX


@pytest.mark.parametrize("path", ["/sessions/{long}/statement", "/sessions/{long}/usage", "/usage"])
def test_an_owner_has_so_many_in_the_making_with_whatever_keys(world, long, path):
    keys = [world.operator.did("POST", "/keys", {"user_id": "ann"})["api_key"] for _ in range(AT_ONCE)]
    with ThreadPoolExecutor(2 * AT_ONCE) as pool:
        mine = [pool.submit(Api(world.gateway, key).get, path.format(long=long)) for key in keys]
        others = [pool.submit(world.bob.user.get, f"{world.bob.path}/statement") for _ in range(REPORTS_MAX)]
    told = [each.result() for each in mine]
    assert {reply.status_code for reply in told} <= {200, 429}
    for reply in told:
        if reply.status_code == 429:
            assert problem(reply)["code"] == "report_limit_reached"
    assert any(reply.status_code == 200 for reply in told)
    if path.endswith("statement"):
        assert any(reply.status_code == 429 for reply in told)
    assert [each.result().status_code for each in others] == [200] * REPORTS_MAX


def test_each_is_what_it_was(world):
    """Lists of a session's and of a user's usage, and of a session that has none."""
    usage = world.ann.user.did("GET", f"{world.ann.path}/usage")
    assert (usage[0]["model"], usage[0]["requests"]) == ("offline", 1)
    assert world.ann.user.did("GET", "/usage")[0]["currency"] == "USD"
    empty = world.operator.did("POST", "/sessions", {"user_id": "ann"})["session_id"]
    assert world.ann.user.did("GET", f"/sessions/{empty}/usage") == []
    reply = world.ann.user.get(f"/sessions/{empty}/statement")
    assert json.loads(reply.content)["lines"] == []
    assert reply.headers["content-disposition"] == f'attachment; filename="{empty}.statement.json"'
