"""What a database says about itself while it is moved, and the error for whoever would write to it.

The mark is one row. On the side that is left it stays for good; on the other it closes the database until
all has arrived and was compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from prepaid.errors import StoreMoved

__all__ = ["Mark", "Stage", "moved"]


class Stage(StrEnum):
    """How far a move is, as one side says."""

    LEAVING = "leaving"
    LEFT = "left"
    ARRIVING = "arriving"
    ARRIVED = "arrived"
    """open for use: the only stage in which changes are taken"""


@dataclass(frozen=True, slots=True)
class Mark:
    """The move that a database is part of, and the other side, without credentials."""

    move_id: str
    stage: Stage
    peer: str


_WHY: Final = {
    Stage.LEAVING: "it is being moved to {peer}",
    Stage.LEFT: "it was moved to {peer}",
    Stage.ARRIVING: "it is being filled from {peer}",
}


def moved(place: str, stage: str, peer: str) -> StoreMoved:
    """The refusal of a change."""
    return StoreMoved(place, _WHY[Stage(stage)].format(peer=peer))
