"""Questions about single requests that are kept."""

from __future__ import annotations

from typing import Any, Final

from prepaid.records import RequestRecord, RequestState
from prepaid.store.queries.base import Queries

__all__ = ["RequestReads"]

_REQUEST: Final = """
  SELECT session_id, request_id, state, created_ms, deadline_ms, ended_ms, outcome FROM request"""


class RequestReads(Queries):
    """What fetching a response asks."""

    def request(self, session_id: str, request_id: str) -> RequestRecord | None:
        """One request of a session."""
        row = self.row(_REQUEST + " WHERE session_id = ? AND request_id = ?", (session_id, request_id))
        return _request(row) if row else None

    def requests(self, session_id: str, *, before: str | None, limit: int) -> list[RequestRecord]:
        """A page of a session's requests, newest first; ids sort by time."""
        rows = self.rows(
            _REQUEST + " WHERE session_id = ? AND request_id < ? ORDER BY request_id DESC LIMIT ?",
            (session_id, before or "~", limit),
        )
        return [_request(row) for row in rows]


def _request(row: Any) -> RequestRecord:
    values = list(row)
    values[2] = RequestState(values[2])
    return RequestRecord(*values)
