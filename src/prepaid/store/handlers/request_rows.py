"""Rows of single requests (spec A14)."""

from __future__ import annotations

from prepaid.errors import PrepaidError
from prepaid.records import RequestState
from prepaid.store.handlers.account_rows import why_not_live
from prepaid.store.operations import BeginRequest, EndRequest, RetryRequest
from prepaid.store.unit import Unit, handles

_INSERT = (
    "INSERT INTO request (session_id, request_id, state, created_ms, deadline_ms) VALUES (?, ?, ?, ?, ?)"
)

_RETRY = """
  UPDATE request SET state = ?1, deadline_ms = ?2, ended_ms = NULL, outcome = NULL
  WHERE session_id = ?3 AND request_id = ?4
    AND (state IN (?5, ?6) OR (state = ?1 AND deadline_ms <= ?7))"""

_END = """
  UPDATE request SET state = ?, outcome = ?, ended_ms = ?
  WHERE session_id = ? AND request_id = ? AND state = ?"""


@handles(BeginRequest)
def begin_request(unit: Unit, work: BeginRequest) -> str | PrepaidError:
    """Keep a request that is about to be asked."""
    reason = why_not_live(unit, work.session_id, work.owner)
    if reason is not None:
        return reason
    values = (work.session_id, work.request_id, RequestState.PENDING, unit.now_ms, work.deadline_ms)
    unit.run(_INSERT, values)
    return work.request_id


@handles(RetryRequest)
def retry_request(unit: Unit, work: RetryRequest) -> bool:
    """Of several who want to try it again, one does."""
    values = (
        RequestState.PENDING,
        work.deadline_ms,
        work.session_id,
        work.request_id,
        RequestState.FAILED,
        RequestState.TIMEOUT,
        unit.now_ms,
    )
    unit.run(_RETRY, values)
    return bool(unit.changes)


@handles(EndRequest)
def end_request(unit: Unit, work: EndRequest) -> None:
    """An end is final until it is tried again."""
    values = (work.state, work.outcome, unit.now_ms, work.session_id, work.request_id, RequestState.PENDING)
    unit.run(_END, values)
