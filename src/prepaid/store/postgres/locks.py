"""What a batch locks before its first operation, in one order for everybody.

Handlers are written as if they were alone with the database, which on SQLite they are. Here a batch first
takes the names of what its operations count or look up across sessions, then its sessions' accounts, each in
one order, so that two batches never wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prepaid.records import SessionRecord, SessionState
from prepaid.store.handlers.account_rows import DEPOSIT_PREFIX
from prepaid.store.operations import (
    AddToPool,
    ChooseSession,
    CreateSession,
    Deposit,
    EndLease,
    IssueKey,
    Once,
    Operation,
    Probe,
    RemoveFromPool,
    RestoreSession,
    SaveSettings,
    SetState,
    TakeFromPool,
    Withdraw,
)

__all__ = ["accounts_of", "names_of", "sessions_of"]

_ACTIVE: Final = "active sessions"
_POOL: Final = "pool"
_SETTINGS: Final = "settings"


def names_of(operations: Iterable[Operation]) -> list[str]:
    """What the operations need for themselves beside their sessions, in the order to take it in."""
    return sorted({name for operation in operations for name in _names(operation)})


def sessions_of(operations: Iterable[Operation]) -> list[str]:
    """The accounts that the operations are about, in the order to lock them in."""
    return sorted({account for operation in operations for account in accounts_of(operation)})


def accounts_of(operation: Operation) -> tuple[str, ...]:
    """The accounts that an operation is about, its own first; they need not be there."""
    match operation:
        case Probe():
            return ()
        case Once():
            return (operation.session_id, *accounts_of(operation.work))
        case ChooseSession():
            return (operation.session_id, *accounts_of(operation.wanted))
        case CreateSession():
            replaced = () if operation.replaces is None else (operation.replaces,)
            return (operation.session_id, DEPOSIT_PREFIX + operation.owner, *replaced)
    return (operation.session_id,)


def _names(operation: Operation) -> list[str]:
    names: list[str] = []
    match operation:
        case Once():
            names = [f"once {operation.session_id}", *_names(operation.work)]
        case ChooseSession():
            names = [f"once {operation.session_id}", *_names(operation.wanted)]
        case (
            CreateSession(owner=owner, limits=limits)
            | RestoreSession(record=SessionRecord(owner=owner), limits=limits)
        ):
            names = [DEPOSIT_PREFIX + owner, *([] if limits.active_max is None else [_ACTIVE])]
        case SetState(state=SessionState.ACTIVE):
            names = [_ACTIVE]
        case Deposit() | Withdraw():
            names = [operation.session_id]
        case AddToPool() | RemoveFromPool() | TakeFromPool() | EndLease():
            names = [_POOL]
        case IssueKey():
            names = [f"keys {operation.session_id}"]
        case SaveSettings():
            names = [_SETTINGS]
    return names
