"""Backups: one portable file, a SQLite database of prepaid's, whichever database it was made from."""

from __future__ import annotations

import os
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import apsw

from prepaid.audit import Finding
from prepaid.errors import NotFoundError, StoreCorrupted, StoreNotEmpty
from prepaid.moving.carrying import (
    CARRIED,
    Carried,
    carry,
    content_of,
    digest_of,
    refuse_contradictions,
    refuse_difference,
    refuse_unkept,
)
from prepaid.moving.places import Watch, check, unwatched
from prepaid.store.moves import Mark, Stage, moved
from prepaid.store.sqlite.connection import open_reader, translated
from prepaid.store.sqlite.place import SqlitePlace, copy_pages
from prepaid.store.tables import Place

__all__ = ["Backup", "backup", "restore"]


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that is the same as the database was at one moment; findings are what was wrong with both."""

    file: Path
    bytes: int
    rows: int
    findings: tuple[Finding, ...]


def backup(source: Place, file: Path, watch: Watch = unwatched) -> Backup:
    """Copy everything as of one moment into ``file``, while others go on writing, and compare.

    The file has its name only once it is whole, verified and on disk. It is for its user only.

    Raises:
        StoreNotEmpty: there is such a file.
        StoreMoved: the database is not in use: it is part of a move.
        StoreCorrupted: the copy is not the same.
    """
    if file.exists():
        raise StoreNotEmpty(str(file))
    mark = source.mark()
    if mark is not None and mark.stage is not Stage.ARRIVED:
        raise moved(source.name, mark.stage, mark.peer)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f"{file.name}.", suffix=".partial")
    os.close(handle)
    partial = Path(name)
    try:
        findings, rows = _written(source, partial, watch)
        size = _named(partial, file)
    except BaseException:
        _clear(partial)
        raise
    return Backup(file, size, rows, findings)


def restore(file: Path, target: Place, watch: Watch = unwatched) -> Carried:
    """Carry a backup into an empty database and compare; after a crash, the same again goes on.

    The file is left as it is; one of an earlier version is brought to this one in a copy of it, in the
    directory for temporary files.

    Raises:
        NotFoundError: there is no such file.
        StoreNotEmpty: the target has something in it that this backup did not bring.
        StoreCorrupted: the file is damaged, no backup or half of one, or the two sides differ.
    """
    if not file.is_file():
        raise NotFoundError(f"There is no file {file}.", remedy="Name one that prepaid backup made.")
    with tempfile.TemporaryDirectory(prefix="prepaid-restore-") as folder:
        copy = Path(folder) / "copy.db"
        with translated(file), closing(open_reader(file)) as reader:
            _refuse_empty(file, reader)
            copy_pages(reader, copy, lambda _: None)
        source = SqlitePlace(copy)
        try:
            source.name = str(file)
            return _restored(source, target, watch)
        finally:
            source.close()


def _restored(source: SqlitePlace, target: Place, watch: Watch) -> Carried:
    _refuse_half(source)
    refuse_contradictions(source, watch)
    refuse_unkept(source, target, watch)
    with source.snapshot():
        content = content_of(source, watch)
    move_id = f"restore {digest_of(content)}"
    mark = target.mark()
    if mark is None or (mark.move_id, mark.stage) != (move_id, Stage.ARRIVING):
        if not target.is_empty():
            raise StoreNotEmpty(target.name)
        target.receive(Mark(move_id, Stage.ARRIVING, source.name))
    carried = carry(source, target, move_id, watch)
    target.advance(move_id, Stage.ARRIVED)
    return carried


def _refuse_empty(file: Path, reader: apsw.Connection) -> None:
    """Nothing, unless there is not even a table in it: opening it would make an empty database of it."""
    if not reader.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall():
        raise StoreCorrupted(
            f"There is nothing in the file {file}: whoever made it was cut off.",
            remedy="Make the backup again, or name one that is whole.",
        )


def _refuse_half(source: SqlitePlace) -> None:
    """Nothing, unless the file was still being filled when whoever filled it was cut off."""
    mark = source.mark()
    if mark is not None and mark.stage is Stage.ARRIVING:
        raise StoreCorrupted(
            f"The file {source.name} was cut off while it was filled from {mark.peer}: not all is in it.",
            remedy="Make the backup again, or name one that is whole.",
        )


def _written(source: Place, partial: Path, watch: Watch) -> tuple[tuple[Finding, ...], int]:
    """What was found wrong with the copy, and how many rows it has."""
    if isinstance(source, SqlitePlace):
        return _copied(source, partial, watch)
    target = SqlitePlace(partial)
    try:
        target.receive(Mark("backup", Stage.ARRIVING, source.name))
        carried = carry(source, target, "backup", watch)
        target.reopen()
        target.seal()
    finally:
        target.close()
    return (), carried.rows


def _copied(source: SqlitePlace, partial: Path, watch: Watch) -> tuple[tuple[Finding, ...], int]:
    with source.snapshot():
        with watch("Copying", source.page_count()) as advance:
            source.copy_into(partial, advance)
        target = SqlitePlace(partial)
        try:
            target.reopen()
            here = content_of(source, watch)
            with target.snapshot():
                refuse_difference(source, here, target, content_of(target, watch))
            report = check(target, watch)
            rows = sum(source.count(table) for table in CARRIED)
            target.seal()
        finally:
            target.close()
    return report.findings, rows


def _named(partial: Path, file: Path) -> int:
    """Give the file its name, on disk; how many bytes it has."""
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    if file.exists():  # since the backup began
        raise StoreNotEmpty(str(file))
    partial.rename(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return file.stat().st_size


def _clear(partial: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        partial.with_name(partial.name + suffix).unlink(missing_ok=True)
