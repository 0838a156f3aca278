"""An upstream over real HTTP on loopback, as faulty as real ones, that knows what it billed.

    async with Provider() as provider:
        provider.scripts["m"] = script          # async def script(exchange): …
        ...                                     # ask provider.base_url

A script is handed an ``Exchange``: the request, and verbs to answer it, to break off, and to bill. It runs in the
test's own event loop. Bytes go out as they are sent: every ``send`` is a chunk of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

Body = dict[str, Any]
Script = Callable[["Exchange"], Awaitable[None]]

_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


class HungUp(Exception):
    """Whoever asked has closed the connection."""


@dataclass
class Generation:
    """One answer that was begun, in tokens as the provider counts them."""

    input: int = 0
    output: int = 0
    times: int = 1
    """Of the price that was asked for: 10 where a dearer model answered."""


@dataclass
class Tally:
    """What was billed for one request of a client, however often it was sent here."""

    price_in: int = 1
    price_out: int = 2
    requests: int = 0
    generations: list[Generation] = field(default_factory=list)

    def begin(self, tokens_in: int, *, times: int = 1) -> Generation:
        """From here on there is something to bill."""
        self.generations.append(Generation(tokens_in, times=times))
        return self.generations[-1]

    @property
    def billed(self) -> int:
        """In base units."""
        return sum(each.times * self.price(each.input, each.output) for each in self.generations)

    def price(self, tokens_in: float, tokens_out: float) -> float:
        """At the price of the model that was asked for."""
        return tokens_in * self.price_in + tokens_out * self.price_out


class Exchange:
    """One request, and how it is answered."""

    def __init__(
        self, path: str, body: Body, writer: asyncio.StreamWriter, gone: asyncio.Task[bytes]
    ) -> None:
        self.path = path
        self.body = body
        self._writer = writer
        self._gone = gone
        self._is_chunked = False

    @property
    def is_stream(self) -> bool:
        return self.body.get("stream") is True

    @property
    def limit(self) -> int | None:
        """The output that was asked for at most."""
        names = ("max_completion_tokens", "max_tokens", "max_output_tokens")
        return next((self.body[name] for name in names if self.body.get(name) is not None), None)

    @property
    def is_gone(self) -> bool:
        """Whether the connection was closed by the other side."""
        return self._gone.done() or self._writer.transport.is_closing()

    async def gone(self, seconds: float) -> bool:
        """Whether the other side hangs up within so long."""
        await asyncio.wait((self._gone,), timeout=seconds)
        return self.is_gone

    async def head(
        self, status: int = 200, kind: str = "text/event-stream", *, length: int | None = None, **more: str
    ) -> None:
        """Status and headers; without a length what follows comes in chunks."""
        self._is_chunked = length is None
        size = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Odd')}", f"content-type: {kind}", size]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
        await self.raw("\r\n".join([*lines, "", ""]).encode())

    async def send(self, *events: bytes | Body) -> None:
        """Events or pieces of a body, in one chunk. A dictionary is an event without a name.

        Raises:
            HungUp: nobody is there to read them.
        """
        data = b"".join(event if isinstance(event, bytes) else sse(event) for event in events)
        await self.raw(b"%x\r\n%s\r\n" % (len(data), data) if self._is_chunked else data)

    async def raw(self, data: bytes) -> None:
        """These bytes, whatever they are."""
        if self.is_gone:
            raise HungUp
        self._writer.write(data)
        try:
            await self._writer.drain()
        except ConnectionError:
            raise HungUp from None

    async def end(self) -> None:
        """The end of a body in chunks."""
        if self._is_chunked:
            await self.raw(b"0\r\n\r\n")

    async def reply(self, body: Any, status: int = 200, **headers: str) -> None:
        """A whole reply as JSON."""
        data = json.dumps(body).encode()
        await self.head(status, "application/json", length=len(data), **headers)
        await self.send(data)

    def cut(self) -> None:
        """Break the connection."""
        self._writer.transport.abort()


class Provider:
    """The server; an async context manager. Scripts are found by the request's model, then under ``""``."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.failures: list[str] = []
        """Of scripts: a defect of the test."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            while await self._served(reader, writer):
                pass
        except asyncio.CancelledError:
            return  # the test is over; the streams' own callback would complain of a cancelled task
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection can take another."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            body = json.loads(await reader.readexactly(int(fields.get("content-length", 0))))
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        # Nobody sends a second request before the first is answered, so what comes is the end.
        gone = asyncio.ensure_future(_end_of(reader))
        exchange = Exchange(head.split(" ")[1].removeprefix("/v1"), body, writer, gone)
        script = self.scripts.get(body.get("model")) or self.scripts.get("")
        try:
            await script(exchange)
            is_open = not exchange.is_gone
        except HungUp:
            is_open = False
        except Exception as error:  # noqa: BLE001 -- told when the matrix is played
            self.failures.append(f"{body.get('model')}: {error!r}")
            is_open = False
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
        return is_open


async def _end_of(reader: asyncio.StreamReader) -> None:
    """Until the other side closes. Takes nothing away: a next request stays where it is."""
    while not reader.at_eof() and reader.exception() is None:  # noqa: ASYNC110 -- a reader has no event for it
        await asyncio.sleep(0.005)


def sse(event: Body) -> bytes:
    """An event of chat completions."""
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def named_event(event: Body) -> bytes:
    """An event of responses."""
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
