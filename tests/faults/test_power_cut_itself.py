"""The power-cut simulator can tell: what is safe loses nothing on it, and what is not safe is caught."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import apsw
import pytest

from .power_cut import Image, PowerCut, Step
from .survival import SECTOR_BYTES, Inode, Truncate, Write, survivors

SEED = 20_261
ROWS = 60
IMAGES = 300
CHECKPOINT_PAGES = 12  # several checkpoints per run
FILE = [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_READWRITE, 0]


@dataclass(slots=True)
class Losses:
    """What a run's images showed; each line names its seed and draw."""

    images: int = 0
    lost: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def look_at(self, image: Image, acknowledged: int, known: int) -> None:
        self.images += 1
        try:
            with closing(apsw.Connection(str(image.path("x.db")))) as recovered:
                check = recovered.pragma("integrity_check")
                rows = [row for (row,) in recovered.execute("SELECT id FROM paid ORDER BY id")]
        except apsw.Error as error:
            check, rows = f"{type(error).__name__}: {error}", []
        self.rows.append(len(rows))
        if check != "ok":
            self.damaged.append(f"{check}: {image}")
        if rows[:acknowledged] != list(range(1, acknowledged + 1)):
            self.lost.append(f"{len(rows)} rows of {acknowledged} acknowledged: {image}")
        if rows and (len(rows) > known or rows[-1] != len(rows)):
            self.damaged.append(f"rows {rows} are no prefix: {image}")


def connect(disk: PowerCut, *, journal: str = "wal", sync: str = "full") -> apsw.Connection:
    """A connection with its table made and everything so far durable."""
    connection = apsw.Connection(str(disk.path("x.db")), vfs=disk.vfs_name)
    connection.pragma("synchronous", "extra")
    assert connection.pragma("journal_mode", journal) == journal
    connection.execute("CREATE TABLE IF NOT EXISTS paid (id INTEGER PRIMARY KEY, note TEXT)")
    connection.pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
    connection.pragma("synchronous", sync)
    return connection


def run(
    directory: Path,
    seed: int,
    *,
    images: int = IMAGES,
    journal: str = "wal",
    sync: str = "full",
    early: bool = False,
) -> Losses:
    """Pay rows one by one on fresh disks and cut the power at random operations until enough images were seen."""
    losses = Losses()
    while losses.images < images:
        rng = Random(f"{seed}/when")
        with PowerCut(seed) as disk, closing(connect(disk, journal=journal, sync=sync)) as connection:
            acknowledged = started = 0

            def cut(_: Step) -> None:
                if rng.random() < 0.3 and losses.images < images:  # noqa: B023  called within this turn
                    losses.look_at(disk.cut(directory), acknowledged, started)  # noqa: B023

            disk.before = cut
            for row in range(1, ROWS + 1):
                started = row
                acknowledged += early
                connection.execute("INSERT INTO paid VALUES (?, ?)", (row, "x" * (row * 97 % 1500)))
                acknowledged = row
            disk.before = None
        seed += 1
    return losses


def test_full_sync_loses_nothing(tmp_path):
    losses = run(tmp_path, SEED)
    assert (losses.lost, losses.damaged) == ([], []), losses.lost + losses.damaged
    assert losses.images == IMAGES
    assert len(set(losses.rows)) > ROWS // 2, "the cuts should be spread over the run"


def test_no_sync_is_caught(tmp_path):
    losses = run(tmp_path, SEED, sync="off")
    assert len(losses.lost) > IMAGES // 10, losses
    assert losses.damaged, "a checkpoint without syncs tears the database"


def test_acknowledging_before_the_commit_is_caught(tmp_path):
    losses = run(tmp_path, SEED, early=True)
    assert len(losses.lost) > IMAGES // 20, losses
    assert losses.damaged == [], losses.damaged


def test_normal_sync_in_wal_loses_the_last_rows_but_no_order(tmp_path):
    losses = run(tmp_path, SEED, sync="normal")
    assert len(losses.lost) > IMAGES // 10, losses
    assert losses.damaged == [], losses.damaged


