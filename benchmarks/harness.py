"""How every figure is taken: sides side by side, round after round, and the median of the rounds' ratios.

A machine is never as fast twice, so no number here stands alone. In each round every side runs once, the
order turning from round to round; what is told is the median of the ratios within the rounds.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

Side = Callable[[], Awaitable[float]]
"""Runs once and returns its cost: seconds per operation, or whatever else is compared."""

Samples = dict[str, list[float]]


@dataclass(slots=True)
class Figure:
    """One line of the table. ``values`` are one per round; their median is held against the target."""

    what: str
    against: str
    values: list[float]
    unit: str = "×"
    at_least: float | None = None
    at_most: float | None = None
    told: dict[str, str] = field(default_factory=dict)
    """What stands beside it, for information."""

    @property
    def value(self) -> float:
        return median(self.values)

    @property
    def is_met(self) -> bool:
        if self.at_least is not None and self.value < self.at_least:
            return False
        return self.at_most is None or self.value <= self.at_most

    @property
    def target(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:g} {self.unit}"
        return "" if self.at_most is None else f"≤ {self.at_most:g} {self.unit}"


async def interleave(sides: Mapping[str, Side], rounds: int, warm_ups: int = 1) -> Samples:
    """Every side once a round, each round beginning with another one; the first rounds are not kept."""
    names = list(sides)
    samples: Samples = {name: [] for name in names}
    for number in range(-warm_ups, rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            gc.collect()
            cost = await sides[name]()
            if number >= 0:
                samples[name].append(cost)
    return samples


def ratios(samples: Samples, above: str, below: str) -> list[float]:
    """``above`` / ``below`` of each round."""
    return [a / b for a, b in zip(samples[above], samples[below], strict=True)]


def per_second(samples: Samples, name: str) -> str:
    """The median rate of a side whose samples are seconds per operation."""
    return f"{1 / median(samples[name]):,.0f}/s"


def micros(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} µs"


def percentile(values: list[float], share: float) -> float:
    """The value that ``share`` of all values do not exceed."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


class Watch:
    """Seconds that passed inside ``with``."""

    seconds = 0.0


@contextmanager
def timed():
    watch = Watch()
    started = time.perf_counter()
    yield watch
    watch.seconds = time.perf_counter() - started
