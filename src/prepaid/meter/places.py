"""Waiting for a place in a chat while another turn stands there."""

from __future__ import annotations

import asyncio
from typing import Final

from prepaid.meter.meter import Meter
from prepaid.store.operations import PlaceTaken

__all__ = ["PlaceQueue"]

_WAIT_SECONDS_MIN: Final = 0.001
_WAIT_SECONDS_MAX: Final = 0.1


class PlaceQueue:
    """One turn's wait, longer from time to time."""

    def __init__(self, meter: Meter, session_id: str) -> None:
        self._meter = meter
        self._session_id = session_id
        self._seconds = _WAIT_SECONDS_MIN

    async def wait(self, taken: PlaceTaken) -> None:
        """Until it is worth trying again; a turn whose process died is settled first."""
        if taken.open_turn is None:
            return
        if taken.expires_ms is not None and taken.expires_ms <= self._meter.ledger.store.clock():
            await self._meter.reconcile_hold(self._session_id, taken.open_turn)
            return
        await asyncio.sleep(self._seconds)
        self._seconds = min(self._seconds * 2, _WAIT_SECONDS_MAX)
