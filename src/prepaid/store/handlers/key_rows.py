"""API keys: issued, rotated, revoked; what one with a cap has left, counted in the hold's unit."""

from __future__ import annotations

import json

from prepaid.errors import (
    AuthenticationError,
    KeyCapReached,
    KeyEnded,
    KeyLimitReached,
    KeyNotFound,
    PrepaidError,
)
from prepaid.records import OPERATOR, KeyLimits, holder_of_user
from prepaid.store.handlers.account_rows import why_not_live
from prepaid.store.operations import Hold, IssueFirstKey, IssueKey, RevokeKey, RotateKey
from prepaid.store.unit import Unit, handles

__all__ = ["insert_first_key", "left_under_cap", "reserve_under_cap", "settle_under_cap"]

_INSERT = """
  INSERT INTO api_key (holder, number, owner, name, digest, cap, models, created_ms, expires_ms)
  SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 FROM api_key WHERE holder = ?1
  RETURNING number"""

_INSERT_FIRST = """
  INSERT INTO api_key (holder, number, owner, name, digest, cap, models, created_ms, expires_ms)
  VALUES (?, 1, ?, '', ?, ?, ?, ?, ?)"""

_LIVE = """
  SELECT count(*) FROM api_key
  WHERE holder = ? AND revoked_ms IS NULL AND (expires_ms IS NULL OR expires_ms > ?)"""

_FIND = "SELECT owner, expires_ms, revoked_ms FROM api_key WHERE holder = ? AND number = ?"

_ROTATE = """
  UPDATE api_key SET previous_digest = CASE WHEN CAST(?1 AS bigint) IS NOT NULL THEN digest END,
    previous_until_ms = ?1, digest = ?2
  WHERE holder = ?3 AND number = ?4"""

_REVOKE = """
  UPDATE api_key SET revoked_ms = ?, previous_digest = NULL, previous_until_ms = NULL
  WHERE holder = ? AND number = ? AND revoked_ms IS NULL"""

_LEFT = "SELECT cap, reserved, spent, revoked_ms FROM api_key WHERE holder = ? AND number = ?"

_RESERVE = """
  UPDATE api_key SET reserved = reserved + ?1
  WHERE holder = ?2 AND number = ?3 AND cap - reserved - spent >= ?1"""

_SETTLE = "UPDATE api_key SET reserved = reserved - ?, spent = spent + ? WHERE holder = ? AND number = ?"


@handles(IssueKey)
def issue_key(unit: Unit, work: IssueKey) -> int | PrepaidError:
    """Add a key to a holder that is there, and is this owner's."""
    reason = _why_not_holder(unit, work.session_id, work.owner)
    if reason is not None:
        return reason
    if unit.one(_LIVE, (work.session_id, unit.now_ms))[0] >= work.live_max:
        return KeyLimitReached("keys_max", work.live_max)
    cap, models, expires_ms = _limits(KeyLimits(work.models, work.expires_ms, work.cap))
    values = (work.session_id, work.owner, work.name, work.digest, cap, models, unit.now_ms, expires_ms)
    return int(unit.one(_INSERT, values)[0])


@handles(IssueFirstKey)
def issue_first_key(unit: Unit, work: IssueFirstKey) -> int | PrepaidError | None:
    """Add a key where there never was one; of several processes that ask, one does."""
    if unit.one("SELECT 1 FROM api_key WHERE holder = ? LIMIT 1", (work.session_id,)):
        return None
    return issue_key(unit, work)


def insert_first_key(unit: Unit, session_id: str, owner: str, digest: bytes, limits: KeyLimits) -> None:
    """The key that a session is born with, no wider than that of whoever asked for the session."""
    cap, models, expires_ms = _limits(limits)
    unit.run(_INSERT_FIRST, (session_id, owner, digest, cap, models, unit.now_ms, expires_ms))


def _limits(limits: KeyLimits) -> tuple[int | None, str | None, int | None]:
    """Cap, models and expiry as the table has them."""
    return limits.cap, None if limits.models is None else json.dumps(limits.models), limits.expires_ms


@handles(RotateKey)
def rotate_key(unit: Unit, work: RotateKey) -> PrepaidError | None:
    """Another secret for a key that still works."""
    found = _found(unit, work)
    if isinstance(found, PrepaidError):
        return found
    expires_ms, revoked_ms = found
    if revoked_ms is not None or (expires_ms is not None and expires_ms <= unit.now_ms):
        return KeyEnded(_key_id(work), "expired" if revoked_ms is None else "revoked")
    until_ms = unit.now_ms + work.grace_ms if work.grace_ms else None
    if until_ms is not None and expires_ms is not None:
        until_ms = min(until_ms, expires_ms)
    unit.run(_ROTATE, (until_ms, work.digest, work.session_id, work.number))
    return None


@handles(RevokeKey)
def revoke_key(unit: Unit, work: RevokeKey) -> PrepaidError | None:
    """End a key, also one of a session that has ended."""
    found = _found(unit, work)
    if isinstance(found, PrepaidError):
        return found
    unit.run(_REVOKE, (unit.now_ms, work.session_id, work.number))
    return None


def _found(unit: Unit, work: RotateKey | RevokeKey) -> tuple[int | None, int | None] | KeyNotFound:
    """When the key expires and when it was revoked; somebody else's does not exist (spec A5)."""
    row = unit.one(_FIND, (work.session_id, work.number))
    if row is None or row[0] != work.owner:
        return KeyNotFound(_key_id(work))
    return row[1], row[2]


def _key_id(work: RotateKey | RevokeKey) -> str:
    return f"pp_{work.session_id}.{work.number}"


def _why_not_holder(unit: Unit, holder: str, owner: str) -> PrepaidError | None:
    """Users and the operator are always there; a session has to be open to its owner."""
    if holder in {OPERATOR, holder_of_user(owner)}:
        return None
    return why_not_live(unit, holder, owner)


def left_under_cap(unit: Unit, wanted: Hold, number: int) -> int | PrepaidError:
    """What a capped key may still hold, at least what is wanted at least."""
    row = unit.one(_LEFT, (wanted.session_id, number))
    if row is None or row[0] is None or row[3] is not None:
        return AuthenticationError("This API key is not valid (any more).")
    cap, reserved, spent, _ = row
    left = int(cap - reserved - spent)
    if left < wanted.minimum:
        return KeyCapReached(f"pp_{wanted.session_id}.{number}", cap, wanted.minimum, left, reserved)
    return left


def reserve_under_cap(unit: Unit, session_id: str, number: int, amount: int) -> None:
    """Count a hold against its key's cap, in the unit that places it."""
    unit.run(_RESERVE, (amount, session_id, number))
    assert unit.changes, "the same unit has just found room for it"


def settle_under_cap(unit: Unit, session_id: str, number: int, amount: int, captured: int) -> None:
    """A hold is resolved: what it captured is spent, and the rest is room again."""
    unit.run(_SETTLE, (amount, captured, session_id, number))
