"""What handlers work on: one transaction of either database, and the few places where their SQL differs.

Handlers register for an operation's type with ``@handles``; they return a result, or an error *instance*
where the operation is refused. Raising is for what nobody foresaw, and rolls the whole batch back. Their SQL
is what SQLite and PostgreSQL both understand, with ``?`` or ``?1`` for values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from prepaid.store.operations import Operation

__all__ = ["LineFields", "Unit", "WriteSql", "apply", "handles"]

LineFields = tuple[str, str, str, int, str, int, str, int, str, int, int]
"""kind, debit, credit, amount, key, at_ms, actor, chat_no, model, input_units, output_units"""


@dataclass(frozen=True, slots=True)
class WriteSql:
    """The statements that each database has its own of; the values that they take are the same.

    ``…_from`` say where the ids of a new chat's messages (a new history's items) begin.
    """

    messages_from: str
    insert_message: str
    """session_id, chat_no, id, turn, kind, at_ms, body"""
    delete_message: str
    """session_id, chat_no, id; returns kind, body"""
    delete_messages: str
    """session_id, chat_no, first id, last id"""
    items_from: str
    insert_item: str
    """session_id, chat_no, id, body"""
    delete_item: str
    """session_id, chat_no, id; returns body"""
    delete_items: str
    """session_id, chat_no, first id, last id"""
    free_in_pool: str
    """now_ms; returns session_id, cap, owner of the session that has waited longest"""


class Unit(Protocol):
    """One transaction."""

    sql: WriteSql
    now_ms: int

    def run(self, sql: str, values: tuple[Any, ...] = ()) -> object:
        """Change something; ``changes`` says how many rows."""

    def one(self, sql: str, values: tuple[Any, ...] = ()) -> Any:
        """The first row, or ``None``."""

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """All rows."""

    @property
    def changes(self) -> int:
        """Rows changed by the last ``run``."""

    def touch(self) -> None:
        """Have the transaction write, though it changes nothing."""

    def lock(self, session_id: str) -> None:
        """Keep others from a session that the operation did not name, until the transaction ends."""

    def append_line(self, session_id: str, line: LineFields) -> None:
        """Extend a session's chain by one line; the balance is the caller's business."""

    def append_capture(
        self, session_id: str, amount: int, captured: int, line: LineFields
    ) -> tuple[int, int, str]:
        """Take a capture out of a hold of ``amount`` and extend the chain, in one statement.

        Returns the account's state, what is available, and its owner.
        """


OperationT = TypeVar("OperationT", bound=Operation)
ResultT = TypeVar("ResultT")
_HANDLERS: dict[type[Operation], Callable[[Any, Any], object]] = {}


def handles(
    kind: type[OperationT],
) -> Callable[[Callable[[Unit, OperationT], ResultT]], Callable[[Unit, OperationT], ResultT]]:
    """Register the function that applies operations of this type."""

    def register(handler: Callable[[Unit, OperationT], ResultT]) -> Callable[[Unit, OperationT], ResultT]:
        _HANDLERS[kind] = handler
        return handler

    return register


def apply(unit: Unit, operation: Operation) -> object:
    """The operation's result, or the error instance that refuses it."""
    return _HANDLERS[type(operation)](unit, operation)
