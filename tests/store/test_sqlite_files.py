"""Files that are no database of ours, or not any more, or not yet: each its own error, and left as it was."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw
import pytest

from prepaid.audit import audit
from prepaid.errors import StoreBusy, StoreCorrupted, StoreError, StoreFull, StoreReadOnly, StoreTooNew
from prepaid.store.sqlite import connection, store
from prepaid.store.sqlite.connection import open_reader, open_writer, translated
from prepaid.store.sqlite.store import SqliteStore

from .books import SESSION, assert_sound, create, fund, hold

NOBODY = 65_534


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


@pytest.fixture
async def written(path):
    """A database with a session of 300 lines, closed."""
    store = SqliteStore(path)
    await store.submit(create())
    for number in range(300):
        await store.submit(fund(1, f"f{number}"))
    await store.aclose()
    return path


def refusal(path, kind):
    """The error of opening it; the file and its neighbours are as they were."""
    before = {found: found.read_bytes() for found in path.parent.iterdir() if found.is_file()}
    with pytest.raises(kind) as refused:
        SqliteStore(path)
    after = {found: found.read_bytes() for found in path.parent.iterdir() if found.is_file()}
    assert after == before
    assert type(refused.value) is kind
    assert refused.value.remedy
    return refused.value


def test_a_file_of_something_else(path):
    path.write_bytes(b"Dear diary, " * 1_000)
    error = refusal(path, StoreCorrupted)
    assert str(path) in str(error)
    assert "Restore a backup" in error.remedy


def test_a_file_whose_head_is_damaged(written):
    damaged = bytearray(written.read_bytes())
    damaged[:100] = os.urandom(100)
    written.write_bytes(damaged)
    assert str(written) in str(refusal(written, StoreCorrupted))


def test_a_file_cut_short(written):
    written.write_bytes(written.read_bytes()[:5_000])
    refusal(written, StoreCorrupted)


def test_a_database_of_another_application(path):
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE account (id INTEGER PRIMARY KEY)")
    other.close()
    error = refusal(path, StoreCorrupted)
    assert "not one of prepaid's" in str(error)
    assert "--database" in error.remedy


def test_a_database_of_a_newer_version(written):
    newer = sqlite3.connect(written)
    newer.execute("PRAGMA user_version = 999")
    newer.close()
    error = refusal(written, StoreTooNew)
    assert (error.found, error.supported) == (999, len(connection._migrations()))
    assert "999" in str(error)
    assert "Upgrade" in error.remedy


def test_a_directory_that_is_not_there(tmp_path):
    error = refusal_of_place(tmp_path / "none" / "ledger.db")
    assert "there is no directory" in str(error)
    assert "Create the directory" in error.remedy
    assert not (tmp_path / "none").exists()


def test_below_a_file(tmp_path):
    (tmp_path / "file").touch()
    assert "there is no directory" in str(refusal_of_place(tmp_path / "file" / "ledger.db"))


def test_below_a_directory_that_cannot_be_entered(place):
    hidden = place / "hidden"
    hidden.mkdir(mode=0o000)
    said = opened_by_nobody(hidden / "below" / "ledger.db")
    assert said.startswith("store_read_only")
    assert str(hidden / "below") in said
    hidden.chmod(0o755)


def test_a_directory_itself(tmp_path):
    assert "it is a directory" in str(refusal_of_place(tmp_path))


def refusal_of_place(path):
    with pytest.raises(StoreReadOnly) as refused:
        SqliteStore(path)
    assert str(path) in str(refused.value)
    assert refused.value.retryable is False
    return refused.value


OPEN_AS_NOBODY = f"""
import os, sys
from pathlib import Path
from prepaid.errors import StoreError
from prepaid.store.sqlite import connection
from prepaid.store.sqlite.store import SqliteStore
scripts = connection._migrations()
connection._migrations = lambda: scripts  # nobody may not be allowed to read where we are installed
if os.getuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
try:
    SqliteStore(Path(sys.argv[1]))
except StoreError as error:
    print(error.code, error)
