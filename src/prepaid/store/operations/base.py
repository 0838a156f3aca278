"""What every operation is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "Operation",
]


@dataclass(frozen=True, slots=True)
class Operation:
    """One change to one session's rows."""

    session_id: str
