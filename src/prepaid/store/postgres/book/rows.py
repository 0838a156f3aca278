"""Rows as a batch works on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from prepaid.store.lines import line_digest, payload
from prepaid.store.unit import LineFields

__all__ = ["AccountRow", "Book", "ChatRow", "HoldRow", "KeyRow", "LeaseRow", "OperationRow"]


@dataclass(slots=True)
class AccountRow:
    """A balance, and the head of its chain."""

    session_id: str
    owner: str
    state: int
    available: int
    held: int
    spent: int
    refunded: int
    request_count: int
    last_used_ms: int
    expires_ms: int | None
    line_count: int
    head: bytes


@dataclass(slots=True)
class HoldRow:
    """A hold; ``is_new`` until it is saved."""

    session_id: str
    key: str
    fingerprint: bytes
    amount: int
    state: int
    captured: int
    cost: int
    delivered: int
    sent: bool
    expires_ms: int
    actor: str
    chat_no: int
    lease_id: str | None
    key_no: int | None
    is_new: bool = False


@dataclass(slots=True)
class ChatRow:
    """A chat; ``open_expires_ms`` is the deadline of its open turn's hold."""

    session_id: str
    chat_no: int
    message_count: int
    message_max: int | None
    turn_count: int
    spent: int
    answering_ms: int
    last_ms: int | None
    open_turn: str | None
    open_expires_ms: int | None


@dataclass(slots=True)
class LeaseRow:
    """A lease, and what was spent and is held under it."""

    session_id: str
    lease_id: str
    taker: str
    cap: int | None
    reserved: int
    spent: int
    expires_ms: int
    ended_ms: int | None


@dataclass(slots=True)
class KeyRow:
    """An API key's cap, and what was spent and is held under it."""

    holder: str
    number: int
    cap: int | None
    reserved: int
    spent: int
    revoked_ms: int | None


@dataclass(slots=True)
class OperationRow:
    """What was answered under a key."""

    session_id: str
    key: str
    kind: str
    fingerprint: bytes
    status: str
    response: str


@dataclass(slots=True)
class Book:
    """All rows that a batch reads or changes; ``changed…`` and ``new…`` are what is to be saved."""

    now_ms: int
    accounts: dict[str, AccountRow] = field(default_factory=dict)
    holds: dict[tuple[str, str], HoldRow] = field(default_factory=dict)
    chats: dict[tuple[str, int], ChatRow] = field(default_factory=dict)
    leases: dict[tuple[str, str], LeaseRow] = field(default_factory=dict)
    keys: dict[tuple[str, int], KeyRow] = field(default_factory=dict)
    operations: dict[tuple[str, str], OperationRow] = field(default_factory=dict)
    changed: dict[int, Any] = field(default_factory=dict)
    """Rows to be saved by their ``id()``, in the order of their first change."""
    new_lines: list[tuple[Any, ...]] = field(default_factory=list)
    new_messages: list[tuple[Any, ...]] = field(default_factory=list)

    def change(self, *rows: object) -> None:
        """These are to be saved."""
        for row in rows:
            self.changed[id(row)] = row

    def changed_of(self, kind: type) -> list[Any]:
        """The rows of one kind that are to be saved."""
        return [row for row in self.changed.values() if type(row) is kind]

    def append_line(self, account: AccountRow, line: LineFields) -> None:
        """Extend a session's chain by one line; the balance is the caller's business."""
        account.line_count += 1
        account.head = line_digest(account.head, account.line_count, payload(*line))
        self.new_lines.append((account.session_id, account.line_count, *line, account.head))
