"""One batch of operations in a transaction that the lane has begun, its accounts locked.

Runs of holds and settlements are applied to rows in memory; what is rare goes to the handlers that SQLite has
too, one by one, statement by statement. The order of submission is kept between them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any, Final

from prepaid.store.operations import Hold, Operation, Progress, Reconcile, Release, Settle
from prepaid.store.postgres.book.holding import hold, progress
from prepaid.store.postgres.book.loading import load
from prepaid.store.postgres.book.rows import Book
from prepaid.store.postgres.book.saving import save
from prepaid.store.postgres.book.settling import reconcile, release, settle
from prepaid.store.postgres.connection import Connection
from prepaid.store.postgres.greenlets import in_greenlet
from prepaid.store.postgres.unit import Unit
from prepaid.store.unit import apply

__all__ = ["apply_batch"]

_HOT: Final[dict[type[Operation], Callable[[Book, Any], object]]] = {
    Hold: hold,
    Progress: progress,
    Reconcile: reconcile,
    Release: release,
    Settle: settle,
}


async def apply_batch(connection: Connection, operations: list[Operation], now_ms: int) -> list[object]:
    """Each operation's result, or the error instance that refuses it."""
    results: list[object] = []
    for is_hot, run in groupby(operations, lambda operation: type(operation) in _HOT):
        if is_hot:
            results += await _in_memory(connection, list(run), now_ms)
        else:
            unit = Unit(connection, now_ms)
            results += [await in_greenlet(apply, unit, operation) for operation in run]
    return results


async def _in_memory(connection: Connection, operations: list[Any], now_ms: int) -> list[object]:
    book = await load(connection, operations, now_ms)
    results = [_HOT[type(operation)](book, operation) for operation in operations]
    await save(connection, book)
    return results