def test_a_deleted_journal_comes_back_unless_its_directory_was_synced(tmp_path):
    """SQLite's documentation of ``PRAGMA synchronous``: with DELETE, EXTRA is needed for durability."""
    full = run(tmp_path, SEED, images=IMAGES // 2, journal="delete")
    assert full.lost, full
    assert full.damaged == [], full.damaged
    extra = run(tmp_path, SEED, images=IMAGES // 2, journal="delete", sync="extra")
    assert (extra.lost, extra.damaged) == ([], []), extra.lost + extra.damaged


def test_a_seed_draws_the_same_images_again(tmp_path):
    def drawn(seed):
        stories: list[str] = []
        rows: list[int] = []
        for sync in ("normal", "full"):
            losses = run(tmp_path, seed, images=30, sync=sync)
            stories += losses.lost
            rows += losses.rows
        return stories, rows

    assert drawn(SEED) == drawn(SEED)
    assert drawn(SEED) != drawn(SEED + 1)


@pytest.mark.parametrize(("locking", "index_is_shared"), [("normal", True), ("exclusive", False)])
def test_wal_works_with_and_without_shared_memory(locking, index_is_shared, tmp_path):
    with (
        PowerCut(SEED) as disk,
        closing(apsw.Connection(str(disk.path("x.db")), vfs=disk.vfs_name)) as connection,
    ):
        connection.pragma("locking_mode", locking)
        assert connection.pragma("journal_mode", "wal") == "wal"
        connection.execute("CREATE TABLE paid (id INTEGER PRIMARY KEY)")
        assert disk.path("x.db-shm").exists() == index_is_shared
        if index_is_shared:
            with closing(apsw.Connection(str(disk.path("x.db")), vfs=disk.vfs_name)) as second:
                second.execute("INSERT INTO paid VALUES (1)")
                assert connection.execute("SELECT id FROM paid").get == 1
        else:
            connection.execute("INSERT INTO paid VALUES (1)")
        image = disk.cut(tmp_path)
        losses = Losses()
        losses.look_at(image, 1, 1)
        assert losses.lost == losses.damaged == []


def test_cuts_from_another_thread_while_two_connections_work(tmp_path):
    losses, enough, turn = Losses(), threading.Event(), threading.Lock()
    acknowledged: list[int] = []

    def work(connection: apsw.Connection) -> None:
        while not enough.is_set():
            with turn:
                connection.execute("INSERT INTO paid (note) VALUES ('x')")
                acknowledged.append(connection.last_insert_rowid())

    with (
        PowerCut(SEED) as disk,
        closing(connect(disk)) as first,
        closing(connect(disk)) as second,
        ThreadPoolExecutor(2) as pool,
    ):
        workers = [pool.submit(work, connection) for connection in (first, second)]
        try:
            while not any(worker.done() for worker in workers) and min(len(acknowledged), losses.images) < 30:
                known = len(acknowledged)
                losses.look_at(disk.cut(tmp_path), known, sys.maxsize)
        finally:
            enough.set()
        for worker in workers:
            worker.result()
    assert (losses.lost, losses.damaged) == ([], []), losses


def test_the_power_can_go_again_during_recovery(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    losses = Losses()
    with PowerCut(SEED) as disk, closing(connect(disk)) as connection:
        for row in range(1, 10):
            connection.execute("INSERT INTO paid VALUES (?, 'x')", (row,))
        for draw in range(5):
            disk.moment().image(first, draw)
            with PowerCut(SEED + draw, first) as again:
                again.before = lambda _: losses.look_at(again.cut(second), 9, 9)
                connect(again).close()  # recovers, and checkpoints as the last one out
            losses.look_at(again.cut(second), 9, 9)
    assert losses.images > 20
    assert losses.lost == losses.damaged == []


def test_a_failed_sync_may_have_kept_anything_and_the_next_one_saves_only_what_is_new(tmp_path):
    def fail(step: Step) -> None:
        if step.kind == "sync":
            raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)

    kept = set()
    for seed in range(20):
        with PowerCut(seed) as disk:
            file = apsw.VFSFile(disk.vfs_name, str(disk.path("x.db")), FILE)
            file.xWrite(b"a" * SECTOR_BYTES, 0)
            disk.before = fail
            with pytest.raises(apsw.IOError):
                file.xSync(apsw.SQLITE_SYNC_NORMAL)
            disk.before = None
            file.xWrite(b"b" * SECTOR_BYTES, SECTOR_BYTES)
            file.xSync(apsw.SQLITE_SYNC_NORMAL)
            disk.directory_synced()
            content = disk.cut(tmp_path).path("x.db").read_bytes()
            assert content[SECTOR_BYTES:] == b"b" * SECTOR_BYTES
            assert file.xRead(SECTOR_BYTES, 0) == b"a" * SECTOR_BYTES
            kept.add(content[:1])
            file.xClose()
    assert kept == {b"a", b"\0"}


def test_a_hook_that_raises_is_an_error_of_the_disk():
    def refuse(step: Step) -> None:
        if step.kind == "write":
            raise apsw.exception_for(apsw.SQLITE_IOERR_WRITE)

    with PowerCut(SEED) as disk, closing(connect(disk)) as connection:
        disk.before = refuse
        with pytest.raises(apsw.IOError):
            connection.execute("INSERT INTO paid VALUES (1, 'x')")
        disk.before = None
        connection.execute("INSERT INTO paid VALUES (1, 'x')")


def draws(inode: Inode, wanted: Callable[[bytes], object], count: int = 2000) -> set[object]:
    return {wanted(bytes(survivors(inode, Random(seed))[0])) for seed in range(count)}


def test_a_write_tears_between_sectors_only():
    inode = Inode(bytearray(b"." * 2048), [Write(100, b"x" * 1000)])
    pieces = [(0, 100), (100, 512), (512, 1024), (1024, 1100), (1100, 2048)]
    seen = draws(
        inode, lambda content: tuple("".join(sorted({chr(c) for c in content[a:b]})) for a, b in pieces)
    )
    assert seen == {(".", a, b, c, ".") for a in ".x" for b in ".x" for c in ".x"}


def test_unsynced_operations_survive_in_any_subset_and_order():
    inode = Inode(bytearray(b"."), [Write(0, b"a"), Write(0, b"b"), Write(1, b"c")])
    contents = draws(inode, lambda content: content)
    assert {b".", b"a", b"b", b".c", b"ac", b"bc"} <= contents
    inode.settle()
    assert draws(inode, lambda content: content) == {b"bc"}


def test_sizes_change_with_or_without_the_data():
    shrunk = draws(Inode(bytearray(b"abc"), [Truncate(1)]), lambda content: content)
    assert shrunk == {b"abc", b"a"}
    grown = draws(Inode(bytearray(b"a"), [Write(1, b"b"), Write(2, b"c")]), lambda content: content)
    assert {b"a", b"ab", b"abc", b"a\0c", b"a\0", b"a\0\0"} <= grown
    assert any(content[1:2] not in {b"", b"b", b"\0"} for content in grown), "garbage in the gap"


def test_names_come_and_go_until_the_directory_is_synced(tmp_path):
    journal = [apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_READWRITE, 0]

    def present() -> set[bool]:
        moment = disk.moment()
        return {moment.image(tmp_path, draw).path("x.db").exists() for draw in range(20)}

    with PowerCut(SEED) as disk:
        file = apsw.VFSFile(disk.vfs_name, str(disk.path("x.db")), FILE)
        file.xSync(apsw.SQLITE_SYNC_NORMAL)
        assert present() == {True, False}
        beside = apsw.VFSFile(disk.vfs_name, str(disk.path("x.db-journal")), journal)
        beside.xSync(apsw.SQLITE_SYNC_NORMAL)
        assert present() == {True}
        file.xClose()
        beside.xClose()
        disk._vfs.xDelete(str(disk.path("x.db")), False)
        assert present() == {True, False}
        disk._vfs.xDelete(str(disk.path("x.db-journal")), True)
        assert present() == {False}
