"""Operations on the shared pool, and settings for every process."""

from __future__ import annotations

from dataclasses import dataclass

from prepaid.store.operations.base import Operation
from prepaid.store.operations.sessions import Limits

__all__ = [
    "AddToPool",
    "EndLease",
    "Lease",
    "RemoveFromPool",
    "SaveSettings",
    "TakeFromPool",
]


@dataclass(frozen=True, slots=True)
class AddToPool(Operation):
    """Share a session; takers may spend ``cap`` each at most."""

    owner: str
    cap: int | None
    limits: Limits


@dataclass(frozen=True, slots=True)
class RemoveFromPool(Operation):
    """Stop sharing a session; a lease that runs ends at its deadline."""

    owner: str


@dataclass(frozen=True, slots=True)
class TakeFromPool(Operation):
    """Lease the session that has waited longest (``session_id`` is empty). Result: ``Lease``."""

    taker: str
    lease_id: str
    lasts_ms: int


@dataclass(frozen=True, slots=True)
class Lease:
    """A pooled session in one taker's hands until ``expires_ms``."""

    session_id: str
    lease_id: str
    owner: str
    taker: str
    cap: int | None
    expires_ms: int


@dataclass(frozen=True, slots=True)
class EndLease(Operation):
    """Give a pooled session back (``taker``), or take it back once overdue (``taker`` is ``None``)."""

    lease_id: str
    taker: str | None


@dataclass(frozen=True, slots=True)
class SaveSettings(Operation):
    """Keep what ``update_config`` set (``session_id`` is empty), where what is kept is at ``version``."""

    values: tuple[tuple[str, str], ...]
    version: str | None = None
