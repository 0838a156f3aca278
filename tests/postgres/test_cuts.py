"""A connection that is cut at any byte of any statement: nothing is lost, nothing is done twice.

Callers do not even hear of it: the store finds out what became of the batch, and goes on.
"""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from prepaid.audit import audit
from prepaid.errors import StoreError
from prepaid.records import Message, Role
from prepaid.store.group_commit import BUSY_SECONDS
from prepaid.store.operations import Place, Turn
from prepaid.store.postgres import lane
from prepaid.store.postgres.store import PostgresStore
from store.books import chat, close, create, hold, progress, release, settle

from .cutting import Proxy

FAR_MS = 2**50
SAID = Turn((Message(Role.USER, "q"), Message(Role.ASSISTANT, "a")), 5)


def steps(session_id):
    """Something of everything that moves money, one after the other."""
    return [
        create(session_id, 1_000),
        chat(session_id),
        hold(100, "k1", session_id, place=Place(1, 0, 2), sent=True, expires_ms=FAR_MS),
        progress(30, "k1", session_id, until=FAR_MS),
        settle(60, "k1", session_id, turn=SAID, response="said"),
        hold(2_000, "k2", session_id, minimum=900, keep_refusal=False, expires_ms=FAR_MS),
        release("k2", session_id, loss=7),
        close(session_id, key="close"),
    ]


ENDS = [(direction, share) for direction in ("asked", "answered") for share in (0.5, 1)]
"""A cut in the midst of a message, and right after it: what was asked is done, and its answer never comes."""


async def performed(store, session_id):
    return [await store.submit(step) for step in steps(session_id)]


def without_ids(results, session_id):
    return [str(result).replace(session_id, "") for result in results]


@pytest.fixture
def proxy(url, tmp_path):
    with Proxy(url, tmp_path) as made:
        yield made


@pytest.fixture
async def store(proxy):
    made = PostgresStore(proxy.url, lanes=1)
    yield made
    await made.aclose()


@pytest.mark.parametrize(("direction", "share"), ENDS)
async def test_a_cut_at_every_statement(direction, share, proxy, store, url):
    """Guarantees 4, 5 and 6."""
    expected = without_ids(await performed(store, "s0000"), "s0000")
    proxy.chunks.clear()
    before = proxy.passed[direction]
    await performed(store, "s0001")
    pieces = [(at - before, size) for which, at, size in proxy.chunks if which == direction]
    assert len(pieces) > 30, "a message for each statement"
    for number, (at, size) in enumerate(pieces, start=2):
        proxy.cut_after(direction, at + int(size * share))
        results = await performed(store, f"s{number:04}")
        assert without_ids(results, f"s{number:04}") == expected, f"cut in piece {number}"
    assert proxy.cuts_made >= len(pieces) - 1
    report = await store.report(audit)
    assert report.is_clean, str(report)
    assert report.lines == 4 * (len(pieces) + 2)


async def test_a_burst_through_a_connection_that_is_cut_again_and_again(proxy, store):
    """Guarantees 2, 3 and 6."""
    await store.submit(create("s", 100_000))

    async def spend(client):
        for number in range(40):
            await store.submit(hold(10, f"k{client}.{number}", "s", expires_ms=FAR_MS))
            await store.submit(settle(7, f"k{client}.{number}", "s"))

    async def cut_again():
        for number in count(1):
            made = proxy.cuts_made
            proxy.cut_after("asked" if number % 2 else "answered", 5_000 + 997 * number % 10_000)
            while proxy.cuts_made == made:  # noqa: ASYNC110 -- the proxy is in another thread
                await asyncio.sleep(0.005)

    cutting = asyncio.create_task(cut_again())
    await asyncio.gather(*(spend(client) for client in range(16)))
    cutting.cancel()
    proxy.cut_no_more()
    assert proxy.cuts_made > 5
    account = store.reads.account("s")
    assert (account.available, account.held, account.spent) == (100_000 - 16 * 40 * 7, 0, 16 * 40 * 7)
    assert (await store.report(audit)).is_clean


async def test_a_batch_takes_as_long_as_it_takes_while_the_server_answers(proxy, store, monkeypatch):
    """On a server that is far away, each of its statements is a round trip; only silence is a reason to try anew."""
    monkeypatch.setattr(lane, "_SILENCE_SECONDS_MAX", 1.0)
    await store.submit(create("s"))
    proxy.lag_seconds = 0.05
    began = len(proxy.chunks)
    created = [store.submit(create(f"s{number}")) for number in range(12)]
    assert {(await each).available for each in created} == {1_000}
    answers = [which for which, _, _ in proxy.chunks[began:] if which == "answered"]
    assert len(answers) * proxy.lag_seconds > lane._SILENCE_SECONDS_MAX


async def test_a_server_that_falls_silent_is_asked_anew(proxy, store, monkeypatch):
    (writer,) = store._lanes
    await store.submit(create("s", 1_000))
    first = writer._connection
    monkeypatch.setattr(lane, "_SILENCE_SECONDS_MAX", 0.2)
    proxy.hold_back()
    asked = store.submit(hold(10, "k", "s", expires_ms=FAR_MS))
    while writer._connection is first:  # noqa: ASYNC110 -- the lane tells nobody
        await asyncio.sleep(0.01)
    monkeypatch.undo()
    proxy.let_go()
    assert (await asked).amount == 10
    assert (await store.submit(settle(4, "k", "s"))).available == 996


async def test_a_database_that_stays_away_is_an_error_that_says_what_to_do(proxy, url):
    """Where the outcome is unknown, the same key brings it to light (guarantee 5)."""
    store = PostgresStore(proxy.url, lanes=1)
    (writer,) = store._lanes
    await store.submit(create("s", 1_000))
    for key in ("k8", "k9"):  # the second has its statements prepared, as those after it
        proxy.chunks.clear()
        await store.submit(hold(10, key, "s", expires_ms=FAR_MS))
    commit = [at for which, at, _ in proxy.chunks if which == "asked"][-1]
    began = next(at for which, at, _ in proxy.chunks if which == "asked")
    proxy.stays_down, writer._busy_seconds = True, 2.0
    proxy.cut_after("asked", commit - began + 12)
    with pytest.raises(StoreError) as refused:
        await store.submit(hold(10, "k1", "s", expires_ms=FAR_MS))
    assert "retry with the same key" in str(refused.value)
    proxy.stays_down, writer._busy_seconds = False, BUSY_SECONDS
    assert (await store.submit(hold(10, "k1", "s", expires_ms=FAR_MS))).amount == 10
    account = store.reads.account("s")
    assert (account.available, account.held) == (970, 30)
    await store.aclose()
