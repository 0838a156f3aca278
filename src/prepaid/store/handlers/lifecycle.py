"""Sessions: opened, paused, resumed, closed, expired. The diagram is in docs/sessions.md."""

from __future__ import annotations

import json
from dataclasses import asdict

from prepaid.errors import (
    BalanceTooLow,
    CurrencyMismatch,
    InsufficientFunds,
    PrepaidError,
    SessionLimitReached,
    SessionNotFound,
    TransitionRefused,
)
from prepaid.records import SessionState
from prepaid.store.handlers import pool_rows
from prepaid.store.handlers.account_rows import (
    DEPOSIT_PREFIX,
    add_funds,
    open_account,
    pay_out,
    why_not_fundable,
    why_not_live,
)
from prepaid.store.handlers.deposits import take_deposit
from prepaid.store.handlers.key_rows import insert_first_key
from prepaid.store.handlers.money import release
from prepaid.store.handlers.replay import earlier, remember, remember_refusal
from prepaid.store.operations import (
    Close,
    Closed,
    CloseIfDue,
    Created,
    CreateSession,
    Limits,
    Release,
    SetState,
)
from prepaid.store.unit import Unit, handles

_INSERT_SESSION = """
  INSERT INTO session (session_id, name, metadata, preferences, tags, created_ms, auto_save, idle_ms,
                       due_ms, seen_ms)
  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?6)"""

_MARK_CLOSED = """
  UPDATE account SET state = ?1 WHERE session_id = ?2 RETURNING owner, available, held"""


@handles(CreateSession)
def create(unit: Unit, wanted: CreateSession) -> Created | PrepaidError:
    """Open a session and fund it, within the limits that hold over all processes.

    The key belongs to the owner, since the session does not exist before: it is kept under the
    owner's deposit id. Nothing is kept of a key that nobody comes back with.
    """
    deposit_id = DEPOSIT_PREFIX + wanted.owner
    if wanted.keep_refusal:
        answered = earlier(unit, deposit_id, wanted.key, "create", wanted.fingerprint)
        if answered is not None:
            return answered if isinstance(answered, PrepaidError) else Created(**json.loads(answered))
    refusal = _why_not_create(unit, wanted, deposit_id)
    if refusal is not None:
        if wanted.keep_refusal:
            remember_refusal(unit, deposit_id, wanted.key, "create", wanted.fingerprint, refusal)
        return refusal
    amount, held = _carry_over(unit, wanted) or (_amount(unit, wanted, deposit_id), 0)
    open_account(unit, wanted.session_id, wanted.owner, wanted.asset, SessionState.ACTIVE, wanted.expires_ms)
    if amount:
        source = _source(unit, wanted, deposit_id, amount)
        add_funds(unit, wanted.session_id, amount, source, wanted.key, wanted.owner)
    _describe(unit, wanted)
    created = Created(wanted.session_id, amount, held)
    if wanted.keep_refusal:
        remember(unit, deposit_id, wanted.key, "create", wanted.fingerprint, json.dumps(asdict(created)))
    return created


def _why_not_create(unit: Unit, wanted: CreateSession, deposit_id: str) -> PrepaidError | None:
    if wanted.replaces is not None:
        return _why_not_replace(unit, wanted, wanted.replaces)
    limit = why_over_limit(unit, wanted.owner, wanted.limits)
    if limit is not None:
        return limit
    amount = _amount(unit, wanted, deposit_id)
    if wanted.from_deposit:
        reason = _why_not_from_deposit(unit, wanted, deposit_id, amount)
        if reason is not None:
            return reason
    if amount < wanted.minimum:
        return BalanceTooLow(amount, wanted.minimum)
    return why_not_fundable(unit, wanted.session_id, amount)


def _why_not_from_deposit(
    unit: Unit, wanted: CreateSession, deposit_id: str, amount: int
) -> PrepaidError | None:
    asset, deposited = _deposit(unit, deposit_id)
    if asset is not None and asset != wanted.asset:
        return CurrencyMismatch(f"The deposit of {wanted.owner!r} is in {asset}, not in {wanted.asset}.")
    if amount == 0:
        return InsufficientFunds(max(wanted.minimum, 1), 0)
    return InsufficientFunds(amount, deposited) if amount > deposited else None