else:
    print("opened")
"""


def opened_by_nobody(path: Path) -> str:
    """What becomes of opening it as a user who may do nothing, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", OPEN_AS_NOBODY, str(path)], capture_output=True, text=True, check=True, cwd="/"
    )
    return done.stdout.strip()


@pytest.fixture
def place():
    """A directory that anyone can reach, which those of pytest are not."""
    with TemporaryDirectory(prefix="prepaid-") as made:
        Path(made).chmod(0o755)
        yield Path(made)
        Path(made).chmod(0o755)


def test_a_directory_that_cannot_be_written(place):
    place.chmod(0o555)
    said = opened_by_nobody(place / "ledger.db")
    assert said.startswith("store_read_only")
    assert str(place / "ledger.db") in said
    assert "write permission" in said
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("mode", [0o444, 0o000])
def test_a_file_that_cannot_be_written(mode, place):
    path = place / "ledger.db"
    open_writer(path).close()
    before = path.read_bytes()
    path.chmod(mode)
    place.chmod(0o555)
    said = opened_by_nobody(path)
    assert said.startswith("store_read_only")
    assert str(path) in said
    assert path.read_bytes() == before


def test_without_write_ahead_logging_it_does_not_go_on():
    with pytest.raises(StoreReadOnly, match="stays in 'memory' mode"):
        open_writer(Path(":memory:"))


async def test_damage_in_the_middle_is_told_by_what_meets_it(written):
    """Opening reads the schema only; what meets the damage is refused, and an audit finds it."""
    reader = open_reader(written)
    pages = reader.execute("SELECT pageno FROM dbstat WHERE name <> 'sqlite_schema'").fetchall()
    reader.close()
    damaged = bytearray(written.read_bytes())
    for (page,) in pages:
        damaged[page * 4_096 - 4_096 : page * 4_096 - 4_032] = b"\xff" * 64
    written.write_bytes(damaged)
    store = SqliteStore(written)
    with pytest.raises(StoreCorrupted) as refused:
        await store.submit(hold(1, "k"))
    assert str(written) in str(refused.value)
    assert refused.value.retryable is False
    with pytest.raises(StoreCorrupted):
        store.reads.transfers(SESSION)
    with pytest.raises(StoreCorrupted):
        await assert_sound(store)
    await store.aclose()


async def test_an_empty_file_is_a_new_database(path):
    path.touch()
    store = SqliteStore(path)
    await store.submit(create())
    await assert_sound(store)
    await store.aclose()


def test_a_database_is_marked_as_ours_and_safe(path):
    made = open_writer(path)
    assert made.pragma("application_id") == int.from_bytes(b"prep", "big")
    assert made.pragma("journal_mode") == "wal"
    assert made.pragma("synchronous") == 2
    made.close()
    again = open_writer(path)
    assert again.pragma("user_version") == len(connection._migrations())
    again.close()


def test_a_reader_only_reads(path):
    open_writer(path).close()
    reader = open_reader(path)
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("DELETE FROM account")
    reader.close()


def test_a_line_is_final(path):
    made = open_writer(path)
    made.execute(
        "INSERT INTO transfer VALUES (1, NULL, 's', 1, 'fund', 'a', 'b', 1, 'k', 0, '', 0, '', 0, 0, x'00')"
    )
    for change in ("UPDATE transfer SET amount = 2", "DELETE FROM transfer"):
        with pytest.raises(apsw.ConstraintError, match="a transfer is never"):
            made.execute(change)
    made.close()


def test_a_migration_that_fails_leaves_nothing(path, monkeypatch):
    scripts = connection._migrations()
    monkeypatch.setattr(connection, "_migrations", lambda: [*scripts, "CREATE TABLE extra (a); CREATE TABL"])
    with pytest.raises(apsw.SQLError):
        open_writer(path)
    monkeypatch.undo()
    left = sqlite3.connect(path)
    assert left.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    left.close()
    open_writer(path).close()


