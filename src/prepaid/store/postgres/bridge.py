"""A thread with an event loop of its own, for plain code that must block until the database has answered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from prepaid.errors import StoreError

__all__ = ["Bridge"]

T = TypeVar("T")


class Bridge:
    """Runs coroutines for threads that wait. Must not be waited for in its own thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="prepaid-bridge", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What ``work`` results in; blocks.

        Raises:
            StoreError: the store is closed.
        """
        if self._loop.is_closed():
            work.close()
            raise StoreError("The store is closed.", remedy="Open it again.")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """End the thread; again does nothing."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
