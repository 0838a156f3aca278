"""Which lane an operation takes.

Operations are spread by their session. Those that are about one session or one owner's deposit, and not
answered yet, are in one lane, and so they are applied in the order they were submitted in.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from prepaid.store.operations import Operation
from prepaid.store.postgres.locks import accounts_of

__all__ = ["Ways"]


class Ways:
    """Knows what is under way; belongs to one event loop."""

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._under_way: dict[str, tuple[int, int]] = {}

    def enter(self, operation: Operation) -> int:
        """The number of the lane that it takes."""
        accounts = accounts_of(operation)
        lane = next((self._under_way[each][0] for each in accounts if each in self._under_way), None)
        if lane is None:
            lane = zlib.crc32(operation.session_id.encode()) % self._lanes
        for each in accounts:
            # Where two that it is about are in two lanes, the first decides, and row locks order the rest.
            taken, count = self._under_way.get(each, (lane, 0))
            self._under_way[each] = taken, count + 1
        return lane

    def leave(self, operations: Iterable[Operation]) -> None:
        """These are not under way any more."""
        for operation in operations:
            for each in accounts_of(operation):
                lane, count = self._under_way[each]
                if count > 1:
                    self._under_way[each] = lane, count - 1
                else:
                    del self._under_way[each]