def test_the_next_migration_is_applied_to_what_is_there(path, monkeypatch):
    open_writer(path).close()
    scripts = connection._migrations()
    monkeypatch.setattr(connection, "_migrations", lambda: [*scripts, "CREATE TABLE extra (a)"])
    migrated = open_writer(path)
    assert migrated.pragma("user_version") == len(scripts) + 1
    assert migrated.execute("SELECT count(*) FROM extra").get == 0
    migrated.close()


def test_a_reader_that_fails_leaves_no_writer_open(path, monkeypatch):
    def fail(*_, **__):
        raise StoreError("no reader")

    monkeypatch.setattr(store, "open_reader", fail)
    with pytest.raises(StoreError, match="no reader"):
        SqliteStore(path)
    assert not path.with_name("ledger.db-wal").exists(), "the last connection cleans up"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (apsw.SQLITE_BUSY, StoreBusy),
        (apsw.SQLITE_LOCKED, StoreBusy),
        (apsw.SQLITE_FULL, StoreFull),
        (apsw.SQLITE_READONLY, StoreReadOnly),
        (apsw.SQLITE_PERM, StoreReadOnly),
        (apsw.SQLITE_CANTOPEN, StoreReadOnly),
        (apsw.SQLITE_CORRUPT, StoreCorrupted),
        (apsw.SQLITE_NOTADB, StoreCorrupted),
        (apsw.SQLITE_IOERR_FSYNC, StoreError),
        (apsw.SQLITE_NOMEM, StoreError),
        (apsw.SQLITE_PROTOCOL, StoreError),
    ],
)
def test_what_sqlite_says_in_our_words(code, kind, path):
    with pytest.raises(kind) as raised, translated(path):
        raise apsw.exception_for(code)
    assert type(raised.value) is kind
    assert str(path) in str(raised.value)
    assert raised.value.remedy


def test_a_mistake_of_ours_stays_one(path):
    with pytest.raises(apsw.SQLError), translated(path):
        raise apsw.exception_for(apsw.SQLITE_ERROR)


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        ("UPDATE account SET last_line = NULL", "lines are chained by hash (guarantee 6)"),
        ("UPDATE account SET last_line = last_line - 1", "lines are chained by hash (guarantee 6)"),
        ("UPDATE transfer SET previous = id WHERE seq = 100", "lines are chained by hash (guarantee 6)"),
        ("UPDATE transfer SET previous = NULL WHERE seq = 100", "lines are chained by hash (guarantee 6)"),
        ("UPDATE account SET request_count = 1, available = -1", "the file is sound (guarantee 6)"),
    ],
)
async def test_the_audit_finds_damaged_links_and_pages(damage, rule, written):
    """Guarantee 1."""
    with apsw.Connection(str(written)) as with_hands:
        with_hands.execute("PRAGMA ignore_check_constraints = ON")
        with_hands.execute("DROP TRIGGER transfer_is_final")
        with_hands.execute(damage)
    with_hands.close()
    store = SqliteStore(written)
    report = await store.report(audit)
    await store.aclose()
    assert rule in {finding.rule for finding in report.findings}


@pytest.fixture
def writer(path):
    """Somebody who is about to write to a file that has no log yet, such as whoever gives it one."""
    other = apsw.Connection(str(path))  # another copy of SQLite in this process would see none of our locks
    other.execute("CREATE TABLE passing (a); DROP TABLE passing; BEGIN IMMEDIATE")
    yield other
    other.close(True)


async def test_who_gives_a_new_file_its_log_is_waited_for(path, writer):
    """As when several processes find it at once: SQLite itself would not wait, whatever its timeout."""
    opening = asyncio.create_task(asyncio.to_thread(lambda: open_writer(path).close()))
    await asyncio.wait([opening], timeout=0.1)
    writer.execute("COMMIT")
    await opening


def test_but_not_for_ever(path, writer, monkeypatch):
    monkeypatch.setattr(connection, "_OPENING_BUSY_MS", 50)
    with pytest.raises(StoreBusy, match="holds the database"):
        open_writer(path)
    writer.execute("COMMIT")
    open_writer(path).close()
