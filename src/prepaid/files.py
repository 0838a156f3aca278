"""Files and folders that only their user can read, whatever the umask: they hold users' words and money.

Existing ones keep their rights.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

__all__ = ["make_private", "make_private_folder", "private"]

_FILE: Final = 0o600
_FOLDER: Final = 0o700


def private(path: str, flags: int) -> int:
    """Open a file for ``open(path, "x", opener=private)``; a new one is for its user only."""
    return os.open(path, flags, _FILE)


def make_private(path: Path) -> None:
    """Make an empty file where there is none, to be opened by name afterwards.

    Raises:
        OSError: it cannot be made.
    """
    with contextlib.suppress(FileExistsError), open(path, "xb", opener=private):
        pass


def make_private_folder(folder: Path) -> list[Path]:
    """Make a folder and its missing parents; return those that were made, topmost first."""
    if folder.is_dir():
        return []
    made = make_private_folder(folder.parent)
    folder.mkdir(mode=_FOLDER, exist_ok=True)  # another process may have just made it
    return [*made, folder]
