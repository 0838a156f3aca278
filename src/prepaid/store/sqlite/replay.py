"""What a key was answered before: results and refusals, kept so that a retry gets the same (guarantee 5)."""

from __future__ import annotations

import json
from typing import Any

from prepaid import errors
from prepaid.errors import IdempotencyConflict, PrepaidError
from prepaid.store.operations import Operation
from prepaid.store.sqlite.unit import Unit

__all__ = ["earlier", "remember", "remember_refusal"]

_EARLIER = "SELECT fingerprint, status, response FROM operation WHERE session_id = ? AND key = ?"
_INSERT = "INSERT INTO operation VALUES (?, ?, ?, ?, ?, ?)"


def earlier(unit: Unit, session_id: str, key: str, fingerprint: bytes) -> str | PrepaidError | None:
    """The stored response, the refusal as an error, a conflict, or ``None`` for a new key."""
    row = unit.one(_EARLIER, (session_id, key))
    if row is None:
        return None
    stored, status, response = row
    if stored != fingerprint:
        return IdempotencyConflict(key)
    return str(response) if status == "done" else _refusal(json.loads(response))


def remember(unit: Unit, session_id: str, key: str, kind: str, fingerprint: bytes, response: str) -> None:
    """Keep a result for the key's next use."""
    unit.run(_INSERT, (session_id, key, kind, fingerprint, "done", response))


def remember_refusal(
    unit: Unit, wanted: Operation, kind: str, fingerprint: bytes, error: PrepaidError
) -> None:
    """Keep a refusal, with its numbers. A session that does not exist keeps nothing."""
    if isinstance(error, errors.NotFoundError):
        return
    fields = {name: value for name, value in vars(error).items() if name not in ("what", "remedy")}
    response = json.dumps({"error": type(error).__name__, "fields": fields})
    unit.run(_INSERT, (wanted.session_id, wanted.key, kind, fingerprint, "refused", response))  # type: ignore[attr-defined]


def _refusal(stored: dict[str, Any]) -> PrepaidError:
    """The error again, from its own fields: each refusal's constructor takes exactly these."""
    kind: type[PrepaidError] = getattr(errors, stored["error"])
    return kind(**stored["fields"])
