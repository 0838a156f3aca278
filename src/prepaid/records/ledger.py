"""The nouns of money: accounts, holds, transfers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = [
    "Account",
    "Hold",
    "HoldState",
    "SessionState",
    "Transfer",
]


class SessionState(IntEnum):
    """Where a session stands (docs/sessions.md). DEPOSIT marks an owner's unassigned money."""

    ACTIVE = 0
    PAUSED = 1
    CLOSED = 2
    EXPIRED = 3
    DEPOSIT = 4

    @property
    def label(self) -> str:
        """The state as users read it: ``"active"``."""
        return self.name.lower()


class HoldState(IntEnum):
    """A hold is open until it is captured or released, once (guarantee 4)."""

    OPEN = 0
    CAPTURED = 1
    RELEASED = 2


@dataclass(frozen=True, slots=True)
class Account:
    """One balance in the ledger: ``funded == available + held + spent + refunded``, always."""

    session_id: str
    owner: str
    asset: str
    state: SessionState
    funded: int
    available: int
    held: int
    spent: int
    refunded: int
    request_count: int
    last_used_ms: int
    expires_ms: int | None
    line_count: int
    head: bytes


@dataclass(frozen=True, slots=True)
class Hold:
    """Money reserved for one request; ``captured`` is at most ``amount``."""

    session_id: str
    key: str
    amount: int
    state: HoldState
    captured: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """One immutable line of a session's statement: ``amount`` from ``debit`` to ``credit``.

    ``digest`` chains it to the line before (``ledger.line_digest``).
    """

    seq: int
    kind: str
    debit: str
    credit: str
    amount: int
    key: str
    at_ms: int
    actor: str
    chat_no: int
    model: str
    input_units: int
    output_units: int
    digest: bytes
