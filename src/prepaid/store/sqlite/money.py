"""How money moves on SQLite: holds and what becomes of them, deposits, and the lines they leave.

A hold is one conditional UPDATE. Every line extends its session's hash chain in the same statement
that moves the balance.
"""

from __future__ import annotations

from prepaid.errors import (
    HoldNotFound,
    HoldResolved,
    IdempotencyConflict,
    LeaseCapReached,
    LeaseNotFound,
    PrepaidError,
    SessionNotFound,
)
from prepaid.records import HoldState, SessionState
from prepaid.store.lines import payload
from prepaid.store.operations import (
    Held,
    Hold,
    PlaceTaken,
    Progress,
    Reconcile,
    Release,
    Settle,
    Settled,
)
from prepaid.store.sqlite import chat_rows
from prepaid.store.sqlite.account_rows import INSERT_LINE, pay_out, post, why_not_spendable
from prepaid.store.sqlite.replay import earlier, remember, remember_refusal
from prepaid.store.sqlite.unit import Unit, handles

_EARLIER_HOLD = """
  SELECT fingerprint, amount, state FROM hold WHERE key = ?2 AND session_id = ?1"""

_RESERVE = """
  UPDATE account SET available = available - ?1, held = held + ?1, last_used_ms = ?2
  WHERE session_id = ?3 AND owner = ?4 AND state = 0 AND available >= ?1
    AND (expires_ms IS NULL OR expires_ms > ?2)"""

_AVAILABLE = "SELECT available FROM account WHERE session_id = ? AND owner = ?"

_INSERT_HOLD = """
  INSERT INTO hold (session_id, key, fingerprint, amount, state, captured, cost, delivered, sent,
                    expires_ms, actor, chat_no, lease_id)
  VALUES (?, ?, ?, ?, 0, 0, 0, 0, ?, ?, ?, ?, ?)"""

_RESOLVE = """
  UPDATE hold SET state = ?1, captured = min(amount, ?2), cost = ?2
  WHERE session_id = ?3 AND key = ?4 AND state = 0
  RETURNING amount, captured, actor, chat_no, lease_id"""

_CAPTURE = """
  UPDATE account SET available = available + ?1 - ?2, held = held - ?1, spent = spent + ?2,
    request_count = request_count + 1, last_used_ms = ?3, line_count = line_count + 1,
    last_line = ?4, previous_line = last_line, head = line_digest(head, line_count + 1, ?5)
  WHERE session_id = ?6
  RETURNING previous_line, line_count, head, state, available, owner"""

_RETURN = """
  UPDATE account SET available = available + ?1, held = held - ?1, last_used_ms = max(last_used_ms, ?2),
    request_count = request_count + ?3
  WHERE session_id = ?4
  RETURNING state, available, owner"""

_LEASE = """
  SELECT account.owner, lease.cap, lease.cap - lease.reserved - lease.spent
  FROM lease JOIN account USING (session_id)
  WHERE session_id = ? AND lease_id = ? AND taker = ? AND ended_ms IS NULL AND lease.expires_ms > ?"""

_LEASE_RESERVE = "UPDATE lease SET reserved = reserved + ? WHERE session_id = ? AND lease_id = ?"

_LEASE_SETTLE = """
  UPDATE lease SET reserved = reserved - ?, spent = spent + ? WHERE session_id = ? AND lease_id = ?"""


@handles(Hold)
def hold(unit: Unit, wanted: Hold) -> Held | PlaceTaken | PrepaidError:
    """Reserve money for one request, at most once per key."""
    if wanted.keep_refusal:  # otherwise the key is fresh, and has no past
        before = _held_before(unit, wanted)
        if before is not None:
            return before
    if wanted.place is not None:
        obstacle = chat_rows.obstacle(unit, wanted.session_id, wanted.place)
        if obstacle is not None:
            return obstacle
    granted = _reserve(unit, wanted)
    if isinstance(granted, PrepaidError):
        if wanted.keep_refusal:
            remember_refusal(unit, wanted, "hold", wanted.fingerprint, granted)
        return granted
    chat_no = wanted.place.chat_no if wanted.place else 0
    unit.run(
        _INSERT_HOLD,
        (
            wanted.session_id,
            wanted.key,
            wanted.fingerprint,
            granted,
            wanted.sent,
            wanted.expires_ms,
            wanted.owner,
            chat_no,
            wanted.lease_id,
        ),
    )
    if chat_no:
        chat_rows.open_turn(unit, wanted.session_id, chat_no, wanted.key)
    return Held(wanted.key, granted)


