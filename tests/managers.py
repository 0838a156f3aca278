"""What the tests of sessions share: a clock to turn, managers on one file, their stores, an audit."""

from __future__ import annotations

from contextlib import asynccontextmanager

from prepaid import Event, SessionManager
from prepaid.audit import audit
from prepaid.config import Settings

START_MS = 1_800_000_000_000


class Clock:
    """Database time, turned by hand."""

    def __init__(self) -> None:
        self.now = START_MS

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds):
        self.now += int(seconds * 1000)


@asynccontextmanager
async def opened(path, *, clock=None, models=(), top=None, **sessions):
    """A manager without clean-up of its own; what it leaves behind is audited."""
    sessions.setdefault("auto_cleanup", False)
    settings = Settings(database=str(path), sessions=sessions, **(top or {}))
    more = {} if clock is None else {"clock": clock}
    async with SessionManager(settings=settings, models=models, **more) as manager:
        yield manager
        await assert_sound(manager)


def store_of(manager):
    return manager._workspace.store


def told(manager):
    """Every event of the manager from now on, in a list that grows."""
    seen = []
    manager.on(Event, seen.append)
    return seen


def texts(history):
    return [stored.message.text for stored in history]


async def assert_sound(manager):
    """Guarantees 1 to 4 hold over the whole database."""
    report = audit(store_of(manager).reads)
    assert report.is_clean, str(report)


def plan(store, sql, values=()):
    """How SQLite would answer a query."""
    return [row[3] for row in store.reads.rows(f"EXPLAIN QUERY PLAN {sql}", values)]
