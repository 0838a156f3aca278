"""Checks everything, as the README's test command and CI do: style, types, layers, contracts, tests.

    uv run scripts/check.py

Every step runs, whatever the ones before it found; the exit code is 0 only if all of them passed.
What keeps one processor busy runs beside what keeps another. The first of them speaks as it goes, the others
when they are done.
Arguments are passed to pytest.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent

WORKERS: Final = ("-n", "2", "--dist", "worksteal")
"""Who is done takes over from who has the long ones."""

OLDEST_POSTGRES: Final = (
    "tests/postgres/test_opening.py",
    "tests/postgres/test_plans.py",
    "tests/postgres/test_writing.py",
    "tests/store/test_holds.py",
)
"""What would notice that something is newer than PostgreSQL 15; all else runs on 18."""

MONEY: Final = tuple(
    tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["coverage"]["run"]["include"]
)
"""Where money moves, every branch is tested. Nothing else is watched: that costs time in every process."""


Steps = dict[str, list[str]]
"""Commands by their names, run one after the other."""


def stages(pytest_arguments: list[str]) -> list[tuple[Steps, ...]]:
    """What is run, stage after stage; within a stage, all lanes at once."""
    contracts = ["python", "scripts/node.py", "contracts"]
    analysis = ["python", "scripts/analyse_contracts.py"]
    if gone := [each for each in MONEY if not list(ROOT.glob(each))]:
        raise SystemExit(f"pyproject.toml: there is no {', '.join(gone)}; correct tool.coverage.run.include")
    static = {
        "format": ["ruff", "format", "--check", "."],
        # ruff's cache does not notice that an import became somebody else's when a folder was renamed.
        "lint": ["ruff", "check", "--no-cache", "."],
        "types": ["mypy"],
        "layers": ["lint-imports"],
        "contracts read": [*analysis, "slither"],
    }
    oldest = ["python", "scripts/postgres_versions.py", "15", "--", *OLDEST_POSTGRES]
    tests = {
        "tests": ["pytest", *WORKERS, "--durations=10", "--cov", "--cov-report=", *pytest_arguments],
        "coverage of money": ["coverage", "report", "--fail-under=100"],
    }
    tested = {
        "contracts tested": [*contracts, "test:ci"],
        "contracts' trees": [*contracts, "trees"],
        "contracts' bugs": [*contracts, "mutants:some"],
    }
    return [
        (static, {"contracts compiled": [*contracts, "build"]}),
        (tested, {"PostgreSQL 15": oldest}),
        # Tests wait now and then, for each other or for a process, and the proofs take what they leave.
        (tests, {"contracts proved": [*analysis, "halmos"]}),
    ]


def run(name: str, command: list[str], *, live: bool) -> bool:
    """Run one step and say how it went and how long it took; ``live``, what it says comes at once."""
    title = f"\n=== {name}: {' '.join(command)}"
    if live:
        print(title, flush=True)
    started = time.monotonic()
    output = None if live else subprocess.PIPE
    done = subprocess.run(  # noqa: S603
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False
    )
    how = "passed" if done.returncode == 0 else f"FAILED ({done.returncode})"
    said = [] if live else [title, done.stdout.decode(errors="replace")]
    print("\n".join([*said, f"=== {name}: {how} in {time.monotonic() - started:.0f} s"]), flush=True)
    return done.returncode == 0


def run_lane(steps: Steps, *, live: bool) -> list[str]:
    """Run steps one after the other; the names of those that failed."""
    return [name for name, command in steps.items() if not run(name, command, live=live)]


def main() -> int:
    """All steps; 1 if any failed."""
    # A shell that starts us in the background has interrupts ignored, and what we start would inherit that:
    # tests of Ctrl-C would fail, and nobody could stop us.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The tools stand beside this interpreter, whether or not its environment was activated.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    failed: list[str] = []
    for lanes in stages(sys.argv[1:]):
        with ThreadPoolExecutor() as pool:
            running = [pool.submit(run_lane, steps, live=steps is lanes[0]) for steps in lanes]
            failed += [name for lane in running for name in lane.result()]
    print(f"\nfailed: {', '.join(failed)}" if failed else "\nall checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
