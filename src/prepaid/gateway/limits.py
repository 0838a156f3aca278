"""How many requests one key may have in flight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prepaid.errors import ConcurrencyLimitReached, LimitReached

__all__ = ["Slots"]


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
        self._taken: dict[str, int] = {}

    @contextmanager
    def taken(self, name: str) -> Iterator[None]:
        """One slot of ``name``, for as long as the block runs.

        Raises:
            LimitReached: it has no slot left.
        """
        count = self._taken.get(name, 0)
        if count >= self._limit:
            raise self._error(self._limit_name, self._limit)
        self._taken[name] = count + 1
        try:
            yield
        finally:
            left = self._taken[name] - 1
            if left:
                self._taken[name] = left
            else:
                del self._taken[name]
