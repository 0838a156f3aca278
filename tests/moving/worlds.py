"""What the tests of moving share: places opened and closed, books with a row in every table, and what is compared."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import tempfile
from contextlib import ExitStack, closing

from prepaid.config import Settings
from prepaid.moving.places import opened
from prepaid.records import RequestState
from prepaid.statements import build_statement, verify_statement
from prepaid.store.operations import (
    AddItems,
    BeginRequest,
    Conversation,
    EndRequest,
    Entry,
    SaveConversation,
    SaveSettings,
)
from prepaid.store.tables import TABLES
from store.books import Clock, fund, something_of_everything
from stores import open_store

from .killed import killed_at

LONG = int(os.environ.get("PREPAID_TEST_MOVES", "1"))
"""How many times as many moves and kills as in the short profile."""

PAIRS = [("sqlite", "postgres"), ("postgres", "sqlite"), ("sqlite", "sqlite"), ("postgres", "postgres")]


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "pytest",
        "prepaid.cli.app",
        "prepaid.cli.running",
        "prepaid.moving.backups",
        "prepaid.moving.migrating",
        "prepaid.store.postgres.place",
        "prepaid.store.sqlite.place",
        "rich.progress",
    ]
)
"""Processes to kill, each forked from one that has imported what they need."""


def dies(arguments, deadly):
    """Whether ``prepaid`` with these arguments got as far as where it is killed; else it must have ended well."""
    return _ran(arguments, deadly)[0] == -signal.SIGKILL


def steps_of(arguments):
    """How many steps ``prepaid`` with these arguments takes."""
    return _ran(arguments, 0)[1]


def _ran(arguments, deadly):
    counted = FORKS.Value("i", 0)
    child = FORKS.Process(target=killed_at, args=(arguments, deadly, counted, tempfile.gettempdir()))
    child.start()
    child.join(120)
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode, counted.value


class Worlds(ExitStack):
    """Databases of one test, by what they are called: a path or a URL."""

    def __init__(self, new) -> None:
        super().__init__()
        self.new = new

    def place(self, where):
        """It, to carry from or into."""
        return self.enter_context(closing(place(where)))

    def filled(self, kind):
        """A database with a row in every table, and more sessions than one batch of two."""
        where = self.new(kind)
        run(where, fill)
        return where


def place(where):
    return opened(Settings(database=str(where)))


def run(where, work):
    """``await work(store)`` on a store of its own."""

    async def working():
        store = open_store(where, clock=Clock())
        try:
            return await work(store)
        finally:
            await store.aclose()

    return asyncio.run(working())


async def fill(store):
    say = store.submit
    await something_of_everything(say)
    talk = Conversation("c", "1", "e2", (), "scope", 5, "{}")
    await say(SaveConversation("s1", "ann", talk, None, (Entry("e1", None, "{}"), Entry("e2", "e1", "{}"))))
    await say(AddItems("s1", "ann", 0, ('{"a": 1}', '{"b": 2}')))
    await say(AddItems("s1", "ann", 1, ('{"c": 3}',)))
    await say(BeginRequest("s1", "ann", "r1", 5))
    await say(EndRequest("s1", "r1", RequestState.SUCCESS, "{}"))
    await say(SaveSettings("", (("pool_size", "5"),)))
    for number in range(8):
        await say(fund(number + 1, f"more-{number}", "s3"))


def seen(where):
    """All that users and operators can tell of a database: statements, and every table."""
    with closing(place(where)) as found:
        statements = found.ask(statements_of)
        with found.snapshot():
            tables = {
                table.name: [row for rows in found.rows(table, None) for row in rows] for table in TABLES
            }
    return statements, tables


def statements_of(reads):
    accounts = [account.session_id for account in reads.accounts("", 1_000)]
    statements = [build_statement(reads, each) for each in accounts]
    for statement in statements:
        verify_statement(statement)
    return statements
