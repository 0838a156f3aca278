"""Connections that only read: a few, taken in turn, and made anew where they were cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from prepaid.store.postgres.connection import LOST, Connection, connect, raise_translated

__all__ = ["Readers"]

T = TypeVar("T")

_CONNECTIONS_MAX: Final = 4
_READ_SECONDS_MAX: Final = 10.0
_PAUSE_SECONDS: Final = 0.05


class Readers:
    """Belongs to the event loop that it is first used on."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: list[Connection] = []
        self._turn = asyncio.Semaphore(_CONNECTIONS_MAX)

    async def ask(self, question: Callable[[Connection], Awaitable[T]]) -> T:
        """Answer a question; asked again on another connection where one was cut, for it changes nothing.

        Raises:
            StoreError: the server does not answer.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _READ_SECONDS_MAX
        while True:
            try:
                async with asyncio.timeout_at(deadline), self.taken() as connection:
                    return await question(connection)
            except LOST as error:
                if loop.time() + _PAUSE_SECONDS >= deadline:
                    raise_translated(error, self._url)
            except Exception as error:  # noqa: BLE001 -- raised again, in our words
                raise_translated(error, self._url)
            await asyncio.sleep(_PAUSE_SECONDS)

    @asynccontextmanager
    async def taken(self) -> AsyncGenerator[Connection]:
        """A connection for oneself. One on which something failed is not used again."""
        async with self._turn:
            connection = await self._open()
            try:
                yield connection
            except BaseException:
                connection.terminate()
                raise
            self._idle.append(connection)

    async def aclose(self) -> None:
        """Close all that nobody has taken."""
        while self._idle:
            self._idle.pop().terminate()

    async def _open(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return await connect(self._url)
