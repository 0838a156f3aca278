"""A full disk, or one whose syncs fail: told by a typed error, nothing half done, all well when it recovers."""

from __future__ import annotations

import asyncio

import pytest

from prepaid.errors import StoreError, StoreFull
from prepaid.store.sqlite.store import SqliteStore
from store.books import SESSION, assert_sound, balance, create, hold, settle
from store.workload import (
    Journal,
    at_once,
    closing,
    everything,
    missing,
    requests,
    same,
    sessions,
    summary,
)

from .fullness import FaultyDisk

SEED = 20_263


@pytest.fixture
def disk():
    with FaultyDisk() as made:
        yield made


@pytest.fixture
async def store(disk, tmp_path):
    opened = SqliteStore(tmp_path / "x.db", vfs=disk.vfs_name)
    await opened.submit(create())
    yield opened
    disk.release()
    disk.heal()
    await assert_sound(opened)
    await opened.aclose()


def holds():
    return [hold(10, f"k{number}", expires_ms=2**50) for number in range(5)]


async def test_a_full_disk_is_told_and_nothing_is_half_done(store, disk):
    disk.fill(of="-wal")
    for _ in range(2):
        refusals = await at_once(store.submit, holds())
        assert [type(refusal) for refusal in refusals] == [StoreFull] * 5
    assert disk.refused_writes
    assert "Free some space" in refusals[0].remedy
    assert refusals[0].retryable
    assert str(store.path) in str(refusals[0])
    assert balance(store) == (1_000, 0, 0, 0)
    await assert_sound(store)
    disk.release()
    answers = await at_once(store.submit, holds())
    assert [(answer.amount, answer.replayed) for answer in answers] == [(10, False)] * 5


async def test_a_capture_that_found_no_room_can_be_repeated(store, disk):
    await store.submit(hold(10, "k"))
    disk.fill(of="-wal")
    with pytest.raises(StoreFull):
        await store.submit(settle(7, "k"))
    assert balance(store) == (990, 10, 0, 0)
    disk.release()
    assert (await store.submit(settle(7, "k"))).captured == 7


async def test_reading_needs_no_room(store, disk):
    disk.fill()
    assert store.reads.account(SESSION).available == 1_000
    assert await store.report(lambda reads: reads.account(SESSION).available) == 1_000


async def test_a_failed_sync_is_told_with_what_to_do(store, disk):
    disk.fail_syncs(1, of="-wal")
    refusals = await at_once(store.submit, holds())
    assert disk.failed_syncs == 1
    assert [type(refusal) for refusal in refusals] == [StoreError] * 5
    assert "retry with the same key" in refusals[0].remedy
    answers = await at_once(store.submit, holds())
    assert [answer.amount for answer in answers] == [10] * 5
    assert balance(store) == (950, 50, 0, 0)


@pytest.mark.parametrize("free", [0, 5_000, 20_000, 60_000, 150_000])
async def test_wherever_the_room_ends(free, disk, tmp_path):
    """Each step is done or refused; what was done stays, and the same keys lead to the same end."""
    journal = Journal()
    store = SqliteStore(tmp_path / "x.db", vfs=disk.vfs_name)
    disk.fill(free, of="-wal")
    await everything(store.submit, journal, clients=6, count=6, seed=SEED)
    assert journal.failures
    assert {type(failure) for failure in journal.failures} == {StoreFull}
    await assert_sound(store)
    disk.release()
    assert [
        what for work, answer in journal.acknowledged if (what := missing(store.reads, work, answer))
    ] == []
    works = whole_workload()
    again = dict(zip(map(repr, works), await at_once(store.submit, works), strict=True))
    for work, answer in journal.acknowledged:
        assert not hasattr(work, "key") or same(answer, again[repr(work)])
    await assert_sound(store)
    assert summary(store.reads) == await undisturbed(tmp_path)
    await store.aclose()


def whole_workload():
    return [*sessions(), *(work for client in range(6) for work in requests(client, 6, SEED)), *closing()]


async def undisturbed(directory):
    store = SqliteStore(directory / "undisturbed.db")
    await everything(store.submit, Journal(), clients=6, count=6, seed=SEED)
    end = summary(store.reads)
    await store.aclose()
    return end


def test_a_new_database_on_a_full_disk(disk, tmp_path):
    disk.fill()
    with pytest.raises(StoreFull) as refused:
        SqliteStore(tmp_path / "x.db", vfs=disk.vfs_name)
    assert str(tmp_path / "x.db") in str(refused.value)
    disk.release()
    asyncio.run(opened_and_used(tmp_path / "x.db", disk))


@pytest.mark.parametrize("free", range(0, 120_000, 13_000))
def test_a_new_database_on_a_disk_that_fills_up(free, disk, tmp_path):
    """The schema is there whole or not at all."""
    disk.fill(free)
    try:
        store = SqliteStore(tmp_path / "x.db", vfs=disk.vfs_name)
    except StoreFull:
        assert disk.refused_writes
    else:
        disk.release()
        asyncio.run(store.aclose())
    disk.release()
    asyncio.run(opened_and_used(tmp_path / "x.db", disk))


def test_a_new_database_on_a_disk_that_does_not_sync(disk, tmp_path):
    disk.fail_syncs()
    with pytest.raises(StoreError) as refused:
        SqliteStore(tmp_path / "x.db", vfs=disk.vfs_name)
    assert type(refused.value) is StoreError
    disk.heal()
    asyncio.run(opened_and_used(tmp_path / "x.db", disk))


async def opened_and_used(path, disk):
    store = SqliteStore(path, vfs=disk.vfs_name)
    assert (await store.submit(create())).available == 1_000
    await assert_sound(store)
    await store.aclose()
