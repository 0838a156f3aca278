"""Tells whether requests can be served, by reading and writing what each of them does."""

from __future__ import annotations

import asyncio
import logging
from math import inf
from typing import Final

from prepaid.errors import StoreError
from prepaid.store.contract import Store

__all__ = ["Readiness"]

_logger = logging.getLogger("prepaid.gateway")

FRESH_SECONDS: Final = 1.0
"""How long a result is reused, however many ask."""

ANSWER_SECONDS: Final = 2.0
"""How long a caller waits for a check, while the last good one is young enough."""

STUCK_SECONDS: Final = 5.0
"""After which a check that has not ended counts as failed: nothing was written for so long."""


class Readiness:
    """One check at a time, shared by all who ask; it waits its turn among the writes.

    Belongs to the event loop that it is first used on.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._look: asyncio.Task[None] | None = None
        self._began = 0.0
        self._told_until = -inf
        self._good_at = -inf
        self._failure: StoreError | None = None
        self._logged = -inf
        """When the look began that was last logged as stuck."""

    async def check(self) -> None:
        """Return if requests can be served.

        Raises:
            StoreError: they cannot; it says why as far as strangers may know it, and the log says the rest.
        """
        loop = asyncio.get_running_loop()
        if self._look is None and loop.time() >= self._told_until:
            self._began = loop.time()
            self._look = loop.create_task(self._looking())
        if self._look is not None:
            is_well = loop.time() - self._good_at < STUCK_SECONDS
            left = self._began + STUCK_SECONDS - loop.time()
            await asyncio.wait([self._look], timeout=ANSWER_SECONDS if is_well else max(left, 0.0))
        self._tell()

    async def aclose(self) -> None:
        """Stop checking."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.wait([self._look])

    async def _looking(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._store.ask(lambda reads: reads.settings())
            await self._store.probe()
        except StoreError as error:
            _logger.error("not ready: %s", error)  # noqa: TRY400 -- the words say it, and the stack is ours
            self._failure = error
        else:
            self._failure, self._good_at = None, loop.time()
        finally:
            self._told_until = loop.time() + FRESH_SECONDS
            self._look = None

    def _tell(self) -> None:
        stuck = asyncio.get_running_loop().time() - max(self._began, self._good_at)
        if self._look is not None and stuck >= STUCK_SECONDS:
            if self._logged != self._began:
                self._logged = self._began
                _logger.error("not ready: nothing could be written for %.0f seconds", stuck)
            raise _unready("Nothing could be written for several seconds.")
        if self._failure is not None:
            raise _unready(self._failure.public)


def _unready(reason: str) -> StoreError:
    """A failure for strangers: of no kind but the database's, since others can serve what we cannot."""
    error = StoreError(reason)
    error.public = reason
    return error
