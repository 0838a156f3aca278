"""The long proof: random steps of state machines, power cuts, kills, every cell. As long as there is a night.

    uv run scripts/nightly.py                      10,000,000 steps, 100,000 images, 1,000 kills, 4,915 cells
    PREPAID_NIGHTLY_STEPS=20000 PREPAID_NIGHTLY_IMAGES=500 PREPAID_NIGHTLY_KILLS=8 uv run scripts/nightly.py
    uv run scripts/nightly.py --replay ledger 7        one portion again

The work is cut into portions, each with a kind and a seed, run side by side in ``PREPAID_NIGHTLY_JOBS``
processes (by default one for each core). Seeds count up from ``PREPAID_NIGHTLY_SEED`` (by default the day's
number, so that every night is another one). A portion that fails is told with its seed and the command that
runs it again, and the others go on; the exit code is 1 then. Steps come again exactly; images and kills as
nearly as threads and processes let them, so broken files are kept in ``PREPAID_NIGHTLY_KEPT``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent

WHOLE: Final = {"steps": 10_000_000, "images": 100_000, "kills": 1_000, "cells": 4_915}
"""Cells: all that there are."""

SHARES: Final = {
    "steps": {"ledger": 75, "sessions": 15, "ledger-postgres": 6, "ledger-lanes": 4},
    "images": {"images": 100},
    "kills": {"kills": 40, "kills-postgres": 40, "kills-server": 20},
    "cells": {"matrix": 100},
}
"""Which kinds of portions make up each count, in per cent."""


class Portion(NamedTuple):
    """What runs in one process; the same again from its kind and seed."""

    kind: str
    seed: int


def wanted(name: str) -> int:
    """How many of these the environment asks for."""
    return int(os.environ.get(f"PREPAID_NIGHTLY_{name.upper()}", WHOLE[name]))


class Night:
    """Portions until everything that is wanted was done."""

    def __init__(self, first_seed: int, jobs: int) -> None:
        self.first_seed = first_seed
        self.jobs = jobs
        self.done: Counter[str] = Counter()
        self.failed: list[Portion] = []
        self._started = time.monotonic()

    def run(self) -> None:
        """All of it."""
        for name, shares in SHARES.items():
            for kind, share in shares.items():
                self._until(kind, self.done[name] + -(-wanted(name) * share // 100), name)
            self._say(f"{self.done[name]:,} {name}")

    def _until(self, kind: str, goal: int, name: str) -> None:
        seeds = count(self.first_seed)
        with ThreadPoolExecutor(self.jobs) as pool:
            while self.done[name] < goal:
                before = self.done[name]
                for portion, told in pool.map(_tried, self._next(kind, seeds)):
                    self._note(portion, told)
                if self.done[name] == before:
                    return  # they all fail, and have said so

    def _next(self, kind: str, seeds: Iterator[int]) -> list[Portion]:
        return [Portion(kind, next(seeds)) for _ in range(self.jobs)]

    def _note(self, portion: Portion, told: subprocess.CompletedProcess[str]) -> None:
        if told.returncode == 0:
            made = json.loads(told.stdout.splitlines()[-1])
            self.done.update(made)
            self._say(f"{portion.kind} {portion.seed}: {made}")
            return
        self.failed.append(portion)
        self._say(f"{portion.kind} {portion.seed} FAILED:\n{told.stdout}{told.stderr}")
        print(f"  again: uv run scripts/nightly.py --replay {portion.kind} {portion.seed}", flush=True)

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._started:7.0f} s  {text}", flush=True)


def _run(portion: Portion, output: int | None) -> subprocess.CompletedProcess[str]:
    tests = ROOT / "tests"
    places = [tests, tests / "properties", tests / "integration"]  # the last two are no packages
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "nightly.portions", portion.kind, str(portion.seed)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places))},
        stdout=output,
        stderr=output,
        text=True,
        check=False,
    )


def _tried(portion: Portion) -> tuple[Portion, subprocess.CompletedProcess[str]]:
    return portion, _run(portion, subprocess.PIPE)


def main() -> int:
    """The night, or one portion of it; 1 if anything failed."""
    match sys.argv[1:]:
        case []:
            pass
        case ["--replay", kind, seed]:
            return _run(Portion(kind, int(seed)), None).returncode
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    today = datetime.now(UTC).date().toordinal() * 1_000
    night = Night(
        int(os.environ.get("PREPAID_NIGHTLY_SEED", today)),
        int(os.environ.get("PREPAID_NIGHTLY_JOBS", os.cpu_count() or 1)),
    )
    print(f"seeds from {night.first_seed}, {night.jobs} at once", flush=True)
    night.run()
    print(", ".join(f"{number:,} {name}" for name, number in night.done.items()))
    for portion in night.failed:
        print(f"failed: uv run scripts/nightly.py --replay {portion.kind} {portion.seed}")
    return 1 if night.failed else 0


if __name__ == "__main__":
    sys.exit(main())
