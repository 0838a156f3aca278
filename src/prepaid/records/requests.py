"""The nouns of single requests that are kept (spec A14)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["RequestRecord", "RequestState"]


class RequestState(IntEnum):
    """How a request stands; names and numbers are those of the contracts' ``ResponseStatus``."""

    PENDING = 0
    SUCCESS = 1
    FAILED = 2
    TIMEOUT = 3


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """What is kept of a request; ``outcome`` is JSON, of the response or of why there is none."""

    session_id: str
    request_id: str
    state: RequestState
    created_ms: int
    deadline_ms: int
    ended_ms: int | None
    outcome: str | None