def _held_before(unit: Unit, wanted: Hold) -> Held | PrepaidError | None:
    """What this key got earlier: the same hold, the same refusal, or a conflict."""
    answered = earlier(unit, wanted.session_id, wanted.key, wanted.fingerprint)
    if isinstance(answered, PrepaidError):
        return answered
    row = unit.one(_EARLIER_HOLD, (wanted.session_id, wanted.key))
    if row is None:
        return None
    fingerprint, amount, state = row
    if fingerprint != wanted.fingerprint:
        return IdempotencyConflict(wanted.key)
    return Held(wanted.key, amount, replayed=True, state=HoldState(state), response=answered)


def _reserve(unit: Unit, wanted: Hold) -> int | PrepaidError:
    owner, amount = wanted.owner, wanted.amount
    if wanted.lease_id is not None:
        lease = unit.one(_LEASE, (wanted.session_id, wanted.lease_id, wanted.owner, unit.now_ms))
        if lease is None:
            return LeaseNotFound(wanted.lease_id)
        owner, cap, left = lease
        if left is not None and left < wanted.minimum:
            return LeaseCapReached("cap", cap)
        amount = amount if left is None else min(amount, left)
    granted = _reserve_up_to(unit, wanted, owner, amount)
    if wanted.lease_id is not None and not isinstance(granted, PrepaidError):
        unit.run(_LEASE_RESERVE, (granted, wanted.session_id, wanted.lease_id))
    return granted


def _reserve_up_to(unit: Unit, wanted: Hold, owner: str, amount: int) -> int | PrepaidError:
    unit.run(_RESERVE, (amount, unit.now_ms, wanted.session_id, owner))
    if unit.changes:
        return amount
    row = unit.one(_AVAILABLE, (wanted.session_id, owner))
    if row is None:
        return SessionNotFound(wanted.session_id)
    rest = min(row[0], amount)
    if rest >= wanted.minimum:
        unit.run(_RESERVE, (rest, unit.now_ms, wanted.session_id, owner))
        if unit.changes:
            return rest
    return why_not_spendable(unit, wanted.session_id, owner, wanted.minimum)


@handles(Settle)
def settle(unit: Unit, work: Settle) -> Settled | PrepaidError:
    """Capture what it cost, release the rest, and save the turn, in one."""
    resolved = unit.one(_RESOLVE, (HoldState.CAPTURED, work.cost, work.session_id, work.key))
    if resolved is None:
        return _settled_before(unit, work)
    amount, captured, actor, chat_no, lease_id = resolved
    available = _capture(unit, work, amount, captured, actor, chat_no)
    shortfall = work.cost - captured
    if shortfall:
        post(unit, work.session_id, "shortfall", "loss", "provider", shortfall, work.key, model=work.model)
    if lease_id is not None:
        unit.run(_LEASE_SETTLE, (amount, captured, work.session_id, lease_id))
    if chat_no:
        chat_rows.close_turn(unit, work.session_id, chat_no, captured, work.turn)
    if work.response is not None:
        fingerprint = unit.one(_EARLIER_HOLD, (work.session_id, work.key))[0]
        remember(unit, work.session_id, work.key, "hold", fingerprint, work.response)
    return Settled(work.key, captured, amount - captured, shortfall, available)


def _capture(unit: Unit, work: Settle, amount: int, captured: int, actor: str, chat_no: int) -> int:
    """Move the balance and write the line; returns what is available then."""
    session_id, now = work.session_id, unit.now_ms
    if captured == 0:  # a line of nothing says nothing
        return _give_back(unit, session_id, amount, requests=1)
    line = (
        "capture",
        "session",
        "revenue",
        captured,
        work.key,
        now,
        actor,
        chat_no,
        work.model,
        work.input_units,
        work.output_units,
    )
    line_id = unit.next_line()
    row = unit.one(_CAPTURE, (amount, captured, now, line_id, payload(*line), session_id))
    previous, seq, head, state, available, owner = row
    unit.run(INSERT_LINE, (line_id, previous, session_id, seq, *line, head))
    if state >= SessionState.CLOSED and available:
        pay_out(unit, session_id, owner, available, work.key)
        return 0
    return int(available)


