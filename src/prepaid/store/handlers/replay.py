"""What a key was answered before: results and refusals, kept so that a retry gets the same (guarantee 5)."""

from __future__ import annotations

from prepaid.errors import IdempotencyConflict, PrepaidError
from prepaid.store.refusals import kept_form, refusal_of
from prepaid.store.spaces import key_sent
from prepaid.store.unit import Unit

__all__ = ["earlier", "remember", "remember_refusal"]

_EARLIER = "SELECT kind, fingerprint, status, response FROM operation WHERE session_id = ? AND key = ?"
_HELD = "SELECT 1 FROM hold WHERE key = ? AND session_id = ?"
_INSERT = "INSERT INTO operation VALUES (?, ?, ?, ?, ?, ?)"


def earlier(
    unit: Unit, session_id: str, key: str, kind: str, fingerprint: bytes
) -> str | PrepaidError | None:
    """The stored response, the refusal as an error, a conflict, or ``None`` for a new key.

    A key belongs to one kind of operation: what was a hold's cannot fund.
    """
    row = unit.one(_EARLIER, (session_id, key))
    if row is None:
        taken = kind != "hold" and unit.one(_HELD, (key, session_id))
        return IdempotencyConflict(key_sent(key)) if taken else None
    if (row[0], row[1]) != (kind, fingerprint):
        return IdempotencyConflict(key_sent(key))
    return str(row[3]) if row[2] == "done" else refusal_of(row[3])


def remember(unit: Unit, session_id: str, key: str, kind: str, fingerprint: bytes, response: str) -> None:
    """Keep a result for the key's next use."""
    unit.run(_INSERT, (session_id, key, kind, fingerprint, "done", response))


def remember_refusal(
    unit: Unit, session_id: str, key: str, kind: str, fingerprint: bytes, error: PrepaidError
) -> None:
    """Keep a refusal, with its numbers, if it is one of those that are kept."""
    response = kept_form(error)
    if response is not None:
        unit.run(_INSERT, (session_id, key, kind, fingerprint, "refused", response))
