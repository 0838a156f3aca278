"""Whether anything can be written: asked like every change, by many at once, on every database."""

from __future__ import annotations

import asyncio

import pytest

from prepaid.errors import StoreBusy, StoreError

from .books import SESSION, balance, create, fund


def contents(store):
    return balance(store), store.reads.transfers(SESSION), store.reads.settings()


async def test_it_changes_nothing(session):
    """Spec P10."""
    before = contents(session)
    for _ in range(3):
        await session.probe()
    assert contents(session) == before


async def test_many_who_ask_share_one(session):
    written = []
    session.listen(written.extend)
    await asyncio.gather(*(session.probe() for _ in range(50)))
    assert 1 <= len(written) <= 4, "one, or one for each lane"


async def test_it_waits_its_turn_and_holds_up_nobody(session):
    funds = [session.submit(fund(1, f"k{number}")) for number in range(20)]
    await asyncio.gather(session.probe(), *funds)
    assert balance(session)[0] == 1_020


async def test_who_gives_up_waiting_takes_nothing_from_the_others(session):
    first, second = (asyncio.ensure_future(session.probe()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await second


async def test_a_store_that_is_closed_says_so(open_store):
    store = open_store()
    await store.submit(create("s"))
    await store.aclose()
    with pytest.raises(StoreError):
        await store.probe()


async def test_it_really_writes(tmp_path):
    """What it writes is in the log: a row that stays as it is would not be."""
    from prepaid.store.sqlite.store import SqliteStore

    store = SqliteStore(tmp_path / "x.db")
    await store.submit(create())
    log = tmp_path / "x.db-wal"
    before = log.read_bytes()
    await store.probe()
    assert log.read_bytes() != before
    await store.aclose()


async def test_a_lock_of_another_process_is_waited_for_and_told(tmp_path):
    import apsw

    from prepaid.store.sqlite.store import SqliteStore

    store = SqliteStore(tmp_path / "x.db", busy_seconds=0.2)
    await store.submit(create())
    other = apsw.Connection(str(store.path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy):
        await store.probe()
    other.execute("ROLLBACK")
    await store.probe()
    await store.aclose()
