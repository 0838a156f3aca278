"""The faulty disk refuses what it was told to, SQLite notices, and all is well when it recovers."""

from __future__ import annotations

from contextlib import closing

import apsw
import pytest

from .fullness import FaultyDisk
from .power_cut import PowerCut


@pytest.fixture
def disk():
    with FaultyDisk() as made:
        yield made


@pytest.fixture
def connection(disk, tmp_path):
    with closing(apsw.Connection(str(tmp_path / "x.db"), vfs=disk.vfs_name)) as made:
        prepare(made)
        yield made
        disk.release()
        disk.heal()


def prepare(connection: apsw.Connection) -> None:
    assert connection.pragma("journal_mode", "wal") == "wal"
    connection.pragma("synchronous", "full")
    connection.execute("CREATE TABLE paid (id INTEGER PRIMARY KEY, note TEXT)")


def pay(connection: apsw.Connection) -> None:
    connection.execute("INSERT INTO paid (note) VALUES (?)", ("x" * 500,))


def paid(connection: apsw.Connection) -> int:
    assert connection.pragma("integrity_check") == "ok"
    return connection.execute("SELECT count(*) FROM paid").get


def test_a_full_disk_refuses_and_recovers(disk, connection):
    pay(connection)
    disk.fill()
    for _ in range(3):
        with pytest.raises(apsw.FullError):
            pay(connection)
    assert disk.refused_writes == 3
    disk.release()
    pay(connection)
    assert paid(connection) == 2


@pytest.mark.parametrize("free", range(0, 40_000, 1_900))
def test_a_disk_runs_full_after_so_many_bytes(free, disk, connection, tmp_path):
    """The write that fits in part is no payment, for us or for another reader."""
    disk.fill(free, of="-wal")
    done = 0
    with pytest.raises(apsw.FullError):  # noqa: PT012  the payment that fails is to be found
        while done < 20:
            pay(connection)
            done += 1
    assert free // (3 * 4_300) <= done <= free // 4_000, "a payment writes one to three pages of 4096 bytes"
    assert disk.refused_writes == 1
    with closing(apsw.Connection(str(tmp_path / "x.db"))) as other:
        assert paid(other) == done
    disk.release()
    pay(connection)
    assert paid(connection) == done + 1


def test_a_failed_sync_is_an_error_and_no_payment(disk, connection):
    pay(connection)
    disk.fail_syncs(2, of="-wal")
    for _ in range(2):
        with pytest.raises(apsw.IOError) as failure:
            pay(connection)
        assert failure.value.extendedresult == apsw.SQLITE_IOERR_FSYNC
    pay(connection)
    assert disk.failed_syncs == 2
    assert paid(connection) == 2


def test_failed_syncs_of_the_database_fail_the_checkpoint_only(disk, connection):
    disk.fail_syncs(of=".db")
    pay(connection)
    with pytest.raises(apsw.IOError):
        connection.wal_checkpoint()
    assert disk.failed_syncs == 1
    disk.heal()
    connection.wal_checkpoint()
    assert paid(connection) == 1


def test_apsw_raises_what_sqlite_ignores_after_the_commit(disk, connection):
    """Not so on a real disk; were this to change, ``fullness`` should say so and its users could be simpler."""
    connection.pragma("wal_autocheckpoint", 1)
    disk.fail_syncs(of=".db")
    with pytest.raises(apsw.IOError):
        pay(connection)
    assert paid(connection) == 1


def test_a_disk_can_be_full_and_lose_its_power(tmp_path):
    with PowerCut(1) as power, FaultyDisk(power.vfs_name) as disk:
        first, second = (apsw.Connection(str(power.path("x.db")), vfs=disk.vfs_name) for _ in range(2))
        prepare(first)
        pay(first)
        disk.fill(after_bytes=1_000)
        with pytest.raises(apsw.FullError):
            pay(first)
        assert paid(second) == 1, "two layers share memory as one does"
        for draw in range(20):
            image = power.moment().image(tmp_path, draw)
            with closing(apsw.Connection(str(image.path("x.db")))) as recovered:
                assert paid(recovered) == 1, image
        disk.release()
        first.close()
        second.close()
