"""Three ways to ask: at once, while the loop goes on, and in a thread."""

from __future__ import annotations

import asyncio
import time

import pytest

from prepaid.errors import StoreError
from prepaid.store.postgres.store import PostgresStore
from store.books import create, fund

SLEEP = "SELECT pg_sleep(0.3)"


@pytest.fixture
async def store(url):
    made = PostgresStore(url)
    yield made
    await made.aclose()


async def ticks(while_running):
    """How often the event loop came round."""
    seen = 0
    while not while_running.done():
        await asyncio.sleep(0.01)
        seen += 1
    return seen


@pytest.mark.parametrize("way", ["ask", "report"])
async def test_the_event_loop_goes_on(way, store):
    asked = asyncio.create_task(getattr(store, way)(lambda reads: reads.rows(SLEEP)))
    assert await ticks(asked) > 10


async def test_questions_are_answered_side_by_side(store):
    await store.ask(lambda reads: reads.rows("SELECT 1"))
    began = time.monotonic()
    await asyncio.gather(*(store.ask(lambda reads: reads.rows(SLEEP)) for _ in range(4)))
    assert time.monotonic() - began < 4 * 0.3


async def test_a_question_may_ask_again_and_again(store):
    await store.submit(create("s", 5))

    def question(reads):
        with reads.snapshot():
            found = reads.account("s")
            return [reads.account("s") == found for _ in range(3)]

    for way in (store.ask, store.report):
        assert await way(question) == [True] * 3
    assert question(store.reads) == [True] * 3


async def test_a_snapshot_does_not_move(store, url):
    await store.submit(create("s", 5))
    writer = PostgresStore(url)
    with store.reads.snapshot():
        before = store.reads.account("s").available
        await writer.submit(fund(7, "f", "s"))
        assert store.reads.account("s").available == before
    assert store.reads.account("s").available == before + 7
    await writer.aclose()


async def test_a_question_that_fails_leaves_the_next_alone(store):
    def wrong(_):
        raise ZeroDivisionError

    for _ in range(6):  # more often than there are connections
        with pytest.raises(ZeroDivisionError):
            await store.ask(wrong)
    assert await store.ask(lambda reads: reads.tally("")) == 0


async def test_a_closed_store_says_so(url):
    store = PostgresStore(url)
    await store.aclose()
    await store.aclose()
    with pytest.raises(StoreError, match="closed"):
        store.reads.tally("")
    with pytest.raises(StoreError, match="closed"):
        store.submit(create("s", 5))
