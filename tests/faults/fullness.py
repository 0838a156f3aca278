"""Disks that are full, or whose syncs fail, below SQLite, until they are told to recover.

``FaultyDisk`` is a VFS over the ordinary one, or over another: ``FaultyDisk(base=power_cut.vfs_name)`` is a disk
that can be full and lose its power. Only what SQLite writes through a file is refused: opening, deleting and
truncating always work, and so does the shared memory of WAL, which the ordinary VFS maps by itself.

Harsher than a real disk in one way: apsw raises what its VFS raised even where SQLite ignores the error. SQLite
ignores a failed automatic checkpoint, after a COMMIT that succeeded, and the one of the last ``close``; here both
raise, ``execute("COMMIT")`` although the transaction is committed. A test that means to fail commits says
``of="-wal"``; one that means to fail checkpoints says ``of=".db"``, with ``wal_autocheckpoint=0`` and its own
``wal_checkpoint()``. The same is true of a ``PowerCut.before`` that raises.
"""

# ruff: noqa: N802  SQLite names the methods of a VFS
from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Final, Self

import apsw

__all__ = ["FaultyDisk"]

_serial: Final = itertools.count(1)


class FaultyDisk:
    """A disk that runs full or fails to sync on demand; a context manager.

    ``refused_writes`` and ``failed_syncs`` count what SQLite was told, so that a test knows its fault was met.
    """

    def __init__(self, base: str = "") -> None:
        self.vfs_name = f"faulty-disk-{next(_serial)}"
        self.refused_writes = 0
        self.failed_syncs = 0
        self._base = base
        self._lock = threading.Lock()
        self._free_bytes: int | None = None
        self._full_suffix = ""
        self._syncs_to_fail: float = 0
        self._failing_suffix = ""
        self._vfs: _Vfs | None = None

    def __enter__(self) -> Self:
        self._vfs = _Vfs(self, self._base)
        return self

    def __exit__(self, *_: object) -> None:
        if self._vfs is not None:
            self._vfs.unregister()

    def fill(self, after_bytes: int = 0, *, of: str = "") -> None:
        """Refuse writes with ``SQLITE_FULL`` after this many more bytes, to files whose names end in ``of``.

        Overwriting counts too, as on a disk that copies on write. The write that does not fit is done as far as it
        does, as POSIX allows.
        """
        with self._lock:
            self._free_bytes, self._full_suffix = after_bytes, of

    def release(self) -> None:
        """Have room again."""
        with self._lock:
            self._free_bytes = None

    def fail_syncs(self, times: float = float("inf"), *, of: str = "") -> None:
        """Fail the next syncs with ``SQLITE_IOERR_FSYNC``, of files whose names end in ``of`` (``"-wal"``)."""
        with self._lock:
            self._syncs_to_fail, self._failing_suffix = times, of

    def heal(self) -> None:
        """Let syncs succeed again."""
        self.fail_syncs(0)

    # What the VFS asks

    def room_for(self, name: str, wanted_bytes: int) -> int:
        """How many of these bytes fit; they are taken."""
        with self._lock:
            if self._free_bytes is None or not name.endswith(self._full_suffix):
                return wanted_bytes
            fitting = min(self._free_bytes, wanted_bytes)
            self._free_bytes -= fitting
            self.refused_writes += fitting < wanted_bytes
            return fitting

    def sync_fails(self, name: str) -> bool:
        with self._lock:
            fails = self._syncs_to_fail > 0 and name.endswith(self._failing_suffix)
            self._syncs_to_fail -= fails
            self.failed_syncs += fails
            return fails


class _Vfs(apsw.VFS):
    """The VFS below, except that the disk may refuse."""

    def __init__(self, disk: FaultyDisk, base: str) -> None:
        self._disk, self._base = disk, base
        super().__init__(disk.vfs_name, base)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return _File(self._disk, self._base, name, flags)


class _File(apsw.VFSFile):
    def __init__(
        self, disk: FaultyDisk, base: str, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        self._disk = disk
        self._name = Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "").name
        super().__init__(base, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        fitting = self._disk.room_for(self._name, len(data))
        if fitting:
            super().xWrite(data[:fitting], offset)
        if fitting < len(data):
            raise apsw.exception_for(apsw.SQLITE_FULL)

    def xSync(self, flags: int) -> None:
        if self._disk.sync_fails(self._name):
            raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)
        super().xSync(flags)
