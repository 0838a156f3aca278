"""A provider that writes bytes, whole or broken, as no HTTP server would: ``async with Wire(script) as wire``.

``script(request, writer)`` is called once for each request, with its head and body, and writes what it likes.
"""

from __future__ import annotations

import asyncio
import contextlib


def answer(body=b"{}", status="200 OK", kind="application/json", **headers):
    """A whole response; ``Content_Encoding="gzip"`` is a header."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def says(*pieces):
    """A script that writes these, and leaves the connection open."""

    async def script(request, writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return script


def breaks(*pieces, reset=False):
    """A script that writes these, then closes the connection, or resets it."""

    async def script(request, writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        await asyncio.sleep(0.05)
        (writer.transport.abort if reset else writer.close)()

    return script


class Wire:
    def __init__(self, *scripts, host="127.0.0.1"):
        self.scripts, self.host = list(scripts), host
        self.requests = []
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        place = f"[{self.host}]" if ":" in self.host else self.host
        self.base_url = f"http://{place}:{self.port}/v1"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports say that they are closed

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._converse(reader, writer)
        finally:
            writer.transport.abort()

    async def _converse(self, reader, writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
            self.requests.append(head + await reader.readexactly(length))
            script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
            await script(self.requests[-1], writer)
