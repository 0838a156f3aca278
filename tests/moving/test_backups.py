"""Backups: one file from either database, the same as it was at one moment, and back into either."""

from __future__ import annotations

import asyncio
import stat
from contextlib import closing

import apsw
import pytest

from prepaid.errors import NotFoundError, StoreCorrupted, StoreMoved, StoreNotEmpty
from prepaid.moving import migrating
from prepaid.moving.backups import backup, restore
from prepaid.moving.places import check
from prepaid.store.moves import Mark, Stage
from store.books import create, fund, settle

from .worlds import PAIRS, place, run, seen

pytestmark = pytest.mark.slow


def backed_up(where, file):
    with closing(place(where)) as source:
        return backup(source, file)


def restored(file, where):
    with closing(place(where)) as target:
        return restore(file, target)


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_what_was_backed_up_is_restored_and_goes_on(before, after, worlds, tmp_path):
    left, file, again = worlds.filled(before), tmp_path / "backup", worlds.new(after)
    was = seen(left)
    made = backed_up(left, file)
    assert (made.findings, made.bytes) == ((), file.stat().st_size)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("backup")] == ["backup"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    bytes_before = file.read_bytes()
    assert restored(file, again).rows == made.rows
    assert file.read_bytes() == bytes_before, "the backup is as it was"
    assert seen(again) == was
    run(again, lambda store: store.submit(settle(5, "open", "s1")))
    run(left, lambda store: store.submit(create("s8")))
    with pytest.raises(StoreNotEmpty):
        restored(file, again)
    with pytest.raises(StoreNotEmpty):
        backed_up(left, file)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_backup_is_of_one_moment_while_others_write(kind, worlds, tmp_path):
    """Each step adds one line of 1 to one session: its balance and its lines must agree in the copy."""
    left, file = worlds.filled(kind), tmp_path / "backup"
    lines = checked(left).lines
    under_way, ended = asyncio.Event(), asyncio.Event()

    async def write(store):
        step = 0
        while not ended.is_set():
            await store.submit(fund(1, f"live-{step}", "s3"))
            step += 1
            if step == 5:
                under_way.set()
        return step

    async def both(store):
        writing = asyncio.ensure_future(write(store))
        await under_way.wait()
        made = await asyncio.to_thread(backed_up, left, file)
        report = await asyncio.to_thread(checked, left)
        ended.set()
        return made, report, await writing

    made, report, steps = run(left, both)
    assert report.is_clean, "checked while others wrote"
    assert made.findings == ()
    copied = checked(file)
    assert copied.is_clean
    assert lines + 5 <= copied.lines <= lines + steps


def checked(where):
    with closing(place(where)) as found:
        return check(found)


def test_a_contradiction_is_backed_up_and_told(worlds, tmp_path):
    """The only copy of damaged books is better than none."""
    left = worlds.filled("sqlite")
    with closing(apsw.Connection(str(left))) as connection:
        connection.execute("UPDATE hold SET amount = amount + 1 WHERE key = 'open'")
    made = backed_up(left, tmp_path / "backup")
    assert {finding.guarantee for finding in made.findings} == {2}
    with pytest.raises(StoreCorrupted, match="contradicts itself"):
        restored(tmp_path / "backup", worlds.new("sqlite"))


def test_what_is_no_backup_is_refused(worlds, tmp_path):
    target = worlds.new("sqlite")
    with pytest.raises(NotFoundError, match="no file"):
        restored(tmp_path / "missing", target)
    assert not (tmp_path / "missing").exists()
    (tmp_path / "junk").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreCorrupted):
        restored(tmp_path / "junk", target)
    with closing(apsw.Connection(str(tmp_path / "other"))) as other:
        other.execute("CREATE TABLE theirs (a)")
    with pytest.raises(StoreCorrupted, match="not one of prepaid's"):
        restored(tmp_path / "other", target)


@pytest.mark.parametrize("after", ["sqlite", "postgres"])
def test_a_restore_that_was_cut_off_goes_on(after, worlds, tmp_path, monkeypatch):
    left, file, again = worlds.filled("sqlite"), tmp_path / "backup", worlds.new(after)
    backed_up(left, file)
    with closing(place(again)) as target:
        insert, done = target.insert, []

        def cut_off(*arguments):
            if len(done) == 4:
                raise KeyboardInterrupt
            done.append(insert(*arguments))

        monkeypatch.setattr(target, "insert", cut_off)
        with pytest.raises(KeyboardInterrupt):
            restore(file, target)
    with pytest.raises(StoreMoved, match="being filled"):
        run(again, lambda store: store.submit(create("s8")))
    run(left, lambda store: store.submit(create("s8")))
    backed_up(left, newer := tmp_path / "newer")
    with pytest.raises(StoreNotEmpty):
        restored(newer, again)
    restored(file, again)
    assert seen(again) == seen(file)


def test_what_is_closed_is_not_backed_up(worlds, tmp_path):
    left = worlds.filled("sqlite")
    with closing(place(left)) as source:
        source.leave(Mark("m", Stage.LEAVING, "elsewhere"))
        with pytest.raises(StoreMoved, match="elsewhere"):
            backup(source, tmp_path / "backup")
        migrating.abandon(source)
        backup(source, tmp_path / "backup")
