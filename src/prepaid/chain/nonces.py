"""One wallet's transactions in order: which number the next one gets, whoever of this process sends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prepaid.chain.outbox import Outbox

__all__ = ["Lane"]


class Lane:
    """The numbers that are out, and the ``outbox`` that takes the next ones.

    Nothing is remembered beyond what is in flight: what the chain says of an idle wallet is true, even after
    another program used it, or a block was taken back.
    """

    def __init__(self) -> None:
        self.outbox: Outbox | None = None
        self._in_flight: set[int] = set()

    def next(self, pending: int) -> int:
        """The next number, where the chain knows of ``pending`` transactions, waiting ones too."""
        return max(pending, max(self._in_flight, default=-1) + 1)

    def sent(self, nonce: int) -> None:
        """It is out."""
        self._in_flight.add(nonce)

    def done(self, nonce: int) -> None:
        """It is settled, or nobody waits for it any more."""
        self._in_flight.discard(nonce)
