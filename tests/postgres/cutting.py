"""A proxy before PostgreSQL: cuts a connection after so many bytes, wherever in a statement that is; or is slow."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit, urlunsplit

__all__ = ["Proxy"]

_CHUNK = 65_536


class Proxy:
    """Stands in a folder of its own, in a thread of its own; ``url`` leads through it to the database.

    ``passed`` counts the bytes that were ``"asked"`` and ``"answered"``, ``chunks`` tells where each piece of
    them began. A cut lets what comes before it through; then both sides see their connection break. What is
    answered comes ``lag_seconds`` late, and not at all while it is held back.
    """

    def __init__(self, url: str, folder: Path) -> None:
        parts = urlsplit(url)
        asked = parse_qs(parts.query)
        (behind,), (port,) = asked["host"], asked["port"]
        socket = f".s.PGSQL.{port}"
        self._behind = str(Path(behind) / socket)
        self._before = str(folder / socket)
        self.url = urlunsplit(parts._replace(query=f"host={folder}&port={port}"))
        self.passed = {"asked": 0, "answered": 0}
        self.chunks: list[tuple[str, int, int]] = []
        """direction, bytes before it, its size"""
        self.cuts_made = 0
        self.stays_down = False
        """Let nobody through any more once a cut was made."""
        self.lag_seconds = 0.0
        self._cut: tuple[str, int] | None = None
        self._held = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    def cut_after(self, direction: str, more_bytes: int) -> None:
        """Cut once, when so many more bytes have gone that way."""
        self._cut = (direction, self.passed[direction] + more_bytes)

    def cut_no_more(self) -> None:
        """Forget the cut that has not come yet."""
        self._cut = None

    def hold_back(self) -> None:
        """From now on nothing that is answered comes through."""
        self._held.set()

    def let_go(self) -> None:
        """What was held back comes now, and what follows."""
        self._held.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_unix_server(self._accept, self._before))
        Path(self._before).chmod(0o777)  # for a replica, which runs as somebody else
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # what was aborted closes its socket in the loop's next rounds

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.stays_down and self.cuts_made:
            writer.transport.abort()
            return
        with suppress(OSError):  # the server is down, or a side has gone
            behind_reader, behind_writer = await asyncio.open_unix_connection(self._behind)
            ways = [
                self._loop.create_task(self._forward("asked", reader, behind_writer)),
                self._loop.create_task(self._forward("answered", behind_reader, writer)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                behind_writer.transport.abort()
                writer.transport.abort()
                await asyncio.gather(*ways)

    async def _forward(self, direction, source, target) -> None:
        with suppress(OSError):
            while chunk := await source.read(_CHUNK):
                allowed = self._allowed(direction, len(chunk))
                self.chunks.append((direction, self.passed[direction], len(chunk)))
                self.passed[direction] += len(chunk)
                if direction == "answered":
                    await self._linger()
                target.write(chunk if allowed is None else chunk[:allowed])
                await target.drain()
                if allowed is not None:
                    return

    async def _linger(self) -> None:
        if self.lag_seconds:
            await asyncio.sleep(self.lag_seconds)
        while self._held.is_set():  # noqa: ASYNC110 -- whoever lets go is in another thread
            await asyncio.sleep(0.005)

    def _allowed(self, direction: str, size: int) -> int | None:
        """How many of the next bytes may go that way before the cut, if it falls among them."""
        if self._cut is None or self._cut[0] != direction:
            return None
        left = self._cut[1] - self.passed[direction]
        if left > size:
            return None
        self._cut = None
        self.cuts_made += 1
        return left
