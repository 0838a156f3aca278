"""``kill -9`` in the midst of ``prepaid backup`` and ``prepaid restore``: no half is ever taken for a whole."""

from __future__ import annotations

import tempfile
from contextlib import closing
from random import Random

import pytest

from prepaid.errors import StoreError, StoreMoved
from prepaid.moving.backups import backup, restore
from prepaid.store.moves import Stage
from store.books import create

from .worlds import LONG, dies, place, run, seen, steps_of

pytestmark = pytest.mark.slow


def points(steps, seed):
    """Where to kill: somewhere, in the second half first; and behind the last step, which makes a whole of it."""
    return [(seed + 1) % 2 * steps + Random(seed).randint(1, steps - 1), 2 * steps]


@pytest.mark.parametrize("before", ["sqlite", "postgres"])
@pytest.mark.parametrize("seed", range(LONG))
def test_a_backup_that_is_killed_leaves_a_whole_one_or_none(before, seed, worlds, tmp_path):
    left, first = worlds.filled(before), tmp_path / "first"
    was = seen(left)
    steps = steps_of(["backup", str(first), "--database", str(left), "--json"])
    assert seen(first) == was
    ends = set()
    for number, deadly in enumerate(points(steps, seed)):
        file = tmp_path / f"{number}"
        assert dies(["backup", str(file), "--database", str(left), "--json"], deadly)
        ends.add(file.exists())
        for partial in tmp_path.glob(f"{number}.*.partial"):
            assert_whole_or_refused(partial, was, worlds)
        if not file.exists():
            with closing(place(left)) as source:
                backup(source, file)  # finds nothing in its way
        assert seen(file) == was
        assert file.stat().st_mode & 0o777 == 0o600
    assert ends == {True, False}
    assert seen(left) == was
    run(left, lambda store: store.submit(create("s8")))


def assert_whole_or_refused(file, was, worlds):
    """Whoever takes what was left for a backup gets all of it, or is told."""
    again = worlds.new("sqlite")
    with closing(place(again)) as target:
        try:
            restore(file, target)
        except StoreError as refused:
            told = refused
        else:
            told = None
        assert target.mark() is None or told is None, "whoever refuses leaves the target alone"
    assert told.remedy if told else seen(again) == was


@pytest.mark.parametrize("after", ["sqlite", "postgres"])
@pytest.mark.parametrize("seed", range(LONG))
def test_a_restore_that_is_killed_is_closed_until_the_second_run(after, seed, worlds, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # a copy is left there
    left, file = worlds.filled("sqlite"), tmp_path / "backup"
    was = seen(left)
    with closing(place(left)) as source:
        backup(source, file)
    kept = file.read_bytes()
    steps = steps_of(["restore", str(file), "--database", str(worlds.new(after)), "--json"])
    ends = set()
    for deadly in points(steps, seed):
        again = worlds.new(after)
        assert dies(command := ["restore", str(file), "--database", str(again), "--json"], deadly)
        with closing(place(again)) as target:
            mark = target.mark()
            is_begun = not target.is_empty()
        ends.add(mark and mark.stage)
        assert is_begun <= (mark is not None)
        if mark is not None and mark.stage is Stage.ARRIVING:
            with pytest.raises(StoreMoved, match="being filled"):
                run(again, lambda store: store.submit(create("s8")))
        if mark is None or mark.stage is Stage.ARRIVING:
            assert not dies(command, 0), "the same command goes on"
        assert seen(again) == was
        run(again, lambda store: store.submit(create("s8")))
    assert Stage.ARRIVED in ends
    assert file.read_bytes() == kept
