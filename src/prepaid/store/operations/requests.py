"""Operations on single requests that are kept (spec A14)."""

from __future__ import annotations

from dataclasses import dataclass

from prepaid.records import RequestState
from prepaid.store.operations.base import Operation

__all__ = ["BeginRequest", "EndRequest", "RetryRequest"]


@dataclass(frozen=True, slots=True)
class BeginRequest(Operation):
    """Keep a pending request of a session that is open. Result: its id."""

    owner: str
    request_id: str
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class RetryRequest(Operation):
    """Make a request pending again that has failed or timed out. Result: whether; not while it is pending."""

    request_id: str
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class EndRequest(Operation):
    """Keep what came of a pending request."""

    request_id: str
    state: RequestState
    outcome: str
