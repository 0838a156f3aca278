"""``prepaid`` on a disk that is full while there is a file ``full`` in the working directory."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import apsw

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.fullness import FaultyDisk
from prepaid.cli import main


def obey(disk: FaultyDisk) -> None:
    """Be as full as the file says; ``is-full`` and ``is-free`` tell that it was seen."""
    was_full = False
    while True:
        is_full = Path("full").exists()
        if is_full != was_full:
            was_full = is_full
            if is_full:
                disk.fill(of="-wal")
            else:
                disk.release()
            Path("is-full" if is_full else "is-free").touch()
        time.sleep(0.01)


with FaultyDisk(
    base=apsw.vfs_names()[0]
) as disk:  # as the default, it must not look for the default below it
    apsw.set_default_vfs(disk.vfs_name)
    threading.Thread(target=obey, args=(disk,), daemon=True).start()
    main()
