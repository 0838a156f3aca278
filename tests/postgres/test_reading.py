"""Three ways to ask: at once, while the loop goes on, and in a thread."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import asyncpg
import pytest

from prepaid.errors import StoreError
from prepaid.store.postgres.store import PostgresStore
from store.books import create, fund

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'account'::regclass"


@pytest.fixture
async def store(url):
    made = PostgresStore(url)
    yield made
    await made.aclose()


@pytest.fixture
async def locked(url):
    """A connection that keeps everybody from ``account`` until it ends its transaction."""
    connection = await asyncpg.connect(url)
    await connection.execute("BEGIN")
    await connection.execute("LOCK TABLE account IN ACCESS EXCLUSIVE MODE")
    yield connection
    await connection.close()


async def until_it_waits(connection, *asked):
    """Returns when the server has them all wait for the lock."""
    while await connection.fetchval(WAITING) < len(asked):
        assert not any(each.done() for each in asked), asked
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("way", ["ask", "report"])
async def test_the_event_loop_goes_on(way, store, locked):
    """The lock is given up by the very loop that asks; would it wait, nobody did, and the question failed."""
    asked = asyncio.create_task(getattr(store, way)(lambda reads: reads.account("s")))
    await until_it_waits(locked, asked)
    await locked.execute("COMMIT")
    assert await asked is None


async def test_questions_are_answered_side_by_side(store, locked):
    """All four are with the server at once."""
    asked = [asyncio.create_task(store.ask(lambda reads: reads.account("s"))) for _ in range(4)]
    await until_it_waits(locked, *asked)
    await locked.execute("COMMIT")
    assert await asyncio.gather(*asked) == [None] * 4


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


async def test_plain_code_aside_lets_the_event_loop_go_on(store, locked):
    """The lock is given up by the very loop that reads; would it wait, nobody did, and the read failed."""
    said = ContextVar("said", default="nothing")

    async def work():
        await asyncio.sleep(0)
        before = store.reads.account("s"), said.get()
        said.set("aside")
        await asyncio.sleep(0)
        return before, store.reads.account("s"), said.get()

    said.set("outside")
    asked = asyncio.create_task(store.aside(work()))
    await until_it_waits(locked, asked)
    await locked.execute("COMMIT")
    assert await asked == ((None, "outside"), None, "aside")
    assert said.get() == "outside"


async def test_what_is_aside_can_be_cancelled_while_it_reads(store, locked):
    told = []

    async def work():
        try:
            store.reads.account("s")
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    asked = asyncio.create_task(store.aside(work()))
    await until_it_waits(locked, asked)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert told == ["cancelled"]


async def test_what_is_aside_raises_and_answers_as_if_it_were_not(store):
    async def work(wrong):
        await asyncio.sleep(0)
        with store.reads.snapshot():
            found = [store.reads.tally("") for _ in range(2)]
        async with asyncio.timeout(120):
            found.append(await store.ask(lambda reads: reads.tally("")))
        if wrong:
            raise ZeroDivisionError
        return found

    assert await store.aside(work(wrong=False)) == [0, 0, 0]
    with pytest.raises(ZeroDivisionError):
        await store.aside(work(wrong=True))


async def test_a_few_reports_run_at_a_time(store):
    """Each has a connection, and a server has so many: who asks for a hundred statements does not take them all."""
    running, most = 0, 0
    changing = threading.Lock()

    def report(reads):
        nonlocal running, most
        with changing:
            running += 1
            most = max(most, running)
        reads.rows("SELECT pg_sleep(0.05)")
        with changing:
            running -= 1
        return 7

    assert await asyncio.gather(*(store.report(report) for _ in range(12))) == [7] * 12
    assert most <= 3