def _why_not_replace(unit: Unit, wanted: CreateSession, replaced: str) -> PrepaidError | None:
    """Why a session cannot be restarted. One is closed for the one that opens, so few limits can be met."""
    reason = why_not_live(unit, replaced, wanted.owner)
    if reason is not None:
        return reason
    state, asset, available = unit.one(
        "SELECT state, asset, available FROM account WHERE session_id = ?", (replaced,)
    )
    if asset != wanted.asset:
        return CurrencyMismatch(f"Session {replaced} is in {asset}, not in {wanted.asset}.")
    (unsent,) = unit.one(
        "SELECT coalesce(sum(amount), 0) FROM hold WHERE session_id = ? AND state = 0 AND NOT sent",
        (replaced,),
    )
    if available + unsent < wanted.minimum:
        return BalanceTooLow(available + unsent, wanted.minimum)
    if state == SessionState.PAUSED:  # which does not count as active, as the new one will
        return why_over_limit(unit, wanted.owner, Limits(active_max=wanted.limits.active_max))
    return None


def why_over_limit(unit: Unit, owner: str, limits: Limits) -> PrepaidError | None:
    """Which limit keeps this owner from another active session, in whatever process the others are."""
    if limits.active_max is not None and _tally(unit, "") >= limits.active_max:
        return SessionLimitReached("max_active_sessions", limits.active_max)
    if limits.per_user_max is not None and _tally(unit, "live:" + owner) >= limits.per_user_max:
        return SessionLimitReached("max_sessions_per_user", limits.per_user_max)
    return None


def _tally(unit: Unit, scope: str) -> int:
    row = unit.one("SELECT n FROM tally WHERE scope = ?", (scope,))
    return row[0] if row else 0


def _amount(unit: Unit, wanted: CreateSession, deposit_id: str) -> int:
    if wanted.amount is not None:
        return wanted.amount
    return _deposit(unit, deposit_id)[1] if wanted.from_deposit else 0


def _deposit(unit: Unit, deposit_id: str) -> tuple[str | None, int]:
    """The asset and the amount of an owner's unassigned money."""
    row = unit.one("SELECT asset, available FROM account WHERE session_id = ?", (deposit_id,))
    return (row[0], row[1]) if row else (None, 0)


def _carry_over(unit: Unit, wanted: CreateSession) -> tuple[int, int] | None:
    """What the replaced session refunds, and what of it is still held; ``None`` where none is replaced."""
    if wanted.replaces is None:
        return None
    closed = close_now(unit, wanted.replaces, SessionState.CLOSED, wanted.key)
    return closed.refunded, closed.held


def _source(unit: Unit, wanted: CreateSession, deposit_id: str, amount: int) -> str:
    """The account that pays; a deposit is debited in its own chain too."""
    if wanted.replaces is not None:
        return "owner"
    if not wanted.from_deposit:
        return "funding"
    take_deposit(unit, deposit_id, amount, "session", wanted.key, wanted.owner)
    return "deposit"


def _describe(unit: Unit, wanted: CreateSession) -> None:
    unit.run(
        _INSERT_SESSION,
        (
            wanted.session_id,
            wanted.name,
            wanted.metadata,
            wanted.preferences,
            json.dumps(wanted.tags),
            unit.now_ms,
            wanted.auto_save,
            wanted.idle_ms,
            _due(unit.now_ms, wanted.idle_ms, wanted.expires_ms),
        ),
    )
    if wanted.key_digest is not None:
        insert_first_key(unit, wanted.session_id, wanted.owner, wanted.key_digest, wanted.key_limits)


