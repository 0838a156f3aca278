"""A store to test, and others on the same database. Only this file knows which database it is."""

from __future__ import annotations

import pytest

from prepaid.store.sqlite.store import SqliteStore

from .books import Clock, assert_sound, create


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def open_store(tmp_path, clock):
    """Opens one more store, as another process would, on the database of this test."""
    opened = []

    def opening():
        opened.append(SqliteStore(tmp_path / "ledger.db", clock=clock))
        return opened[-1]

    yield opening
    for store in opened:
        await store.aclose()


@pytest.fixture
async def store(open_store):
    """An empty store, audited when the test is over."""
    made = open_store()
    yield made
    await assert_sound(made)


@pytest.fixture
async def session(store):
    """The store, with one session of 1,000 in it."""
    await store.submit(create())
    return store
