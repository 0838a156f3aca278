"""A disk that can lose its power at any moment, below SQLite: what would be there after the reboot?

``PowerCut`` is a VFS over the ordinary one. SQLite works on real files in a temporary directory; beside them the
disk remembers, for every file, what is *durable* and what was written or truncated since the file's last sync.
``cut`` draws one of the states a power cut at this moment could leave and writes it to another directory, where
the ordinary VFS opens and recovers it. The workload goes on meanwhile, so one run gives as many images as wanted.

    with PowerCut(seed=7) as disk:
        ledger = open_store(disk.path("x.db"), vfs=disk.vfs_name)
        ...
        image = disk.cut(tmp_path / "after")      # any thread, or inside ``disk.before``
        recovered = open_store(image.path("x.db"))

What a cut may do
    Everything synced is there. Of a file's writes and truncates since, it keeps none, all, a prefix with its last
    write torn, or any subset in any order, each write possibly torn between sectors of 512 bytes. A file may have
    grown without its data; the gap then reads as zeros or as garbage. Files are drawn independently.
    Directory entries are metadata of their own: a file created or deleted since the directory's last sync may be
    there or not, each name drawn independently. As in SQLite's unix VFS, the directory is synced by the first sync
    of a journal or WAL handle that was opened to create it, and by a delete that asks for it, never by the
    database file.

Simplifications
    Harsher than most disks, so that what survives here survives there: no order between unsynced operations, not
    even between those on one sector or between directory entries; syncing a new file does not save its name.
    Kinder than some: a sector is old or new, never a mixture, and bytes that a write does not touch are never
    damaged (SQLite's "powersafe overwrite", its default assumption on unix); a sync takes effect in one instant;
    no bit rots and no sync lies.
    ``-shm`` is left out of images: it is never synced, and SQLite rebuilds it on the first open. No real sync is
    issued. Only connections in this process, through this VFS, are seen.

A ``before`` that raises makes the operation fail as SQLite sees it. If that operation is a sync, the disk behaves
as Linux does (fsync reports an error once): what was pending is settled then and there, some of it kept and the
rest gone for good, though reads still show it and the next sync succeeds.
"""

# ruff: noqa: N802  SQLite names the methods of a VFS
from __future__ import annotations

import itertools
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, Literal, Self

import apsw

from .survival import Inode, Truncate, Write, survivors

__all__ = ["Image", "Moment", "PowerCut", "Step"]

_PASSING: Final = (
    apsw.SQLITE_OPEN_TEMP_DB
    | apsw.SQLITE_OPEN_TEMP_JOURNAL
    | apsw.SQLITE_OPEN_TRANSIENT_DB
    | apsw.SQLITE_OPEN_SUBJOURNAL
    | apsw.SQLITE_OPEN_DELETEONCLOSE
)
_JOURNALS: Final = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL
_CHARACTERISTICS: Final = apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE | apsw.SQLITE_IOCAP_SUBPAGE_READ
_UNSEEN_CHANGES: Final = {apsw.SQLITE_FCNTL_SIZE_HINT, apsw.SQLITE_FCNTL_CHUNK_SIZE}
_serial: Final = itertools.count(1)

Kind = Literal["create", "write", "truncate", "sync", "delete"]


@dataclass(frozen=True, slots=True)
class Step:
    """One operation on the disk, about to happen; ``size`` is a write's length or a truncate's new size."""

    number: int
    kind: Kind
    file: str
    offset: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Image:
    """One state after a power cut, as real files; ``kept`` says per file what was drawn."""

    directory: Path
    seed: int
    number: int
    draw: int
    kept: dict[str, str]

    def path(self, name: str) -> Path:
        return self.directory / name

    def __str__(self) -> str:
        drawn = "; ".join(f"{name}: {story}" for name, story in sorted(self.kept.items()))
        return f"PowerCut(seed={self.seed}), moment {self.number}, draw {self.draw} ({drawn})"


@dataclass(frozen=True, slots=True)
class Moment:
    """All that a power cut at one moment could leave; cheap to take, and good for any number of images."""

    seed: int
    number: int
    names: dict[str, tuple[Inode | None, ...]]

    def image(self, directory: Path, draw: int = 0) -> Image:
        """Write one possible state to ``directory``, replacing an earlier image's; another ``draw``, another state."""
        rng = Random(f"{self.seed}/{self.number}/{draw}")
        directory.mkdir(parents=True, exist_ok=True)
        for old in directory.iterdir():
            if old.name.startswith(tuple(self.names)):
                old.unlink()
        kept: dict[str, str] = {}
        for name in sorted(self.names):
            versions = self.names[name]
            inode = versions[rng.randrange(len(versions))]
            if inode is None:
                kept[name] = "no such file"
                continue
            content, kept[name] = survivors(inode, rng)
            directory.joinpath(name).write_bytes(content)
        return Image(directory, self.seed, self.number, draw, kept)


