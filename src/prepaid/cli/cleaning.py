"""The clean-up, batch by batch, with a bar for whoever waits for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prepaid.cli.output import progress
from prepaid.cli.running import workspace_of

if TYPE_CHECKING:
    from prepaid.sessions.manager import SessionManager

__all__ = ["Cleaned", "clean"]


@dataclass(frozen=True, slots=True)
class Cleaned:
    """How many sessions were closed, what they were refunded, and how many overdue requests settled."""

    closed: int
    refunded: int
    settled: int
    currency: str


async def clean(manager: SessionManager, max_age: float | None, batch: int) -> Cleaned:
    """Settle what is overdue first, so that its rest is refunded with its session."""
    closed = refunded = settled = 0
    with progress("Cleaning up", None) as advance:
        while done := len(await workspace_of(manager).meter.reconcile(batch)):
            settled += done
            advance(done)
        while found := await manager.cleanup_old_sessions(max_age=max_age, limit=batch):
            closed += len(found)
            refunded += sum(each.refunded for each in found)
            advance(len(found))
    return Cleaned(closed, refunded, settled, manager.settings.currency)
