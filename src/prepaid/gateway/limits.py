"""How many requests one key may have in flight, and how much memory their bodies may take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from prepaid.errors import BodiesLimitReached, ConcurrencyLimitReached, GatewayFull, LimitReached

__all__ = ["Kept", "Room", "Slot", "Slots"]

_HEAVIEST_AT_ONCE: Final = 32
"""Of requests that take as much room as one can, so many have room: a low limit lets them by, too."""

_OWNERS: Final = 4
"""How many owners it takes to fill the room for bodies, at least where it has room for so many."""


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
            slot.end()

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

    __slots__ = ("_ends", "_slots", "name", "owner", "size")

    def __init__(self, slots: Slots, name: str) -> None:
        self._slots = slots
        self._ends: list[Callable[[], None]] = []
        self.name = name
        self.owner = name
        """Whose turn it is when its long body is read: the user's, with whatever key."""
        self.size = 1

    def at_end(self, work: Callable[[], None]) -> None:
        """Have ``work`` done when the slot is given back."""
        self._ends.append(work)

    def hand_over(self, other: Slot) -> None:
        """Leave what is to be done at the end to another slot, which is kept for longer."""
        other._ends += self._ends
        self._ends = []

    def end(self) -> None:
        """The slot is given back."""
        while self._ends:
            self._ends.pop()()

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


class Room:
    """The bytes that long bodies take, all together and by owner; nobody fills the memory with many keys.

    One owner has a quarter of ``limit``, and in any case enough for one body of ``body_max``.
    """

    _NAME: Final = "bodies_bytes_max"

    def __init__(self, limit: int, body_max: int) -> None:
        self._limit = max(limit, body_max)
        self._share = max(self._limit // _OWNERS, body_max)
        self._taken = 0
        self._by_owner: dict[str, int] = {}

    def check(self, owner: str, more: int) -> None:
        """Refuse ``more`` bytes that have no room now.

        Raises:
            BodiesLimitReached: this owner's bodies take too much.
            GatewayFull: those of all take too much.
        """
        if self._by_owner.get(owner, 0) + more > self._share:
            raise BodiesLimitReached(self._NAME, self._share)
        if self._taken + more > self._limit:
            raise GatewayFull(self._NAME, self._limit)

    def change(self, owner: str, more: int) -> None:
        """Note that an owner's bodies take so much more, or less."""
        self._taken += more
        left = self._by_owner.get(owner, 0) + more
        if left:
            self._by_owner[owner] = left
        else:
            self._by_owner.pop(owner, None)


class Kept:
    """The bytes of one body in its owner's part of the room."""

    def __init__(self, room: Room, owner: str) -> None:
        self._room = room
        self._owner = owner
        self._size = 0

    def resize(self, size: int) -> None:
        """Keep so many bytes.

        Raises:
            BodiesLimitReached, GatewayFull: there is no room for them.
        """
        more = size - self._size
        if more > 0:
            self._room.check(self._owner, more)
        self._room.change(self._owner, more)
        self._size = size

    def end(self) -> None:
        """Keep nothing any more."""
        self.resize(0)
