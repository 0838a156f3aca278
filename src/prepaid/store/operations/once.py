"""The operation that makes any other one safe to send again (spec D3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prepaid.store.operations.base import Operation

__all__ = ["Done", "Once"]


@dataclass(frozen=True, slots=True)
class Once(Operation):
    """Apply ``work`` at most once per ``session_id`` and ``key``. Result: ``Done``.

    The same key with the same ``fingerprint`` gets the same result, or the same refusal unless that could
    pass by itself; with another it conflicts. Where ``work`` belongs to no session, ``session_id`` is the
    deposit of whoever asks.
    """

    key: str
    fingerprint: bytes
    work: Operation


@dataclass(frozen=True, slots=True)
class Done:
    """What an operation resulted in; ``replayed``: its key had it before."""

    value: Any
    replayed: bool = False
