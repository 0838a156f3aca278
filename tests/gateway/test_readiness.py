"""``/readyz``: a load balancer learns that nothing can be written, and that it can be again (spec P10, D5)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import apsw
import pytest

from faults.fullness import FaultyDisk
from gateway.running import Gateway
from postgres_server import execute
from prepaid.errors import StoreError
from prepaid.gateway import readiness
from prepaid.gateway.readiness import Readiness
from prepaid.store.postgres.connection import connect
from prepaid.store.postgres.store import PostgresStore
from prepaid.store.sqlite.store import SqliteStore
from store.books import create, fund

FULL = """
  CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'disk_full', MESSAGE = 'could not extend file'; END $$;
  CREATE TRIGGER no_room BEFORE INSERT ON lane FOR EACH STATEMENT EXECUTE FUNCTION no_room()"""
ROOM = "DROP FUNCTION no_room CASCADE"


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 0.01)
    monkeypatch.setattr(readiness, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(readiness, "STUCK_SECONDS", 0.2)


@asynccontextmanager
async def locked(url):
    """Nobody else writes a lane's row."""
    connection = await connect(url)
    await connection.execute("BEGIN; LOCK TABLE lane")
    try:
        yield
    finally:
        connection.terminate()


async def until_well(ready):
    while True:
        try:
            await ready.check()
        except StoreError:
            await asyncio.sleep(0.02)
        else:
            return


async def refusal(ready):
    """What it says, once it does."""
    while True:
        try:
            await ready.check()
        except StoreError as error:
            return error
        await asyncio.sleep(0.02)


async def test_a_lock_that_lasts_is_told_while_it_lasts(tmp_path):
    """An issue's case: another process keeps SQLite's write lock."""
    store = SqliteStore(tmp_path / "x.db")
    await store.submit(create())
    ready = Readiness(store)
    await ready.check()
    other = apsw.Connection(str(store.path))
    other.execute("BEGIN IMMEDIATE")
    waiting = store.submit(fund(1, "k"))
    assert "Nothing could be written for" in str(await refusal(ready))
    assert type(await refusal(ready)) is StoreError, "503, whatever its cause has"
    assert not waiting.done()
    assert store.queued <= 1, "however often it is asked, one look waits"
    other.execute("ROLLBACK")
    await until_well(ready)
    await waiting
    await ready.aclose()
    await store.aclose()


async def test_a_look_that_takes_a_moment_is_waited_for(tmp_path):
    """Where nobody has asked for long, and it cannot be known."""
    store = SqliteStore(tmp_path / "x.db")
    ready = Readiness(store)
    other = apsw.Connection(str(store.path))
    other.execute("BEGIN IMMEDIATE")
    asking = [asyncio.ensure_future(ready.check()) for _ in range(20)]
    await asyncio.sleep(0.05)
    assert not any(each.done() for each in asking)
    other.execute("ROLLBACK")
    await asyncio.gather(*asking)
    await ready.aclose()
    await store.aclose()


async def test_a_full_disk(tmp_path, caplog):
    with FaultyDisk() as disk:
        store = SqliteStore(tmp_path / "x.db", vfs=disk.vfs_name)
        ready = Readiness(store)
        await ready.check()
        disk.fill(of="-wal")
        assert str(await refusal(ready)) == "The database's disk is full."
        assert str(tmp_path) in caplog.text, "the operator is told which"
        disk.release()
        await until_well(ready)
        await ready.aclose()
        await store.aclose()


@pytest.mark.slow
async def test_a_server_that_cannot_be_written(postgres):
    """Its disk is full; or somebody has locked what is written."""
    url = postgres.new()
    store = PostgresStore(url)
    ready = Readiness(store)
    await until_well(ready)
    await asyncio.to_thread(execute, url, FULL)
    assert "disk is full" in str(await refusal(ready))
    await asyncio.to_thread(execute, url, ROOM)
    await until_well(ready)
    async with locked(url):
        assert "Nothing could be written for" in str(await refusal(ready))
    await until_well(ready)
    await ready.aclose()
    await store.aclose()


@pytest.mark.slow
def test_over_http_with_several_workers(tmp_path):
    """Every worker tells it, ``/healthz`` stays, and what waited is done."""
    with Gateway(tmp_path, workers=2) as gateway:
        other = apsw.Connection(gateway.database)
        other.setbusytimeout(60_000)
        other.execute("BEGIN IMMEDIATE")
        gateway.wait_until(lambda: gateway.get("/readyz").status_code == 503)
        told = gateway.wait_until(
            lambda: next((r for r in (gateway.get("/readyz"),) if r.status_code == 503), None)
        )
        assert "written" in told.json()["detail"]
        assert str(tmp_path) not in told.text, "anybody may ask"
        assert int(told.headers["retry-after"]) >= 1
        assert gateway.get("/healthz").status_code == 200
        other.execute("ROLLBACK")
        gateway.wait_until(lambda: all(gateway.get("/readyz").status_code == 200 for _ in range(10)))
