"""The log is copied into the file beside the commits: bounded, and never a commit's failure (guarantee 6)."""

from __future__ import annotations

import logging
import sqlite3

import pytest

from prepaid.store.sqlite.store import SqliteStore
from store.books import assert_sound, balance, create, fund
from store.workload import Journal, everything

from .fullness import FaultyDisk

START, BOUND = 20, 60
LOGGED_PAGE_BYTES = 4_096 + 24
COMMIT_PAGES_MAX = 60  # of this workload


@pytest.fixture
def disk():
    with FaultyDisk() as made:
        yield made


@pytest.fixture
async def store(disk, tmp_path):
    opened = SqliteStore(tmp_path / "x.db", vfs=disk.vfs_name)
    checkpoints(opened).start_pages, checkpoints(opened).bound_pages = START, BOUND
    await opened.submit(create())
    yield opened
    disk.heal()
    await assert_sound(opened)
    await opened.aclose()


def checkpoints(store):
    return store._writer._unit._checkpoints


def log_of(store):
    return store.path.with_name(store.path.name + "-wal")


def sessions_in_file_alone(store, tmp_path):
    """What somebody would find who copied the file without its log."""
    copied = tmp_path / "alone.db"
    copied.write_bytes(store.path.read_bytes())
    with sqlite3.connect(copied) as alone:
        return alone.execute("SELECT count(*) FROM account").fetchone()[0]


async def test_the_log_stays_within_its_bound_while_work_never_pauses(store):
    journal = Journal()
    await everything(store.submit, journal, clients=12, count=40, seed=1)
    written = sum(1 for _ in journal.acknowledged)
    assert written > 800, "enough to fill the log many times over"
    assert log_of(store).stat().st_size < (BOUND + COMMIT_PAGES_MAX) * LOGGED_PAGE_BYTES


async def test_what_was_committed_reaches_the_file_without_a_commit_waiting_for_it(store, tmp_path):
    checkpoints(store).bound_pages = 1_000_000
    for number in range(START):
        await store.submit(create(f"s{number}"))
    checkpoints(store)._running.result(timeout=120)
    assert sessions_in_file_alone(store, tmp_path) > 1


@pytest.mark.parametrize("bound", [1, 1_000_000], ids=["in a commit", "beside the commits"])
async def test_a_checkpoint_that_fails_is_no_commits_failure(bound, store, disk, caplog):
    checkpoints(store).start_pages, checkpoints(store).bound_pages = 1, bound
    disk.fail_syncs(of=".db")
    with caplog.at_level(logging.WARNING, "prepaid.store"):
        for number in range(5):
            await store.submit(fund(1, f"f{number}"))
        checkpoints(store)._running and checkpoints(store)._running.result(timeout=120)
    assert "could not be copied" in caplog.text
    assert balance(store)[0] == 1_005
    disk.heal()
    await store.submit(fund(1, "g"))
    assert balance(store)[0] == 1_006


async def test_two_processes_copy_one_log(store, disk):
    other = SqliteStore(store.path, vfs=disk.vfs_name)
    checkpoints(other).start_pages, checkpoints(other).bound_pages = 1, 2
    checkpoints(store).start_pages, checkpoints(store).bound_pages = 1, 2
    for number in range(50):
        await store.submit(fund(1, f"a{number}"))
        await other.submit(fund(1, f"b{number}"))
    await other.aclose()
    assert balance(store)[0] == 1_100


async def test_closing_leaves_one_file(disk, tmp_path):
    store = SqliteStore(tmp_path / "x.db", vfs=disk.vfs_name)
    await store.submit(create())
    checkpoints(store).start_pages = 1
    await store.submit(fund(1, "f"))
    await store.aclose()
    assert [found.name for found in tmp_path.iterdir()] == ["x.db"]
