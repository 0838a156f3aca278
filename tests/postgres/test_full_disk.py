"""A server whose disk is full: told as that, nothing half done, and the same keys lead on when there is room again.

The server says so by its own error, which a trigger raises: to fill a real disk takes one to mount.
"""

from __future__ import annotations

import pytest

from postgres_server import execute
from prepaid.audit import audit
from prepaid.errors import StoreFull
from prepaid.store.postgres.store import PostgresStore
from store.books import balance, create, hold, settle

FULL = """
  CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'disk_full', MESSAGE = 'could not extend file'; END $$;
  CREATE TRIGGER no_room BEFORE INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION no_room()"""
ROOM = "DROP FUNCTION no_room CASCADE"
FAR_MS = 2**50


@pytest.mark.parametrize("table", ["transfer", "hold"])
async def test_it_is_told_and_nothing_is_half_done(table, url):
    """Guarantees 2, 3 and 5."""
    store = PostgresStore(url)
    await store.submit(create("s", 1_000))
    await store.submit(hold(10, "k1", "s", expires_ms=FAR_MS))
    before = balance(store, "s")
    works = [settle(4, "k1", "s")] if table == "transfer" else [hold(10, f"n{n}", "s") for n in range(5)]
    execute(url, FULL.format(table=table))
    for _ in range(2):
        for work in works:
            with pytest.raises(StoreFull, match="disk is full") as refused:
                await store.submit(work)
            assert refused.value.retryable
            assert "Free some space" in refused.value.remedy
        assert balance(store, "s") == before, "what is there can be read"
    execute(url, ROOM)
    for work in works:
        await store.submit(work)
    assert balance(store, "s") == ((996, 0, 4, 0) if table == "transfer" else (940, 60, 0, 0))
    assert (await store.report(audit)).is_clean
    await store.aclose()