class PowerCut:
    """A disk whose every possible power cut can be looked at; a context manager.

    ``directory`` is where the disk's files live, a temporary one unless given. Files already in it are durable, so
    an image's directory can be given to a second ``PowerCut``, to cut the power during recovery.
    ``before`` is called, without any lock held, before each operation takes effect; it may call ``cut``.
    ``steps`` counts the operations so far.
    """

    def __init__(
        self,
        seed: int,
        directory: Path | None = None,
        before: Callable[[Step], None] | None = None,
    ) -> None:
        self.seed = seed
        self.before = before
        self.steps = 0
        self.vfs_name = f"power-cut-{next(_serial)}"
        self._temporary = directory is None
        # Resolved, because SQLite resolves links in the names it opens.
        self.directory = (directory or Path(tempfile.mkdtemp(prefix="power-cut-"))).resolve()
        self._moments = itertools.count()
        self._names: dict[str, list[Inode | None]] = {}  # per name its durable version, then those since
        self._lock = threading.RLock()
        self._vfs: _Vfs | None = None

    def __enter__(self) -> Self:
        for found in self.directory.iterdir():
            if not found.name.endswith("-shm"):
                self._names[found.name] = [Inode(bytearray(found.read_bytes()))]
        self._vfs = _Vfs(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._vfs is not None:
            self._vfs.unregister()
        if self._temporary:
            shutil.rmtree(self.directory)

    def path(self, name: str) -> Path:
        return self.directory / name

    def moment(self) -> Moment:
        """This moment, to draw images from at leisure; moments are numbered from 0, and seed their own draws."""
        with self._lock:
            copies: dict[int, Inode] = {}
            names = {
                name: tuple(
                    None if inode is None else copies.setdefault(id(inode), inode.copy())
                    for inode in versions
                )
                for name, versions in self._names.items()
            }
            return Moment(self.seed, next(self._moments), names)

    def cut(self, directory: Path) -> Image:
        """One state that a power cut now could leave, as files in ``directory``."""
        return self.moment().image(directory)

    # What the VFS reports

    def step(self, kind: Kind, file: str, offset: int = 0, size: int = 0) -> None:
        with self._lock:
            self.steps += 1
            step = Step(self.steps, kind, file, offset, size)
        if self.before is not None:
            self.before(step)

    def opened(self, name: str) -> Inode:
        """The file that is about to be opened, created if need be."""
        with self._lock:
            versions = self._names.setdefault(name, [None])
            if versions[-1] is None:
                versions.append(Inode(bytearray()))
            inode = versions[-1]
        assert inode is not None
        return inode

    def exists(self, name: str) -> bool:
        with self._lock:
            return self._names.get(name, [None])[-1] is not None

    def deleted(self, name: str, *, synced: bool) -> None:
        with self._lock:
            self._names.setdefault(name, [None]).append(None)
            if synced:
                self.directory_synced()

    def directory_synced(self) -> None:
        with self._lock:
            for versions in self._names.values():
                del versions[:-1]

    def noted(self, inode: Inode, operation: Write | Truncate) -> None:
        with self._lock:
            inode.pending.append(operation)

    def synced(self, inode: Inode) -> None:
        with self._lock:
            inode.settle()

    def sync_failed(self, inode: Inode) -> None:
        with self._lock:
            rng = Random(f"{self.seed}/failed sync/{self.steps}")
            inode.durable, _ = survivors(inode, rng)
            inode.pending.clear()


class _Vfs(apsw.VFS):
    """The ordinary VFS, reporting to the disk."""

    def __init__(self, disk: PowerCut) -> None:
        self._disk = disk
        super().__init__(disk.vfs_name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        if name is None or flags[0] & _PASSING:
            return apsw.VFSFile("", name, flags)
        path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name)
        assert path.parent == self._disk.directory, f"{path} is not on {self._disk.directory}"
        if not self._disk.exists(path.name):
            if not flags[0] & apsw.SQLITE_OPEN_CREATE:
                return apsw.VFSFile("", name, flags)  # which fails as it should
            self._disk.step("create", path.name)
        return _File(self._disk, name, path.name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        name = Path(filename).name
        self._disk.step("delete", name)
        super().xDelete(filename, False)
        self._disk.deleted(name, synced=syncdir)


class _File(apsw.VFSFile):
    """An ordinary file, shared memory and locks included, whose changes are reported to the disk."""

    def __init__(self, disk: PowerCut, given: str | apsw.URIFilename, name: str, flags: list[int]) -> None:
        self._disk, self._name = disk, name
        self._syncs_directory = bool(flags[0] & apsw.SQLITE_OPEN_CREATE and flags[0] & _JOURNALS)
        super().__init__("", given, flags)
        self._inode = disk.opened(name)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.step("write", self._name, offset, len(data))
        super().xWrite(data, offset)
        self._disk.noted(self._inode, Write(offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        self._disk.step("truncate", self._name, size=newsize)
        super().xTruncate(newsize)
        self._disk.noted(self._inode, Truncate(newsize))

    def xSync(self, flags: int) -> None:
        try:
            self._disk.step("sync", self._name)
        except BaseException:
            self._disk.sync_failed(self._inode)
            raise
        self._disk.synced(self._inode)
        if self._syncs_directory:
            self._syncs_directory = False
            self._disk.directory_synced()

    def xDeviceCharacteristics(self) -> int:
        return super().xDeviceCharacteristics() & _CHARACTERISTICS

    def xFileControl(self, op: int, ptr: int) -> bool:
        # Would change the file's size below us; nothing depends on them.
        return op in _UNSEEN_CHANGES or super().xFileControl(op, ptr)
