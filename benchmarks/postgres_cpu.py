"""What a hold and its capture cost in CPU on PostgreSQL: of whoever asks, and of the database. See ``postgres``.

CPU is counted, not timed, but a machine that does other things makes it dearer: caches are shared.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

from benchmarks.context import Context
from benchmarks.gateway.sides import cpu_seconds, ended_cpu_seconds
from benchmarks.harness import Figure, interleave, micros
from benchmarks.postgres import CLIENTS, Hand, sides
from postgres_server import OwnServer

FEWER = 256
Costs = list[tuple[float, float]]
"""CPU seconds of a pair, in each round: of whoever asks, of the database."""


async def run(context: Context) -> list[Figure]:
    async with sides(context) as (crowd, hand):
        ours, theirs = context.scaled(20_480, CLIENTS), context.scaled(6_400, 640)
        two, one = await hand.best("two", theirs), await hand.best("one", theirs)
        work: dict[str, tuple[int, Callable[[], Awaitable[float]]]] = {
            f"{CLIENTS:,} clients": (ours, lambda: crowd.pairs(ours, CLIENTS)),
            f"{FEWER} clients": (ours, lambda: crowd.pairs(ours, FEWER)),
            f"pgbench, both in one function, {one} clients": (theirs, lambda: hand.pairs("one", theirs, one)),
            f"pgbench, each in a function, {two} clients": (theirs, lambda: hand.pairs("two", theirs, two)),
        }
        costs: dict[str, Costs] = {name: [] for name in work}
        watched = {name: _watched(hand, *each, costs[name]) for name, each in work.items()}
        await interleave(watched, context.rounds)
    return [_figure(name, found[-context.rounds :]) for name, found in costs.items()]


def _watched(
    hand: Hand, pairs: int, work: Callable[[], Awaitable[float]], costs: Costs
) -> Callable[[], Awaitable[float]]:
    """The work, its CPU noted."""

    async def watched() -> float:
        before = _asker(), _server(hand.server)
        seconds = await work()
        after = _asker(), _server(hand.server)
        costs.append(((after[0] - before[0]) / pairs, (after[1] - before[1]) / pairs))
        return seconds

    return watched


def _figure(name: str, costs: Costs) -> Figure:
    asker, database = zip(*costs, strict=True)
    return Figure(
        f"CPU of a hold and its capture on PostgreSQL: {name}",
        "counted",
        [sum(each) * 1e6 for each in costs],
        unit="µs",
        told={"who asks": micros(median(asker)), "the database": micros(median(database))},
    )


def _asker() -> float:
    """Of this process, and of every pgbench that has ended."""
    return sum(os.times()[:4])


def _server(server: OwnServer) -> float:
    """Of the server's processes, those that have ended included."""
    pid = server.process.pid
    while True:
        living = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        try:
            return ended_cpu_seconds(pid) + sum(cpu_seconds(int(each)) for each in [pid, *living])
        except FileNotFoundError:  # one has ended meanwhile
            continue
