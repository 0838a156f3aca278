"""Questions about API keys. The first is asked at every request: one statement, two look-ups by key."""

from __future__ import annotations

import json
from typing import Any, Final

from prepaid.records import ApiKeyRecord
from prepaid.store.queries.base import Queries

__all__ = ["KeyReads"]

_KEY: Final = """
  SELECT holder, number, coalesce(account.owner, api_key.owner), asset, name, digest, previous_digest,
         previous_until_ms, cap, reserved, api_key.spent, models, created_ms, api_key.expires_ms, revoked_ms
  FROM api_key LEFT JOIN account ON account.session_id = api_key.holder"""

_MODELS: Final = 11


class KeyReads(Queries):
    """What authentication and lists of keys ask."""

    def api_key(self, holder: str, number: int) -> ApiKeyRecord | None:
        """One key, whoever has it."""
        row = self.row(_KEY + " WHERE holder = ? AND number = ?", (holder, number))
        return _api_key(row) if row else None

    def api_keys(self, holder: str, *, after: int, limit: int) -> list[ApiKeyRecord]:
        """A page of a holder's keys, those that have ended included, oldest first."""
        rows = self.rows(
            _KEY + " WHERE holder = ? AND number > ? ORDER BY number LIMIT ?", (holder, after, limit)
        )
        return [_api_key(row) for row in rows]


def _api_key(row: Any) -> ApiKeyRecord:
    values = list(row)
    values[_MODELS] = None if row[_MODELS] is None else tuple(json.loads(row[_MODELS]))
    return ApiKeyRecord(*values)
