"""A store to test, and others on the same database: each test runs on every database there is.

Only this file knows which database it is.
"""

from __future__ import annotations

import re
from contextlib import closing
from functools import partial

import apsw
import pytest

from postgres_server import GIVEN, execute
from prepaid.store.postgres.store import PostgresStore
from prepaid.store.sqlite.store import SqliteStore

from .books import Clock, assert_sound, create

DATABASES = [
    "sqlite",
    pytest.param("postgres", marks=pytest.mark.slow),
    *([pytest.param("given-postgres", marks=pytest.mark.slow)] if GIVEN else []),
]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=DATABASES)
def database(request):
    return request.param


@pytest.fixture
def new_store(database, request, tmp_path):
    """Makes stores on the database of this test."""
    if database == "sqlite":
        yield partial(SqliteStore, tmp_path / "ledger.db")
        return
    databases = request.getfixturevalue("postgres" if database == "postgres" else "given_postgres")
    url = databases.new()
    yield partial(PostgresStore, url)
    is_as_it_was = "by_hand" not in request.fixturenames
    (databases.give_back if is_as_it_was else databases.drop)(url)


@pytest.fixture
def by_hand(database, new_store):
    """Runs statements on the database as no store would. Values of bytes are written ``x'00'``."""
    (where,) = new_store.args
    return partial(sqlite_by_hand if database == "sqlite" else postgres_by_hand, where)


def sqlite_by_hand(path, *statements):
    with closing(apsw.Connection(str(path))) as connection:
        for statement in statements:
            connection.execute(statement)


def postgres_by_hand(url, *statements):
    for statement in statements:
        execute(url, re.sub(r"x'([0-9a-f]*)'", r"'\\x\1'::bytea", statement))


@pytest.fixture
async def open_store(new_store, clock):
    """Opens one more store, as another process would, on the database of this test."""
    opened = []

    def opening():
        opened.append(new_store(clock=clock))
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
