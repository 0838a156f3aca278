"""``python -c "import prepaid"`` against ``python -c pass``, each a new process, byte code compiled.

Beside it ``from prepaid import SessionManager``, which loads what a program really uses: names are loaded
when they are first asked for, so the import alone says little.
"""

from __future__ import annotations

import subprocess
import sys
from statistics import median

from benchmarks.context import Context
from benchmarks.harness import Figure, Samples, interleave, ratios, timed

PROGRAMS = {
    "pass": "pass",
    "import": "import prepaid",
    "manager": "from prepaid import SessionManager",
}


async def run(context: Context) -> list[Figure]:
    sides = {name: lambda program=program: _start(program) for name, program in PROGRAMS.items()}
    samples = await interleave(sides, context.rounds * 2, warm_ups=2)
    nothing = f"{median(samples['pass']) * 1e3:.0f} ms"
    return [
        Figure(
            "import prepaid, the whole process",
            "the clock",
            _milliseconds(samples, "import"),
            unit="ms",
            at_most=150,
            told={"python -c pass": nothing},
        ),
        Figure("the same", "python -c pass", ratios(samples, "import", "pass")),
        Figure(
            "from prepaid import SessionManager, the whole process",
            "the clock",
            _milliseconds(samples, "manager"),
            unit="ms",
            told={"python -c pass": nothing},
        ),
    ]


async def _start(program: str) -> float:
    with timed() as watch:
        subprocess.run([sys.executable, "-c", program], check=True)
    return watch.seconds


def _milliseconds(samples: Samples, name: str) -> list[float]:
    return [seconds * 1e3 for seconds in samples[name]]
