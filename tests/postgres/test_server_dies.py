"""The server is killed in the midst of a burst, and comes back: what was acknowledged is there, once.

A server that is killed has not lost what it wrote: this shows that the store finds its way, not that it syncs. So it
need not sync; or else it syncs all its files before it is back, which on a busy disk takes longer than callers wait.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Final

import pytest

from postgres_server import Databases, OwnServer
from prepaid.audit import audit
from prepaid.store.postgres.store import PostgresStore
from store.books import create, hold, settle
from store.workload import Journal, everything, missing, same, summary

KILLED: Final = {"shared_buffers": "32MB", "fsync": "off"}
SEED = 20_264
CLIENTS = 8
COUNT = 30


@pytest.fixture
def server():
    made = OwnServer(**KILLED)
    yield made
    made.stop()


@pytest.fixture
def databases(server):
    return Databases(server.url)


async def kill_again_and_again(server, times, rng):
    for _ in range(times):
        await asyncio.sleep(rng.uniform(0.05, 0.3))
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)


def test_every_step_comes_to_its_end_once(server, databases):
    """Guarantees 2 to 6: no caller hears of it, and the money is where it is without it."""
    asyncio.run(die_and_return(server, databases, 3, SEED))


async def die_and_return(server, databases, times, seed):
    store, undisturbed = PostgresStore(databases.new()), PostgresStore(databases.new())
    journal, reference = Journal(), Journal()
    killing = asyncio.create_task(kill_again_and_again(server, times, Random(seed)))
    await everything(store.submit, journal, clients=CLIENTS, count=COUNT, seed=seed)
    await killing
    assert journal.failures == [], journal.failures[:3]
    assert [missing(store.reads, *step) for step in journal.acknowledged if missing(store.reads, *step)] == []
    assert (await store.report(audit)).is_clean
    await everything(undisturbed.submit, reference, clients=CLIENTS, count=COUNT, seed=seed)
    assert summary(store.reads) == summary(undisturbed.reads)
    for work, answer in journal.acknowledged[-50:]:
        if hasattr(work, "key") and getattr(work, "keep_refusal", True):
            assert same(answer, await store.submit(work)), work
    await store.aclose()
    await undisturbed.aclose()


async def test_reads_go_on_with_the_server_that_came_back(server, databases):
    store = PostgresStore(databases.new())
    await store.submit(create("s", 100))
    assert store.reads.account("s").available == 100
    assert (await store.ask(lambda reads: reads.account("s"))).available == 100
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    assert store.reads.account("s").available == 100
    assert (await store.ask(lambda reads: reads.account("s"))).available == 100
    await store.submit(hold(10, "k", "s", expires_ms=2**50))
    assert (await store.submit(settle(4, "k", "s"))).available == 96
    await store.aclose()
