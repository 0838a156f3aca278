"""Rows of the accounts: what all handlers that move money share."""

from __future__ import annotations

from prepaid.errors import (
    AmountTooLarge,
    InsufficientFunds,
    PrepaidError,
    SessionAlreadyClosed,
    SessionExpired,
    SessionNotFound,
    SessionPaused,
)
from prepaid.money import AMOUNT_MAX
from prepaid.records import SessionState
from prepaid.store.lines import first_digest
from prepaid.store.unit import Unit

DEPOSIT_PREFIX = "deposit:"

__all__ = [
    "DEPOSIT_PREFIX",
    "add_funds",
    "open_account",
    "pay_out",
    "post",
    "why_not_active",
    "why_not_fundable",
    "why_not_live",
    "why_not_spendable",
]

_STANDING = """
  SELECT state, available, held, refunded, expires_ms FROM account WHERE session_id = ? AND owner = ?"""


def post(
    unit: Unit,
    session_id: str,
    kind: str,
    debit: str,
    credit: str,
    amount: int,
    key: str,
    *,
    actor: str = "",
    model: str = "",
) -> None:
    """Append one line to the session's chain; the balance is the caller's business."""
    line = (kind, debit, credit, amount, key, unit.now_ms, actor, 0, model, 0, 0)
    unit.append_line(session_id, line)


def open_account(
    unit: Unit, session_id: str, owner: str, asset: str, state: SessionState, expires_ms: int | None = None
) -> None:
    """A new, empty account."""
    unit.run(
        "INSERT INTO account (session_id, owner, asset, state, funded, available, held, spent, refunded,"
        " last_used_ms, expires_ms, head) VALUES (?, ?, ?, ?, 0, 0, 0, 0, 0, ?, ?, ?)",
        (session_id, owner, asset, state, unit.now_ms, expires_ms, first_digest(session_id, owner, asset)),
    )


def add_funds(unit: Unit, session_id: str, amount: int, debit: str, key: str, actor: str) -> None:
    """Money comes into an account from ``debit``."""
    unit.run(
        "UPDATE account SET available = available + ?1, funded = funded + ?1, last_used_ms = ?2"
        " WHERE session_id = ?3",
        (amount, unit.now_ms, session_id),
    )
    credit = "deposit" if session_id.startswith(DEPOSIT_PREFIX) else "session"
    post(unit, session_id, "fund", debit, credit, amount, key, actor=actor)


def pay_out(unit: Unit, session_id: str, owner: str, amount: int, key: str) -> None:
    """A closed session's free money goes back to its owner."""
    unit.run(
        "UPDATE account SET available = available - ?1, refunded = refunded + ?1 WHERE session_id = ?2",
        (amount, session_id),
    )
    post(unit, session_id, "refund", "session", "owner", amount, key, actor=owner)


def why_not_live(unit: Unit, session_id: str, owner: str) -> PrepaidError | None:
    """Why the session is not open to this owner; paused counts as open."""
    row = unit.one(_STANDING, (session_id, owner))
    if row is None or row[0] == SessionState.DEPOSIT:
        return SessionNotFound(session_id)
    state, _, _, refunded, expires_ms = row
    if state == SessionState.CLOSED:
        return SessionAlreadyClosed(session_id, refunded)
    if state == SessionState.EXPIRED or (expires_ms is not None and expires_ms <= unit.now_ms):
        return SessionExpired(session_id)
    return None


def why_not_active(unit: Unit, session_id: str, owner: str) -> PrepaidError | None:
    """Why this owner cannot spend the session, whatever there is on it."""
    reason = why_not_live(unit, session_id, owner)
    if reason is not None:
        return reason
    state = unit.one(_STANDING, (session_id, owner))[0]
    return SessionPaused(session_id) if state == SessionState.PAUSED else None


def why_not_spendable(unit: Unit, session_id: str, owner: str, needed: int) -> PrepaidError:
    """Why a hold was refused: the first reason that applies."""
    reason = why_not_active(unit, session_id, owner)
    if reason is not None:
        return reason
    _, available, held, _, _ = unit.one(_STANDING, (session_id, owner))
    return InsufficientFunds(needed, available, held)


def why_not_fundable(unit: Unit, session_id: str, amount: int) -> PrepaidError | None:
    """Whether an account, perhaps one that is not there yet, has room for ``amount`` more."""
    row = unit.one("SELECT funded FROM account WHERE session_id = ?", (session_id,))
    funded = row[0] if row else 0
    if funded + amount <= AMOUNT_MAX:
        return None
    return AmountTooLarge(f"{amount} more than the {funded} funded so far is above {AMOUNT_MAX} base units.")