def _give_back(unit: Unit, session_id: str, amount: int, *, requests: int) -> int:
    """Release money to its session, or through it to its owner where the session is closed."""
    row = unit.one(_RETURN, (amount, unit.now_ms, requests, session_id))
    state, available, owner = row
    if state >= SessionState.CLOSED and available:
        pay_out(unit, session_id, owner, available, "release")
        return 0
    return int(available)


_RESOLVED = """
  SELECT hold.state, captured, cost, amount, available FROM hold JOIN account USING (session_id)
  WHERE session_id = ? AND key = ?"""


def _settled_before(unit: Unit, work: Settle) -> Settled | PrepaidError:
    row = unit.one(_RESOLVED, (work.session_id, work.key))
    if row is None:
        return HoldNotFound(work.key)
    state, captured, cost, amount, available = row
    if state == HoldState.CAPTURED and cost == work.cost:
        return Settled(work.key, captured, amount - captured, cost - captured, available)
    return HoldResolved(work.key, HoldState(state).name.lower(), captured)


@handles(Release)
def release(unit: Unit, work: Release) -> Settled | PrepaidError:
    """Give a hold back whole."""
    resolved = unit.one(_RESOLVE, (HoldState.RELEASED, 0, work.session_id, work.key))
    if resolved is None:
        return _released_before(unit, work)
    amount, _, _, chat_no, lease_id = resolved
    if chat_no:
        chat_rows.abandon_turn(unit, work.session_id, chat_no)
    if lease_id is not None:
        unit.run(_LEASE_SETTLE, (amount, 0, work.session_id, lease_id))
    if work.loss:
        post(unit, work.session_id, "exposure", "loss", "provider", work.loss, work.key)
    available = _give_back(unit, work.session_id, amount, requests=0)
    return Settled(work.key, 0, amount, 0, available)


def _released_before(unit: Unit, work: Release) -> Settled | PrepaidError:
    row = unit.one(_RESOLVED, (work.session_id, work.key))
    if row is None:
        return HoldNotFound(work.key)
    state, captured, _, amount, available = row
    if state == HoldState.RELEASED:
        return Settled(work.key, 0, amount, 0, available)
    return HoldResolved(work.key, HoldState(state).name.lower(), captured)


@handles(Progress)
def progress(unit: Unit, work: Progress) -> bool:
    """Keep a running request's hold alive; ``False`` if it is resolved already."""
    unit.run(
        "UPDATE hold SET delivered = max(delivered, ?), expires_ms = max(expires_ms, ?)"
        " WHERE session_id = ? AND key = ? AND state = 0",
        (work.delivered, work.expires_ms, work.session_id, work.key),
    )
    return bool(unit.changes)


@handles(Reconcile)
def reconcile(unit: Unit, work: Reconcile) -> Settled | None:
    """Settle a hold whose request nobody watches any more; ``None`` if it was not overdue.

    Delivered text is paid for; the rest is released; what a provider may still bill is our loss.
    """
    row = unit.one(
        "SELECT amount, delivered, sent FROM hold WHERE session_id = ? AND key = ? AND state = 0"
        " AND expires_ms <= ?",
        (work.session_id, work.key, unit.now_ms),
    )
    if row is None:
        return None
    amount, delivered, sent = row
    delivered = min(amount, delivered)
    exposure = amount - delivered if sent else 0
    if not delivered:
        outcome = release(unit, Release(work.session_id, work.key, exposure))
    else:
        outcome = settle(unit, Settle(work.session_id, work.key, delivered, model="interrupted"))
        if exposure:
            post(unit, work.session_id, "exposure", "loss", "provider", exposure, work.key)
    assert isinstance(outcome, Settled)
    return outcome