@handles(SetState)
def set_state(unit: Unit, work: SetState) -> PrepaidError | None:
    """Pause an active session or resume a paused one; nothing else."""
    reason = why_not_live(unit, work.session_id, work.owner)
    if reason is not None:
        return reason
    (state,) = unit.one("SELECT state FROM account WHERE session_id = ?", (work.session_id,))
    if state == work.state:
        action = "pause" if work.state == SessionState.PAUSED else "resume"
        return TransitionRefused(work.session_id, SessionState(state).label, action)
    if work.state == SessionState.ACTIVE:
        active_only = Limits(active_max=work.limits.active_max)
        limit = why_over_limit(unit, work.owner, active_only)
        if limit is not None:
            return limit
    unit.run(
        "UPDATE account SET state = ?, last_used_ms = ? WHERE session_id = ?",
        (work.state, unit.now_ms, work.session_id),
    )
    return None


@handles(Close)
def close(unit: Unit, work: Close) -> Closed | PrepaidError:
    """Close a live session; an expired one is closed as expired."""
    row = unit.one(
        "SELECT state, expires_ms FROM account WHERE session_id = ? AND owner = ?",
        (work.session_id, work.owner),
    )
    if row is None or row[0] == SessionState.DEPOSIT:
        return SessionNotFound(work.session_id)
    if work.key:
        answered = earlier(unit, work.session_id, work.key, "close", b"")
        if answered is not None:
            return answered if isinstance(answered, PrepaidError) else Closed(**json.loads(answered))
    if row[0] >= SessionState.CLOSED:
        return why_not_live(unit, work.session_id, work.owner) or SessionNotFound(work.session_id)
    overdue = row[1] is not None and row[1] <= unit.now_ms
    state = SessionState.EXPIRED if overdue else SessionState.CLOSED
    closed = close_now(unit, work.session_id, state, work.key or "close")
    if work.key:
        remember(unit, work.session_id, work.key, "close", b"", json.dumps(asdict(closed)))
    return closed


@handles(CloseIfDue)
def close_if_due(unit: Unit, work: CloseIfDue) -> Closed | None:
    """Close what is past its expiry or idle too long; put off the look where it was used meanwhile."""
    row = unit.one(
        "SELECT expires_ms, last_used_ms, held, idle_ms FROM account JOIN session USING (session_id)"
        " WHERE session_id = ? AND state < 2",
        (work.session_id,),
    )
    if row is None:
        return None
    expires_ms, last_used_ms, held, own_idle_ms = row
    # A request in flight is use, however long ago it began.
    used_ms = unit.now_ms if held else last_used_ms
    due = _due(used_ms, own_idle_ms if work.idle_ms is None else work.idle_ms, expires_ms)
    if due is not None and due <= unit.now_ms:
        return close_now(unit, work.session_id, SessionState.EXPIRED, "expire")
    next_look = _due(used_ms, own_idle_ms, expires_ms)
    unit.run(
        "UPDATE session SET due_ms = ?, seen_ms = ? WHERE session_id = ?",
        (next_look, used_ms, work.session_id),
    )
    return None


def _due(used_ms: int, idle_ms: int | None, expires_ms: int | None) -> int | None:
    """When a session used at ``used_ms`` is to be closed, if ever."""
    idle_due = None if idle_ms is None else used_ms + idle_ms
    return min((due for due in (idle_due, expires_ms) if due is not None), default=None)


def close_now(unit: Unit, session_id: str, state: SessionState, key: str) -> Closed:
    """End a live session: void what was never sent, refund what is free, leave the pool."""
    never_sent = unit.rows(
        "SELECT key FROM hold WHERE session_id = ? AND state = 0 AND NOT sent", (session_id,)
    )
    for (hold_key,) in never_sent:
        release(unit, Release(session_id, hold_key))
    owner, available, held = unit.one(_MARK_CLOSED, (state, session_id))
    if available:
        pay_out(unit, session_id, owner, available, key)
    pool_rows.leave(unit, session_id)
    unit.run(
        "UPDATE session SET closed_ms = ?, due_ms = NULL, seen_ms = NULL WHERE session_id = ?",
        (unit.now_ms, session_id),
    )
    return Closed(session_id, owner, available, held, expired=state == SessionState.EXPIRED)
