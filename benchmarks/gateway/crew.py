"""Two gateway processes on one PostgreSQL against one, all on this machine's cores, and what they are spent on.

Each process serves clients and a session of its own. Where the cores are used up, two cannot serve twice as much;
then what a request costs all of them together says what two would serve with cores of their own.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.context import Context
from benchmarks.gateway import load
from benchmarks.gateway.sides import Side, cpu_seconds, postgres_sides
from benchmarks.harness import Figure
from benchmarks.postgres import SERVER, Databases, OwnServer
from prepaid import SessionManager
from prepaid.audit import audit
from prepaid.store.postgres.store import PostgresStore

CLIENTS = 64
"""Of each process."""


@dataclass(frozen=True)
class Burst:
    """What came of one, and what a request took of a core, in seconds."""

    rate: float
    gateways: float
    database: float
    cores: float
    """How many were busy, with clients and upstream."""


async def run(context: Context) -> list[Figure]:
    """In a thread, because everything here waits for other processes."""
    return await asyncio.to_thread(_run, context)


def _run(context: Context) -> list[Figure]:
    load.check_wrk()
    with context.folder() as folder, ExitStack() as stack:
        server = OwnServer(**SERVER)
        stack.callback(server.stop)
        url = Databases(server.url).new()
        keys = asyncio.run(_funded(url))
        sides = postgres_sides(stack, folder, url, keys)
        ones: list[Burst] = []
        twos: list[Burst] = []
        for number in range(-1, context.rounds):
            turns = [(ones, sides[:1]), (twos, sides)]
            for kept, asked in turns if number % 2 else reversed(turns):
                burst = _burst(asked, server, folder, context.scaled(6, least=3))
                if number >= 0:
                    kept.append(burst)
            context.say(f"round {number + 1} of {context.rounds}")
        context.say(asyncio.run(_audited(url)))
    return _figures(ones, twos)


async def _funded(url: str) -> dict[str, str]:
    async with SessionManager(url) as manager:
        return {
            name: (await manager.create_session("bench", "1000000 USD")).api_key
            for name in ("first", "second")
        }


def _burst(sides: list[Side], server: OwnServer, folder: Path, seconds: int) -> Burst:
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    before = _spent(sides, server)
    with ThreadPoolExecutor() as pool:
        loads = list(pool.map(lambda side: load.burst(side, folder, CLIENTS, seconds, cores), sides))
    after = _spent(sides, server)
    if failed := sum(each.failed for each in loads):
        raise RuntimeError(f"{failed} requests failed")
    requests = sum(each.requests for each in loads)
    gateways, database, busy = (b - a for a, b in zip(before, after, strict=True))
    return Burst(
        rate=sum(each.per_second for each in loads),
        gateways=gateways / requests,
        database=database / requests,
        cores=busy / seconds,
    )


def _spent(sides: list[Side], server: OwnServer) -> tuple[float, float, float]:
    """CPU seconds so far: of the gateways, of the database, of the whole machine."""
    pid = server.process.pid
    backends = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    ticks = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]))
    busy = (sum(ticks[:8]) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
    return sum(side.cpu_seconds() for side in sides), sum(map(cpu_seconds, [pid, *backends])), busy


async def _audited(url: str) -> str:
    """Raises: RuntimeError, where the books do not add up."""
    store = PostgresStore(url)
    try:
        report = await store.report(audit)
    finally:
        await store.aclose()
    if not report.is_clean:
        raise RuntimeError(str(report))
    return str(report)


def _figures(ones: list[Burst], twos: list[Burst]) -> list[Figure]:
    def told(bursts: list[Burst]) -> str:
        return f"{median(each.rate for each in bursts):,.0f}/s on {median(each.cores for each in bursts):.1f} cores"

    def millis(seconds: list[float]) -> str:
        return f"{median(seconds) * 1e3:.2f} ms"

    pairs = list(zip(ones, twos, strict=True))
    what = f"two gateway processes on one PostgreSQL, {CLIENTS} clients and a session each"
    return [
        Figure(
            f"{what}, on {len(os.sched_getaffinity(0))} cores that they share with everything else",
            "one",
            [two.rate / one.rate for one, two in pairs],
            told={"one": told(ones), "two": told(twos)},
        ),
        Figure(
            "the same with a core for each process: what a request costs gateway and database, twice over",
            "one",
            [2 * (one.gateways + one.database) / (two.gateways + two.database) for one, two in pairs],
            at_least=1.8,
            told={
                "gateway": f"{millis([two.gateways for two in twos])} a request",
                "database": f"{millis([two.database for two in twos])} a request",
                "a core of the database serves": f"{1 / median(two.database for two in twos):,.0f}/s",
            },
        ),
    ]
