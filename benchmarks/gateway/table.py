"""The whole table in one run: rates, CPU, latencies, first events and memory of all sides, round after round."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from statistics import median

from benchmarks.context import Context
from benchmarks.filling import opened_store
from benchmarks.gateway import load
from benchmarks.gateway.sides import OTHER_CORE, Side, sides
from benchmarks.harness import Figure, Samples
from prepaid.audit import audit

OURS, DIRECT = "prepaid", "direct"
CLIENTS = 64
_METRICS = ("rate", "cpu", "p99", "p50", "first", "memory")


async def run(context: Context) -> list[Figure]:
    """In a thread, because everything here waits for other processes."""
    return await asyncio.to_thread(_run, context)


def _run(context: Context) -> list[Figure]:
    load.check_wrk()
    before = os.sched_getaffinity(0)
    if not {0, 1} <= before:
        raise RuntimeError("the gateway has core 0 to itself and all others core 1; this machine has less")
    os.sched_setaffinity(0, {OTHER_CORE})
    try:
        with context.folder() as folder:
            with sides(folder, context.say) as found:
                samples = _rounds(context, folder, found)
            told = asyncio.run(_audited(folder / "gateway.db"))
            context.say(told)
    finally:
        os.sched_setaffinity(0, before)
    return _figures(samples)


def _rounds(context: Context, folder: Path, found: dict[str, Side]) -> dict[str, Samples]:
    """``samples[metric][side]``, one a round; the first round warms up and is not kept."""
    samples: dict[str, Samples] = {metric: {name: [] for name in found} for metric in _METRICS}
    for side in found.values():
        load.first_event_ms(side, 3)  # some take seconds for their first request
    names = list(found)
    for number in range(-1, context.rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            measured = _measured(context, folder, found[name])
            if number >= 0:
                for metric, value in measured.items():
                    samples[metric][name].append(value)
        context.say(f"round {number + 1} of {context.rounds}")
    return samples


def _measured(context: Context, folder: Path, side: Side) -> dict[str, float]:
    one = _burst(side, folder, 1, context.scaled(3))
    first = load.first_event_ms(side, context.scaled(30))
    cpu = side.cpu_seconds()
    many = _burst(side, folder, CLIENTS, context.scaled(8, least=4))
    cpu = side.cpu_seconds() - cpu
    side.wait_until_idle()  # what the burst has left behind must not fall to the next
    return {
        "rate": many.per_second,
        "cpu": cpu / many.requests * 1e3,
        "p99": many.p99_ms,
        "p50": one.p50_ms,
        "first": first,
        "memory": side.resident_mb(),
    }


def _burst(side: Side, folder: Path, clients: int, seconds: int) -> load.Load:
    found = load.burst(side, folder, clients, seconds)
    if not found.requests:  # a peer that takes longer for one answer than the burst lasts
        found = load.burst(side, folder, clients, 8 * seconds)
    if found.failed or not found.requests:
        raise RuntimeError(f"{side.name}: {found.failed} of {found.requests} requests failed")
    return found


async def _audited(database: Path) -> str:
    """What was measured must also have been paid for.

    Raises:
        RuntimeError: the books do not add up.
    """
    async with opened_store(database) as store:
        report = audit(store.reads)
        account = store.reads.accounts("", 1)[0]
    if not report.is_clean:
        raise RuntimeError(str(report))
    return f"{report}; spent {account.spent}, held {account.held}"


def _figures(samples: dict[str, Samples]) -> list[Figure]:
    def figure(what: str, metric: str, unit: str, digits: int, **target: float) -> Figure:
        return Figure(
            what, "absolute", samples[metric][OURS], unit, **target, told=_told(samples[metric], unit, digits)
        )

    def added(what: str, metric: str, **target: float) -> Figure:
        above = {name: _above(samples[metric], name) for name in samples[metric] if name != DIRECT}
        told = _told(above, "ms", 2)
        return Figure(what, "asked directly", above[OURS], "ms", **target, told=told)

    return [
        figure(
            "requests a second on one core, 64 clients, hold and capture durable",
            "rate",
            "/s",
            0,
            at_least=2_000,
        ),
        figure("CPU of a request, 64 clients", "cpu", "ms", 2, at_most=0.45),
        added("p50 added, 1 client", "p50", at_most=1),
        added("p99 added, 64 clients", "p99", at_most=60),
        added("first streamed event added, 1 client", "first", at_most=1),
        figure("resident memory of a worker", "memory", "MB", 0, at_most=100),
        Figure(
            "memory grown from the first round to the last",
            "absolute",
            _growth(samples["memory"]),
            "MB",
            at_most=10,
        ),
    ]


def _above(samples: Samples, name: str) -> list[float]:
    return [side - direct for side, direct in zip(samples[name], samples[DIRECT], strict=True)]


def _growth(samples: Samples) -> list[float]:
    return [samples[OURS][-1] - samples[OURS][0]]


def _told(samples: Samples, unit: str, digits: int) -> dict[str, str]:
    return {
        name: f"{median(values):,.{digits}f} {unit}"
        for name, values in samples.items()
        if name != OURS and any(values)
    }
