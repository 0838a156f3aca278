"""Guarantee 6: kill -9 at any moment; what a process had acknowledged is there, and the books are sound.

This alone cannot tell a ledger that syncs from one that does not (the system keeps what a process wrote): the
power cuts in ``tests/faults`` do. It shows that nothing of a process's memory is needed.
"""

from __future__ import annotations

import asyncio
import time
from random import Random

from prepaid.records import HoldState
from store.books import assert_sound
from store.processes import Worker
from store.workload import at_once, lines, requests, sessions, summary
from stores import open_store

SEED = 20_264
CLIENTS = 4
COUNT = 120
PROCESSES = 2


async def prepared(path):
    store = open_store(path)
    await at_once(store.submit, sessions())
    await store.aclose()


def killed(path, rng) -> tuple[list[list], int]:
    """What the processes had acknowledged when they were killed, and how many were in mid-work."""
    workers = [Worker("spend", path, number, CLIENTS, COUNT) for number in range(PROCESSES)]
    for worker in workers:
        worker.await_ready()
    for worker in workers:
        worker.begin()
    for worker in workers:
        for _ in range(rng.randrange(1, 120)):
            worker.read()
    time.sleep(rng.random() / 50)
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.finish()
        assert worker.process.returncode == -9
    acknowledged = [line for worker in workers for line in worker.told if line[0] == "acknowledged"]
    return acknowledged, sum(["done"] not in worker.told for worker in workers)


def lost(reads, acknowledged) -> list[list]:
    return [line for line in acknowledged if not survived(reads, *line[1:])]


def survived(reads, kind, session_id, key, captured) -> bool:
    found = reads.hold_state(session_id, key)
    match kind:
        case "Hold":
            return found is not None
        case "Settle":
            return found == (HoldState.CAPTURED, captured)
        case "Release":
            return found == (HoldState.RELEASED, 0)
        case _:
            return ("fund", key) in lines(reads, session_id)


def kill_and_look(new_where, rounds, seed) -> tuple[int, int]:
    """How much was acknowledged, and how many processes had not come to their end."""
    rng, total, working = Random(seed), 0, 0
    for _ in range(rounds):
        path = new_where()
        asyncio.run(prepared(path))
        acknowledged, broken_off = killed(path, rng)
        asyncio.run(examined(path, acknowledged, new_where()))
        total, working = total + len(acknowledged), working + broken_off
    return total, working


async def examined(path, acknowledged, other) -> None:
    store = open_store(path)
    assert lost(store.reads, acknowledged) == []
    await assert_sound(store)
    works = [
        work
        for number in range(PROCESSES)
        for n in range(CLIENTS)
        for work in requests(number * CLIENTS + n, COUNT, seed=number)
    ]
    for _ in range(2):  # retried by its keys, the work comes to its end, once
        answers = await at_once(store.submit, works)
        assert [answer for answer in answers if isinstance(answer, Exception)] == []
    await assert_sound(store)
    assert summary(store.reads) == await undisturbed(other, works)
    await store.aclose()


async def undisturbed(path, works):
    store = open_store(path)
    await at_once(store.submit, [*sessions(), *works])
    end = summary(store.reads)
    await store.aclose()
    return end


def test_nothing_acknowledged_is_lost(new_where):
    """Guarantee 6."""
    acknowledged, broken_off = kill_and_look(new_where, 3, SEED)
    assert acknowledged > 60
    assert broken_off, "all were done before they were killed"
