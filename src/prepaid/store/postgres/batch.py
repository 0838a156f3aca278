"""One batch of operations in a transaction that the lane has begun."""

from __future__ import annotations

from prepaid.store.operations import Operation
from prepaid.store.postgres.connection import Connection
from prepaid.store.postgres.greenlets import in_greenlet
from prepaid.store.postgres.unit import Unit
from prepaid.store.unit import apply

__all__ = ["apply_batch"]


async def apply_batch(connection: Connection, operations: list[Operation], now_ms: int) -> list[object]:
    """Each operation's result, or the error instance that refuses it."""
    unit = Unit(connection, now_ms)
    return [await in_greenlet(apply, unit, operation) for operation in operations]
