"""Checks everything, as the README's test command and CI do: style, types, layers, contracts, tests.

    uv run scripts/check.py

Every step runs, whatever the ones before it found; the exit code is 0 only if all of them passed.
Arguments are passed to pytest.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent

WORKERS: Final = ("-n", "2", "--dist", "worksteal")
"""Who is done takes over from who has the long ones."""

COVERED_WHOLE: Final = (
    "ledger",
    "meter",
    "money",
    "pricing",
    "statements",
    "turns",
    "store/lines",
    "store/handlers/account_rows",
    "store/handlers/deposits",
    "store/handlers/holds",
    "store/handlers/lifecycle",
    "store/handlers/money",
    "store/handlers/replay",
)
"""Where money moves, every branch is tested."""


def pattern(room: str) -> str:
    """The files of a room, be it one or a folder of them."""
    path = ROOT / "src" / "prepaid" / room
    if path.is_dir():
        return f"src/prepaid/{room}/*"
    if not path.with_suffix(".py").exists():
        raise SystemExit(f"scripts/check.py: there is no room {room!r}; correct COVERED_WHOLE")
    return f"src/prepaid/{room}.py"


def steps(pytest_arguments: list[str]) -> dict[str, list[str]]:
    """Every step by its name, in the order they are run."""
    # ruff's cache does not notice that an import became somebody else's when a folder was renamed.
    covered = ",".join(map(pattern, COVERED_WHOLE))
    return {
        "format": ["ruff", "format", "--check", "."],
        "lint": ["ruff", "check", "--no-cache", "."],
        "types": ["mypy"],
        "layers": ["lint-imports"],
        "contracts": ["python", "scripts/node.py", "contracts", "test:ci"],
        "contracts' trees": ["python", "scripts/node.py", "contracts", "trees"],
        "contracts' bugs": ["python", "scripts/node.py", "contracts", "mutants:some"],
        "contracts' proofs": ["python", "scripts/analyse_contracts.py", "all"],
        "tests": ["pytest", *WORKERS, "--durations=10", "--cov", "--cov-report=", *pytest_arguments],
        "coverage": ["coverage", "report", "--skip-covered"],
        "coverage of money": ["coverage", "report", f"--include={covered}", "--fail-under=100"],
    }


def run(name: str, command: list[str]) -> bool:
    """Run one step and say how it went and how long it took."""
    print(f"\n=== {name}: {' '.join(command)}", flush=True)
    started = time.monotonic()
    code = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode  # noqa: S603
    print(
        f"=== {name}: {'passed' if code == 0 else f'FAILED ({code})'} in {time.monotonic() - started:.0f} s"
    )
    return code == 0


def main() -> int:
    """All steps; 1 if any failed."""
    # A shell that starts us in the background has interrupts ignored, and what we start would inherit that:
    # tests of Ctrl-C would fail, and nobody could stop us.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The tools stand beside this interpreter, whether or not its environment was activated.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    failed = [name for name, command in steps(sys.argv[1:]).items() if not run(name, command)]
    print(f"\nfailed: {', '.join(failed)}" if failed else "\nall checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
