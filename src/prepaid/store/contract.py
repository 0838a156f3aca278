"""What every store can do, whichever database it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from prepaid.store.operations import Operation
from prepaid.store.queries.reads import Reads

__all__ = ["Store"]

T = TypeVar("T")


class Store(Protocol):
    """Changes go in by ``submit``. Questions are asked in one of three ways, by how much they read."""

    clock: Callable[[], int]
    """The database's time, in milliseconds since the epoch."""

    reads: Reads
    """Answers at once: after a moment on SQLite, after a round trip to a server, during which the event loop
    waits, but below ``aside``."""

    def submit(self, operation: Operation) -> asyncio.Future[Any]:
        """Queue a change; await the future for its result, durable by then.

        Operations of one session are applied in the order they were submitted in.

        Raises:
            StoreBusy: the queue is full.
        """

    def listen(self, listener: Callable[[list[Operation]], None] | None) -> None:
        """Tell ``listener`` of every batch of operations once it is durable, refused ones included."""

    @property
    def queued(self) -> int:
        """How many changes wait to be written."""

    async def probe(self) -> None:
        """Return once something was written that changes nothing, in its turn; a few who ask share one.

        Raises:
            StoreError: it could not be. A database that is only busy is waited for, as with every change.
        """

    async def ask(self, question: Callable[[Reads], T]) -> T:
        """Answer a bounded question; the event loop goes on meanwhile."""

    def aside(self, work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """``work``, during whose ``reads`` the event loop goes on; in tasks that it makes it does not."""

    async def report(self, question: Callable[[Reads], T]) -> T:
        """Answer an unbounded question in a thread, on a connection of its own."""

    async def aclose(self) -> None:
        """Finish what is queued and close the database."""
