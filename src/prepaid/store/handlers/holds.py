"""Holds: money reserved for one request, by one conditional UPDATE, never read-then-write."""

from __future__ import annotations

from hashlib import blake2b

from prepaid.errors import (
    IdempotencyConflict,
    LeaseCapReached,
    LeaseNotFound,
    PrepaidError,
    SessionNotFound,
)
from prepaid.records import HoldState
from prepaid.store.handlers import chat_rows, key_rows
from prepaid.store.handlers.account_rows import why_not_active, why_not_spendable
from prepaid.store.handlers.replay import earlier, remember_refusal
from prepaid.store.operations import Held, Hold, PlaceTaken, Progress
from prepaid.store.spaces import key_sent
from prepaid.store.unit import Unit, handles

_EARLIER_HOLD = """
  SELECT fingerprint, amount, state FROM hold WHERE key = ?2 AND session_id = ?1"""

_RESERVE = """
  UPDATE account SET available = available - ?1, held = held + ?1, last_used_ms = ?2
  WHERE session_id = ?3 AND owner = ?4 AND state = 0 AND available >= ?1
    AND (expires_ms IS NULL OR expires_ms > ?2)"""

_AVAILABLE = "SELECT available FROM account WHERE session_id = ? AND owner = ?"

_INSERT_HOLD = """
  INSERT INTO hold (session_id, key, fingerprint, amount, state, captured, cost, delivered, sent,
                    expires_ms, actor, chat_no, lease_id, key_no)
  VALUES (?, ?, ?, ?, 0, 0, 0, 0, ?, ?, ?, ?, ?, ?)"""

_LEASE = """
  SELECT account.owner, lease.cap, lease.cap - lease.reserved - lease.spent
  FROM lease JOIN account USING (session_id)
  WHERE session_id = ? AND lease_id = ? AND taker = ? AND ended_ms IS NULL AND lease.expires_ms > ?"""

_LEASE_RESERVE = "UPDATE lease SET reserved = reserved + ? WHERE session_id = ? AND lease_id = ?"

_LEASE_EVER = "SELECT 1 FROM lease WHERE session_id = ? AND lease_id = ? AND taker = ?"


@handles(Hold)
def hold(unit: Unit, wanted: Hold) -> Held | PlaceTaken | PrepaidError:
    """Reserve money for one request, at most once per key."""
    if wanted.keep_refusal:  # otherwise the key is fresh, and has no past
        before = _held_before(unit, wanted)
        if before is not None:
            return before
    granted = _obstacle(unit, wanted) or _reserve(unit, wanted)
    if isinstance(granted, PrepaidError) and wanted.keep_refusal:
        remember_refusal(unit, wanted.session_id, wanted.key, "hold", fingerprint_of(wanted), granted)
    if not isinstance(granted, int):
        return granted
    chat_no = wanted.place.chat_no if wanted.place else 0
    unit.run(
        _INSERT_HOLD,
        (
            wanted.session_id,
            wanted.key,
            fingerprint_of(wanted),
            granted,
            wanted.sent,
            wanted.expires_ms,
            wanted.owner,
            chat_no,
            wanted.lease_id,
            wanted.key_no,
        ),
    )
    if chat_no:
        chat_rows.open_turn(unit, wanted.session_id, chat_no, wanted.key)
    return Held(wanted.key, granted)


def fingerprint_of(wanted: Hold) -> bytes:
    """What the key stands for. Takers share a session and its keys, so theirs say whose they are."""
    if wanted.lease_id is None:
        return wanted.fingerprint
    return blake2b(wanted.fingerprint + wanted.owner.encode(), digest_size=16).digest()


def _held_before(unit: Unit, wanted: Hold) -> Held | PrepaidError | None:
    """What this key got earlier: the same hold, the same refusal, or a conflict."""
    answered = earlier(unit, wanted.session_id, wanted.key, "hold", fingerprint_of(wanted))
    row = unit.one(_EARLIER_HOLD, (wanted.session_id, wanted.key))
    if answered is None and row is None:
        return None
    stranger = _why_not_theirs(unit, wanted)
    if stranger is not None:
        return stranger
    if isinstance(answered, PrepaidError):
        return answered
    fingerprint, amount, state = row
    if fingerprint != fingerprint_of(wanted):
        return IdempotencyConflict(key_sent(wanted.key))
    return Held(wanted.key, amount, replayed=True, state=HoldState(state), response=answered)


def _why_not_theirs(unit: Unit, wanted: Hold) -> PrepaidError | None:
    """To whom the session is not, nor ever was on lease, its keys do not exist either (spec A5)."""
    if wanted.lease_id is not None:
        taken = unit.one(_LEASE_EVER, (wanted.session_id, wanted.lease_id, wanted.owner))
        return None if taken else LeaseNotFound(wanted.lease_id)
    return (
        None
        if unit.one(_AVAILABLE, (wanted.session_id, wanted.owner))
        else SessionNotFound(wanted.session_id)
    )


def _obstacle(unit: Unit, wanted: Hold) -> PlaceTaken | PrepaidError | None:
    """What keeps the turn from its place; who may not spend here learns nothing of the chat."""
    if wanted.place is None:
        return None
    obstacle = chat_rows.obstacle(unit, wanted.session_id, wanted.place)
    if obstacle is None:
        return None
    owner = wanted.owner
    if wanted.lease_id is not None:
        lease = unit.one(_LEASE, (wanted.session_id, wanted.lease_id, owner, unit.now_ms))
        if lease is None:
            return LeaseNotFound(wanted.lease_id)
        owner = lease[0]
    return why_not_active(unit, wanted.session_id, owner) or obstacle


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
    if wanted.key_no is not None:
        room = key_rows.left_under_cap(unit, wanted, wanted.key_no)
        if isinstance(room, PrepaidError):
            return why_not_active(unit, wanted.session_id, owner) or room
        amount = min(amount, room)
    granted = _reserve_up_to(unit, wanted, owner, amount)
    if isinstance(granted, PrepaidError):
        return granted
    if wanted.lease_id is not None:
        unit.run(_LEASE_RESERVE, (granted, wanted.session_id, wanted.lease_id))
    if wanted.key_no is not None:
        key_rows.reserve_under_cap(unit, wanted.session_id, wanted.key_no, granted)
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


@handles(Progress)
def progress(unit: Unit, work: Progress) -> bool:
    """Keep a running request's hold alive; ``False`` if it is resolved already."""
    unit.run(
        "UPDATE hold SET delivered = CASE WHEN delivered < ?1 THEN ?1 ELSE delivered END,"
        " expires_ms = CASE WHEN expires_ms < ?2 THEN ?2 ELSE expires_ms END"
        " WHERE session_id = ?3 AND key = ?4 AND state = 0",
        (work.delivered, work.expires_ms, work.session_id, work.key),
    )
    return bool(unit.changes)
