"""What every operation is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "Operation",
    "Probe",
]


@dataclass(frozen=True, slots=True)
class Operation:
    """One change to one session's rows."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Probe(Operation):
    """A change of nothing, written like any other: whether there can be changes at all."""

    session_id: str = ""
