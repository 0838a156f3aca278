"""What is written to see whether anything can be."""

from __future__ import annotations

from prepaid.store.operations import Probe
from prepaid.store.unit import Unit, handles


@handles(Probe)
def probe(unit: Unit, _: Probe) -> None:
    """Write, and change nothing."""
    unit.touch()
