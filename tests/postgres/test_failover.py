"""The primary dies in the midst of a burst while its replica lags, and the replica takes over.

Where commits wait for the replica, nothing that was acknowledged is lost and nothing is done twice
(guarantees 2 to 6). Where they do not wait, the same drill finds losses: it can tell.
"""

from __future__ import annotations

import asyncio

import pytest

from postgres_server import ask
from prepaid.audit import audit
from prepaid.store.postgres.store import PostgresStore
from store.books import create, hold, settle
from store.workload import Journal, at_once, everything, missing, same, summary

from .replicas import Pair

SEED = 20_264
CLIENTS = 12
COUNT = 25
LAG_SECONDS = 0.01
WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.fixture
def synchronous():
    with Pair(synchronous=True) as made:
        yield made


@pytest.fixture
def asynchronous():
    with Pair(synchronous=False) as made:
        yield made


async def until(is_so):
    async with asyncio.timeout(120):
        while not is_so():  # noqa: ASYNC110 -- the servers are other processes
            await asyncio.sleep(0.005)


async def burst_and_failover(pair, store, journal, ready_to_die):
    """The burst goes on to its end, on whichever server there is."""
    pair.link.lag_seconds = LAG_SECONDS
    burst = asyncio.create_task(everything(store.submit, journal, clients=CLIENTS, count=COUNT, seed=SEED))
    await until(lambda: len(journal.acknowledged) > 100)
    await asyncio.to_thread(pair.link.hold_back)
    await ready_to_die()
    assert not burst.done()
    await asyncio.to_thread(pair.fail_over)
    await burst


def lost(store, journal):
    return [found for step in journal.acknowledged if (found := missing(store.reads, *step))]


async def test_a_synchronous_replica_that_lags_takes_over(synchronous):
    store, undisturbed = map(PostgresStore, synchronous.databases)
    journal, reference = Journal(), Journal()

    async def commits_wait():
        """They are on the primary's disk, and nobody hears of them."""
        await asyncio.to_thread(synchronous.wait_until, WAITING)
        seen = -1  # what the replica had heard by then is still answered
        async with asyncio.timeout(120):
            while seen != (seen := len(journal.acknowledged)):  # noqa: ASYNC110 -- another process answers
                await asyncio.sleep(0.3)

    await burst_and_failover(synchronous, store, journal, commits_wait)
    assert journal.failures == []
    assert lost(store, journal) == []
    assert (await store.report(audit)).is_clean
    assert (await store.ask(summary)) == summary(store.reads)
    await everything(undisturbed.submit, reference, clients=CLIENTS, count=COUNT, seed=SEED)
    assert summary(store.reads) == summary(undisturbed.reads)
    steps = [step for step in journal.acknowledged if getattr(step[0], "key", "")]
    again = await at_once(store.submit, [work for work, _ in steps])
    anew = [work for (work, before), now in zip(steps, again, strict=True) if not same(before, now)]
    assert anew == []
    assert summary(store.reads) == summary(undisturbed.reads)
    await store.aclose()
    await undisturbed.aclose()


async def test_the_drill_finds_what_an_asynchronous_replica_loses(asynchronous):
    store = PostgresStore(asynchronous.databases[0])
    journal = Journal()

    async def answers_go_on():
        acknowledged = len(journal.acknowledged)
        await until(lambda: len(journal.acknowledged) > acknowledged + 100)

    await burst_and_failover(asynchronous, store, journal, answers_go_on)
    assert len(lost(store, journal)) > 50
    await store.aclose()


async def test_a_commit_whose_wait_for_the_replica_is_ended_is_not_acknowledged(synchronous):
    """PostgreSQL then answers as if all were well, with no more than a warning."""
    store = PostgresStore(synchronous.databases[0], lanes=1)
    await store.submit(create("s", 100))
    await asyncio.to_thread(synchronous.link.hold_back)
    holding = asyncio.ensure_future(store.submit(hold(10, "k", "s", expires_ms=2**50)))
    seen = set()
    for _ in range(3):
        await until(lambda: {pid for (pid,) in ask(synchronous.primary.url, WAITING)} - seen)
        (pid,) = {pid for (pid,) in ask(synchronous.primary.url, WAITING)} - seen
        seen.add(pid)
        assert ask(synchronous.primary.url, f"SELECT pg_cancel_backend({pid})") == [(True,)]
    await until(lambda: {pid for (pid,) in ask(synchronous.primary.url, WAITING)} - seen)
    assert not holding.done()
    await asyncio.to_thread(synchronous.link.let_go)
    assert (await holding).amount == 10
    assert (await store.submit(settle(4, "k", "s"))).available == 96
    await store.aclose()
