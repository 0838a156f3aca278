"""Durable hold and capture pairs through the public ``Ledger``, against sqlite3 with a transaction each.

Also ``hot``: the same on one session against spread over 1,000, and ``latency``: how long one operation takes.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from statistics import median

from benchmarks.context import Context
from benchmarks.filling import new_session_ids, open_sessions, opened_store
from benchmarks.floor import Floor
from benchmarks.harness import Figure, interleave, per_second, percentile, ratios, timed
from prepaid.ledger import Ledger

SESSIONS = 1_000
CLIENTS = 256
OWNER = "user-000000"
HELD, COST = 100, 60


class Crowd:
    """Clients that hold and capture, each one pair after the other."""

    def __init__(self, ledger: Ledger, session_ids: Sequence[str]) -> None:
        self.ledger = ledger
        self.session_ids = session_ids
        self.seconds: list[float] = []
        """What each operation took, where ``is_watched``."""

    async def pairs(
        self, count: int, clients: int, *, is_keyed: bool = False, is_watched: bool = False
    ) -> float:
        """Seconds per pair."""
        each = count // clients
        with timed() as watch:
            await asyncio.gather(
                *(
                    self._watched(number, each) if is_watched else self._client(number, each, is_keyed)
                    for number in range(clients)
                )
            )
        return watch.seconds / (each * clients)

    async def _client(self, number: int, pairs: int, is_keyed: bool) -> None:
        for session_id in self._sessions(number, pairs):
            key = uuid.uuid4().hex if is_keyed else None
            held = await self.ledger.hold(session_id, OWNER, HELD, key=key)
            await self.ledger.capture(session_id, held.key, COST)

    async def _watched(self, number: int, pairs: int) -> None:
        clock, note = time.perf_counter, self.seconds.append
        for session_id in self._sessions(number, pairs):
            began = clock()
            held = await self.ledger.hold(session_id, OWNER, HELD)
            between = clock()
            await self.ledger.capture(session_id, held.key, COST)
            note(between - began)
            note(clock() - between)

    def _sessions(self, number: int, pairs: int) -> itertools.islice[str]:
        start = number * 7919 % len(self.session_ids)
        return itertools.islice(itertools.cycle(self.session_ids), start, start + pairs)


class Hand:
    """The same pairs on the floor, one after the other: a lock would not let two write at once."""

    def __init__(self, floor: Floor, session_ids: Sequence[str]) -> None:
        self.floor = floor
        self.session_ids = itertools.cycle(session_ids)
        self.numbers = itertools.count()

    async def pairs(self, count: int, *, is_keyed: bool = False) -> float:
        with timed() as watch:
            for session_id in itertools.islice(self.session_ids, count):
                key = uuid.uuid4().hex if is_keyed else f"{next(self.numbers):021x}"
                self.floor.hold(session_id, key, HELD, is_keyed=is_keyed)
                self.floor.capture(session_id, key, HELD, COST)
        return watch.seconds / count

    async def commits(self, count: int) -> float:
        """Seconds for one transaction with one hold."""
        with timed() as watch:
            for session_id in itertools.islice(self.session_ids, count):
                self.floor.hold(session_id, f"{next(self.numbers):021x}", HELD)
        return watch.seconds / count


@asynccontextmanager
async def _sides(context: Context) -> AsyncIterator[tuple[Crowd, Hand]]:
    with context.folder() as folder:
        ids = new_session_ids(SESSIONS)
        floor = Floor(folder / "floor.db", ids)
        async with opened_store(folder / "prepaid.db") as store:
            await open_sessions(store, ids, users=1)
            yield Crowd(Ledger(store), ids), Hand(floor, ids)
        floor.close()


async def throughput(context: Context) -> list[Figure]:
    async with _sides(context) as (crowd, hand):
        ours, theirs = context.scaled(10_240, CLIENTS), context.scaled(1_500)
        samples = await interleave(
            {
                "prepaid": lambda: crowd.pairs(ours, CLIENTS),
                "sqlite3": lambda: hand.pairs(theirs),
                "prepaid keyed": lambda: crowd.pairs(ours, CLIENTS, is_keyed=True),
                "sqlite3 keyed": lambda: hand.pairs(theirs, is_keyed=True),
            },
            context.rounds,
        )
    against = "sqlite3, WAL, FULL, a transaction each"
    return [
        Figure(
            f"hold + capture pairs, {CLIENTS} clients, {SESSIONS:,} sessions",
            against,
            ratios(samples, "sqlite3", "prepaid"),
            at_least=4,
            told={"prepaid": per_second(samples, "prepaid"), "sqlite3": per_second(samples, "sqlite3")},
        ),
        Figure(
            "the same with callers' keys (UUIDs)",
            against + ", the key looked up first",
            ratios(samples, "sqlite3 keyed", "prepaid keyed"),
            told={
                "prepaid": per_second(samples, "prepaid keyed"),
                "sqlite3": per_second(samples, "sqlite3 keyed"),
            },
        ),
    ]


async def hot(context: Context) -> list[Figure]:
    async with _sides(context) as (crowd, _):
        one = Crowd(crowd.ledger, crowd.session_ids[500:501])
        count = context.scaled(10_240, CLIENTS)
        samples = await interleave(
            {"spread": lambda: crowd.pairs(count, CLIENTS), "one": lambda: one.pairs(count, CLIENTS)},
            context.rounds,
        )
    return [
        Figure(
            f"pairs on one session, {CLIENTS} clients",
            f"spread over {SESSIONS:,} sessions",
            ratios(samples, "spread", "one"),
            at_least=0.9,
            told={"one": per_second(samples, "one"), "spread": per_second(samples, "spread")},
        )
    ]


async def latency(context: Context) -> list[Figure]:
    tails: list[float] = []
    middles: list[float] = []

    async with _sides(context) as (crowd, hand):

        async def watched() -> float:
            crowd.seconds.clear()
            await crowd.pairs(context.scaled(6_400, 640), 64, is_watched=True)
            middles.append(percentile(crowd.seconds, 0.5))
            return percentile(crowd.seconds, 0.99)

        samples = await interleave(
            {"p99": watched, "commit": lambda: hand.commits(context.scaled(1_000, 100))}, context.rounds
        )
    tails = samples["p99"]
    return [
        Figure(
            "p99 of one operation at 64 clients",
            "the clock",
            [seconds * 1e3 for seconds in tails],
            unit="ms",
            at_most=5,
            told={"p50": f"{median(middles) * 1e3:.2f} ms"},
        ),
        Figure(
            "the same p99",
            "one commit of sqlite3 by a lone client",
            ratios(samples, "p99", "commit"),
            told={"commit": f"{median(samples['commit']) * 1e3:.3f} ms"},
        ),
    ]
