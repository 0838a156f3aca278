"""The matrix by hand: what was billed is charged or booked, in every cell (tests/matrix).

uv run scripts/matrix.py                                       what the check plays, with seed 0
uv run scripts/matrix.py all                                   every cell, some minutes
PREPAID_MATRIX_SEED=7 uv run scripts/matrix.py 2000            other ones
uv run scripts/matrix.py 'chat-stream-left_*'                  those that match
uv run scripts/matrix.py chat-stream-whole-proper-text-stops-asked
uv run scripts/matrix.py mutants                               that it can fail: every mutant, killed by name
uv run scripts/matrix.py mutants believes-zero                 one of them
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent


def main() -> int:
    """Play, in a process that finds the tests."""
    module, arguments = "matrix", sys.argv[1:]
    if arguments[:1] == ["mutants"]:
        module, arguments = "matrix.mutants", arguments[1:]
    if any(argument in {"-h", "--help"} for argument in arguments):
        print(__doc__)
        return 0
    path = os.pathsep.join(part for part in (os.environ.get("PYTHONPATH"), str(ROOT / "tests")) if part)
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
