"""Money that comes in and goes out: funding sessions, and owners' unassigned deposits."""

from __future__ import annotations

import json

from prepaid.errors import CurrencyMismatch, InsufficientFunds, PrepaidError
from prepaid.records import SessionState
from prepaid.store.handlers.account_rows import add_funds, open_account, post, why_not_fundable, why_not_live
from prepaid.store.handlers.replay import earlier, remember, remember_refusal
from prepaid.store.operations import Deposit, Fund, Funded, Withdraw
from prepaid.store.unit import Unit, handles

__all__ = ["take_deposit"]


@handles(Fund)
def fund(unit: Unit, work: Fund) -> Funded | PrepaidError:
    """Add money to a session that is active or paused."""
    if unit.one("SELECT 1 FROM account WHERE session_id = ? AND owner = ?", (work.session_id, work.owner)):
        before = _funded_before(unit, work, "fund")
        if before is not None:
            return before
    reason = why_not_live(unit, work.session_id, work.owner)
    reason = reason or why_not_fundable(unit, work.session_id, work.amount)
    if reason is not None:
        return _refused(unit, work, "fund", reason)
    add_funds(unit, work.session_id, work.amount, "funding", work.key, work.owner)
    return _funded(unit, work, "fund")


@handles(Deposit)
def deposit(unit: Unit, work: Deposit) -> Funded | PrepaidError:
    """Add to an owner's unassigned money, opening the account at first."""
    before = _funded_before(unit, work, "deposit")
    if before is not None:
        return before
    reason = why_not_fundable(unit, work.session_id, work.amount)
    if reason is not None:
        return reason
    row = unit.one("SELECT asset FROM account WHERE session_id = ?", (work.session_id,))
    if row is None:
        open_account(unit, work.session_id, work.owner, work.asset, SessionState.DEPOSIT)
    elif row[0] != work.asset:
        return CurrencyMismatch(f"The deposit of {work.owner!r} is in {row[0]}, not in {work.asset}.")
    add_funds(unit, work.session_id, work.amount, "funding", work.key, work.owner)
    return _funded(unit, work, "deposit")


@handles(Withdraw)
def withdraw(unit: Unit, work: Withdraw) -> Funded | PrepaidError:
    """Pay unassigned money out to its owner."""
    before = _funded_before(unit, work, "withdraw")
    if before is not None:
        return before
    left = take_deposit(unit, work.session_id, work.amount, "owner", work.key, work.owner)
    if isinstance(left, PrepaidError):
        return _refused(unit, work, "withdraw", left)
    return _funded(unit, work, "withdraw")


def take_deposit(
    unit: Unit, deposit_id: str, amount: int, credit: str, key: str, owner: str
) -> int | PrepaidError:
    """Move ``amount`` out of an owner's deposit to ``credit``; the deposit never goes below zero."""
    row = unit.one(
        "UPDATE account SET available = available - ?1, refunded = refunded + ?1"
        " WHERE session_id = ?2 AND available >= ?1 RETURNING available",
        (amount, deposit_id),
    )
    if row is None:
        found = unit.one("SELECT available FROM account WHERE session_id = ?", (deposit_id,))
        return InsufficientFunds(amount, found[0] if found else 0)
    post(unit, deposit_id, "withdraw", "deposit", credit, amount, key, actor=owner)
    return int(row[0])


def _funded_before(unit: Unit, work: Fund | Deposit | Withdraw, kind: str) -> Funded | PrepaidError | None:
    answered = earlier(unit, work.session_id, work.key, kind, work.fingerprint)
    return Funded(**json.loads(answered), replayed=True) if isinstance(answered, str) else answered


def _refused(unit: Unit, work: Fund | Withdraw, kind: str, reason: PrepaidError) -> PrepaidError:
    if work.keep_refusal:
        remember_refusal(unit, work.session_id, work.key, kind, work.fingerprint, reason)
    return reason


def _funded(unit: Unit, work: Fund | Deposit | Withdraw, kind: str) -> Funded:
    available, funded = unit.one(
        "SELECT available, funded FROM account WHERE session_id = ?", (work.session_id,)
    )
    response = json.dumps({"available": available, "funded": funded})
    remember(unit, work.session_id, work.key, kind, work.fingerprint, response)
    return Funded(available, funded)
