"""What becomes of holds: captured, released, or settled after a crash, and the lines they leave.

A capture extends its session's hash chain in the same statement that moves the balance.
"""

from __future__ import annotations

from prepaid.errors import HoldNotFound, HoldResolved, PrepaidError
from prepaid.records import HoldState, SessionState
from prepaid.store.handlers import chat_rows, key_rows
from prepaid.store.handlers.account_rows import pay_out, post
from prepaid.store.handlers.replay import remember
from prepaid.store.operations import INTERRUPTED, Reconcile, Release, Settle, Settled
from prepaid.store.unit import Unit, handles

__all__ = ["COST_UNKNOWN", "release"]

COST_UNKNOWN = -1
"""The cost of a hold that was settled for nobody."""

_RESOLVE = """
  UPDATE hold SET state = ?1, captured = CASE WHEN amount < ?2 THEN amount ELSE ?2 END, cost = ?2
  WHERE session_id = ?3 AND key = ?4 AND state = 0
  RETURNING amount, captured, actor, chat_no, lease_id, key_no"""

_RETURN = """
  UPDATE account SET available = available + ?1, held = held - ?1, request_count = request_count + ?3,
    last_used_ms = CASE WHEN last_used_ms < ?2 THEN ?2 ELSE last_used_ms END
  WHERE session_id = ?4
  RETURNING state, available, owner"""

_LEASE_SETTLE = """
  UPDATE lease SET reserved = reserved - ?, spent = spent + ? WHERE session_id = ? AND lease_id = ?"""


@handles(Settle)
def settle(unit: Unit, work: Settle) -> Settled | PrepaidError:
    """Capture what it cost, release the rest, and save the turn, in one."""
    resolved = unit.one(_RESOLVE, (HoldState.CAPTURED, work.cost, work.session_id, work.key))
    if resolved is None:
        return _settled_before(unit, work)
    amount, captured, actor, chat_no, lease_id, key_no = resolved
    available = _capture(unit, work, amount, captured, actor, chat_no)
    shortfall = work.cost - captured + work.unpaid
    for kind, loss in (("shortfall", shortfall), ("exposure", work.exposure)):
        if loss:
            post(unit, work.session_id, kind, "loss", "provider", loss, work.key, model=work.model)
    if lease_id is not None:
        unit.run(_LEASE_SETTLE, (amount, captured, work.session_id, lease_id))
    if key_no is not None:
        key_rows.settle_under_cap(unit, work.session_id, key_no, amount, captured)
    if chat_no:
        chat_rows.close_turn(unit, work.session_id, chat_no, captured, work.turn)
    if work.response is not None:
        (fingerprint,) = unit.one(
            "SELECT fingerprint FROM hold WHERE key = ? AND session_id = ?", (work.key, work.session_id)
        )
        remember(unit, work.session_id, work.key, "hold", fingerprint, work.response)
    return Settled(work.key, captured, amount - captured, shortfall, available, work.exposure)


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
    state, available, owner = unit.append_capture(session_id, amount, captured, line)
    if state >= SessionState.CLOSED and available:
        pay_out(unit, session_id, owner, available, work.key)
        return 0
    return available


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
        shortfall = cost - captured + work.unpaid
        return Settled(work.key, captured, amount - captured, shortfall, available, work.exposure)
    return HoldResolved(work.key, HoldState(state).name.lower(), captured)


@handles(Release)
def release(unit: Unit, work: Release) -> Settled | PrepaidError:
    """Give a hold back whole."""
    resolved = unit.one(_RESOLVE, (HoldState.RELEASED, 0, work.session_id, work.key))
    if resolved is None:
        return _released_before(unit, work)
    amount, _, _, chat_no, lease_id, key_no = resolved
    if chat_no:
        chat_rows.abandon_turn(unit, work.session_id, chat_no)
    if lease_id is not None:
        unit.run(_LEASE_SETTLE, (amount, 0, work.session_id, lease_id))
    if key_no is not None:
        key_rows.settle_under_cap(unit, work.session_id, key_no, amount, 0)
    if work.loss:
        post(unit, work.session_id, "exposure", "loss", "provider", work.loss, work.key, model=work.model)
    available = _give_back(unit, work.session_id, amount, requests=0)
    return Settled(work.key, 0, amount, 0, available, work.loss)


def _released_before(unit: Unit, work: Release) -> Settled | PrepaidError:
    row = unit.one(_RESOLVED, (work.session_id, work.key))
    if row is None:
        return HoldNotFound(work.key)
    state, captured, _, amount, available = row
    if state == HoldState.RELEASED:
        return Settled(work.key, 0, amount, 0, available, work.loss)
    return HoldResolved(work.key, HoldState(state).name.lower(), captured)


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
        outcome = release(unit, Release(work.session_id, work.key, exposure, model=INTERRUPTED))
    else:
        outcome = settle(
            unit, Settle(work.session_id, work.key, delivered, model=INTERRUPTED, exposure=exposure)
        )
        # Its caller, should it still come, must not take this for its own: the turn was not saved.
        unit.run(
            "UPDATE hold SET cost = ? WHERE key = ? AND session_id = ?",
            (COST_UNKNOWN, work.key, work.session_id),
        )
    assert isinstance(outcome, Settled)
    return outcome
