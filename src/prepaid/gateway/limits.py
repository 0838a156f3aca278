"""How many requests one key may have in flight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prepaid.errors import ConcurrencyLimitReached, LimitReached

__all__ = ["Slot", "Slots"]

_HEAVIEST_AT_ONCE: Final = 32
"""Of requests that take as much room as one can, so many have room: a low limit lets them by, too."""


class Slots:
    """Counts requests in flight by whoever sends them, in this process; nobody has more than ``limit``.

    ``limit_name`` is what errors call it, and ``error`` their kind.
    """

    def __init__(
        self,
        limit: int,
        limit_name: str = "requests_per_key_max",
        error: type[LimitReached] = ConcurrencyLimitReached,
    ) -> None:
        self._limit = limit
        self._limit_name = limit_name
        self._error = error
        self.share = max(limit // _HEAVIEST_AT_ONCE, 1)
        """How many slots one request takes at most."""
        self._taken: dict[str, int] = {}

    def free(self, name: str) -> int:
        """How many slots ``name`` has left."""
        return self._limit - self._taken.get(name, 0)

    @contextmanager
    def taken(self, name: str) -> Iterator[Slot]:
        """One slot of ``name``, for as long as the block runs, in which it may take more.

        Raises:
            LimitReached: it has no slot left.
        """
        slot = Slot(self, name)
        self.take(name, slot.size)
        try:
            yield slot
        finally:
            left = self._taken[name] - slot.size
            if left:
                self._taken[name] = left
            else:
                del self._taken[name]

    def take(self, name: str, count: int) -> None:
        """Take so many more for a slot of ``name``, which gives them back.

        Raises:
            LimitReached: they are not there.
        """
        taken = self._taken.get(name, 0) + count
        if taken > self._limit:
            raise self._error(self._limit_name, self._limit)
        self._taken[name] = taken


class Slot:
    """What one request takes of its sender's slots."""

    __slots__ = ("_slots", "name", "size")

    def __init__(self, slots: Slots, name: str) -> None:
        self._slots = slots
        self.name = name
        self.size = 1

    def grow(self, more: int) -> None:
        """Take so many more, at most a share that leaves others of the sender some room.

        Raises:
            ConcurrencyLimitReached: they are not there.
        """
        more = min(more, self._slots.share - self.size)
        if more > 0:
            self._slots.take(self.name, more)
            self.size += more

    def spread(self, most: int) -> int:
        """Take slots for up to ``most`` steps at once, this one's own included; returns how many it got.

        At least one, and at most half of what is free, which leaves others of the sender the rest.
        """
        more = max(min(most - 1, self._slots.free(self.name) // 2), 0)
        self._slots.take(self.name, more)
        self.size += more
        return 1 + more
