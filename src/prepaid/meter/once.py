"""The caller's key of a request that takes several holds: a hold of nothing stands for all of them.

It is open while the request runs and settled last, with the answer, so the same key gets the same
answer, and a request that failed or was cut off may be tried again (spec D3).
"""

from __future__ import annotations

from dataclasses import replace

from prepaid.ledger import fingerprint
from prepaid.meter.call import PaidCall, Payer, Replay
from prepaid.meter.meter import Meter
from prepaid.records import Price, Quote, Unit
from prepaid.store.operations import PlaceTaken

__all__ = ["begin_once"]


async def begin_once(meter: Meter, payer: Payer, key: str, *content: object) -> PaidCall | Replay:
    """The hold of nothing, or what the key was answered before.

    Raises:
        RequestInProgress: the key is being worked on.
        IdempotencyConflict: the key was used for something else.
    """
    nothing = Quote("", Price.flat(payer.asset, Unit.TOKEN, 0, 0), 0, 0, 0, 0)
    # Nothing is asked of a model yet, so no list of models is asked either.
    anybody = replace(payer, models=None)
    opened = await meter.open(anybody, nothing, key=key, content=fingerprint("several", *content))
    assert not isinstance(opened, PlaceTaken), "it asks for no place"
    return opened
