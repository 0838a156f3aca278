"""Files and folders for their user only, whatever the umask: what we keep is what users asked and own.

What is there already keeps the rights that it has.
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
    """Opens a file as ``open(path, "x", opener=private)`` has it, and a new one for its user only."""
    return os.open(path, flags, _FILE)


def make_private(path: Path) -> None:
    """Make a file, empty, where there is none, for whoever opens it next by its name.

    Raises:
        OSError: it cannot be made.
    """
    with contextlib.suppress(FileExistsError), open(path, "xb", opener=private):
        pass


def make_private_folder(folder: Path) -> list[Path]:
    """Make a folder and those above it that are missing; all that were made, from above."""
    if folder.is_dir():
        return []
    made = make_private_folder(folder.parent)
    folder.mkdir(mode=_FOLDER, exist_ok=True)  # another process may have just made it
    return [*made, folder]
