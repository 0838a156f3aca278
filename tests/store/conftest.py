"""A store to test, and others on the same database: each test runs on every database there is."""

from __future__ import annotations

import re
from contextlib import closing
from functools import partial

import apsw
import pytest

import stores
from postgres_server import execute

from .books import Clock, assert_sound, create


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def by_hand(database, where):
    """Runs statements on the database as no store would. Values of bytes are written ``x'00'``."""
    return partial(sqlite_by_hand if database == "sqlite" else postgres_by_hand, where)


def sqlite_by_hand(path, *statements):
    with closing(apsw.Connection(str(path))) as connection:
        for statement in statements:
            connection.execute(statement)


def postgres_by_hand(url, *statements):
    for statement in statements:
        execute(url, re.sub(r"x'([0-9a-f]*)'", r"'\\x\1'::bytea", statement))


@pytest.fixture
async def open_store(where, clock):
    """Opens one more store, as another process would, on the database of this test."""
    opened = []

    def opening():
        opened.append(stores.open_store(where, clock=clock))
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
