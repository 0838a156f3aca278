"""Who asks: the gateway first. Chats of the library and agents follow, over the same cells."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from dataclasses import dataclass
from typing import Any, Protocol

from matrix.cells import TOGETHER, Api, Cell, Ending, Mode, Output
from matrix.scripts import LIMIT, Run, request
from prepaid import AgentConfig, Answer, SessionManager, TextDelta
from prepaid.errors import PrepaidError
from prepaid.store.contract import Store

PATIENCE_SECONDS = float(os.environ.get("PREPAID_MATRIX_PATIENCE", "60"))
"""For what takes moments, but on a busy machine."""


@dataclass(frozen=True)
class Payer:
    session_id: str
    key: str


@dataclass
class Seen:
    """What a client saw of its answer."""

    status: int = 0
    content: bytes = b""
    is_complete: bool = False
    """The body came to its end as HTTP has it."""
    has_left: bool = False

    @property
    def events(self) -> list[Any]:
        """The JSON of a stream's events, or of the whole body."""
        if not self.content.startswith((b"data:", b"event:", b":")):
            with contextlib.suppress(ValueError):
                return [json.loads(self.content)]
            return []
        lines = (
            line.removeprefix(b"data:").strip()
            for line in self.content.splitlines()
            if line.startswith(b"data:")
        )
        return [_json(line) for line in lines if line != b"[DONE]"]

    @property
    def has_failed(self) -> bool:
        """An error instead of an answer, or after a part of it."""
        if self.has_left:
            return False
        return self.status != 200 or not self.is_complete or any(_is_error(event) for event in self.events)


def _json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _is_error(event: Any) -> bool:
    return isinstance(event, dict) and (bool(event.get("error")) or event.get("type") == "error")


@dataclass(frozen=True)
class Books:
    """A session's money when nothing is held of it any more, or after ``PATIENCE_SECONDS``."""

    funded: int
    available: int
    held: int
    charged: int
    refunded: int
    exposure: int
    shortfall: int
    holds: tuple[int, ...]
    """What was held at the most, for each request that was made of it."""

    @property
    def booked(self) -> int:
        return self.exposure + self.shortfall


class Caller(Protocol):
    """A way to have a model asked, and paid from a session."""

    async def payer(self, run: Run, amount: int) -> Payer:
        """A new session with so much in it."""

    async def ask(self, payer: Payer, run: Run) -> Seen:
        """Ask, and leave where the cell says so; ``run.go`` is set once that was done."""

    async def books(self, payer: Payer, run: Run) -> Books:
        """What has come of it, once all is settled."""


class Desk:
    """What all callers share: sessions, and what is in the books about them, read beside whoever serves."""

    def __init__(self, manager: SessionManager) -> None:
        self.manager = manager

    @property
    def store(self) -> Store:
        return self.manager._workspace.store

    async def payer(self, run: Run, amount: int) -> Payer:
        session = await self.manager.create_session(f"user-{run.number}", amount)
        return Payer(session.session_id, session.api_key)

    async def books(self, payer: Payer, run: Run) -> Books:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while run.open or self.store.reads.account(payer.session_id).held:  # noqa: ASYNC110 -- another process settles
                    await asyncio.sleep(0.02)
        reads = self.store.reads
        account = reads.account(payer.session_id)
        sums = {"exposure": 0, "shortfall": 0}
        for line in reads.transfers(payer.session_id):
            if line.kind in sums:
                sums[line.kind] += line.amount
        holds = reads.rows("SELECT amount FROM hold WHERE session_id = ?", (payer.session_id,))
        return Books(
            account.funded,
            account.available,
            account.held,
            account.spent,
            account.refunded,
            sums["exposure"],
            sums["shortfall"],
            tuple(row[0] for row in holds),
        )


class GatewayCaller:
    """A client of ``prepaid serve``: bytes on a socket, so that it can leave wherever it likes."""

    def __init__(self, port: int, desk: Desk) -> None:
        self.port = port
        self._desk = desk

    async def payer(self, run: Run, amount: int) -> Payer:
        return await self._desk.payer(run, amount)

    async def books(self, payer: Payer, run: Run) -> Books:
        return await self._desk.books(payer, run)

    async def ask(self, payer: Payer, run: Run) -> Seen:
        path, body = request(run)
        leave = (run.marker or run.reached) if run.cell.is_left else None
        try:
            return await ask_gateway(self.port, payer.key, path, body, leave=leave)
        finally:
            run.go.set()


async def ask_gateway(
    port: int,
    key: str,
    path: str,
    body: dict[str, Any],
    *,
    leave: bytes | asyncio.Event | None = None,
    **headers: str,
) -> Seen:
    """One request on a connection of its own; hangs up once ``leave`` was read, or has happened."""
    seen = Seen()
    connection = None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            connection = await asyncio.open_connection("127.0.0.1", port)
            await _talk(*connection, seen, _message(key, path, body, headers), leave)
    except (ConnectionError, TimeoutError):
        seen.is_complete = False
    finally:
        if connection is not None:
            connection[1].transport.abort()
    return seen


def _message(key: str, path: str, body: dict[str, Any], headers: dict[str, str]) -> bytes:
    data = json.dumps(body).encode()
    named = {"host": "x", "authorization": f"Bearer {key}", "connection": "close"}
    named |= {"content-type": "application/json", "content-length": str(len(data))}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"POST /v1{path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items()), "", ""]
    return "\r\n".join(lines).encode() + data


async def _talk(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    seen: Seen,
    message: bytes,
    leave: bytes | asyncio.Event | None,
) -> None:
    writer.write(message)
    await writer.drain()
    if isinstance(leave, asyncio.Event):
        await _happened_or_answered(leave, reader)
        seen.has_left = leave.is_set()
        if seen.has_left:
            return
    raw = bytearray()
    while data := await reader.read(65_536):
        raw += data
        if isinstance(leave, bytes) and leave in raw:
            seen.has_left = True
            break
    _read_off(bytes(raw), seen)


async def _happened_or_answered(event: asyncio.Event, reader: asyncio.StreamReader) -> None:
    while not event.is_set() and not reader._buffer and not reader.at_eof():  # noqa: ASYNC110 -- two may come
        await asyncio.sleep(0.005)


def _read_off(raw: bytes, seen: Seen) -> None:
    head, _, body = raw.partition(b"\r\n\r\n")
    seen.status = int(head[9:12]) if head[9:12].isdigit() else 0
    fields = head.lower()
    if b"transfer-encoding: chunked" in fields:
        seen.content, seen.is_complete = _unchunked(body)
        return
    length = fields.partition(b"content-length: ")[2].split(b"\r\n")[0]
    seen.content, seen.is_complete = body, length.isdigit() and len(body) == int(length)


def _unchunked(body: bytes) -> tuple[bytes, bool]:
    pieces, at = [], 0
    while (end := body.find(b"\r\n", at)) >= 0:
        size = int(body[at:end], 16)
        if size == 0:
            return b"".join(pieces), True
        pieces.append(body[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
    return b"".join(pieces), False


class LibraryCaller:
    """Chats of a ``SessionManager`` in this process, streamed. Not held to the verdict yet: issue 13 does that."""

    outputs = frozenset({Output.TEXT, Output.HIDDEN, Output.REFUSAL, Output.LONG_WORDS, Output.SHORT_WORDS})

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @classmethod
    def can(cls, cell: Cell) -> bool:
        return (
            cell.api is Api.CHAT
            and cell.mode is Mode.STREAM
            and cell.output in cls.outputs
            and cell.ending not in TOGETHER | {Ending.LEFT_USAGE}
        )

    async def payer(self, run: Run, amount: int) -> Payer:
        return await self._desk.payer(run, amount)

    async def books(self, payer: Payer, run: Run) -> Books:
        return await self._desk.books(payer, run)

    async def ask(self, payer: Payer, run: Run) -> Seen:
        seen = Seen()
        asking = asyncio.ensure_future(self._talk(payer, run, seen))
        try:
            if run.cell.is_left:
                await self._wait_to_leave(asking, run, seen)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asking
        except PrepaidError as error:
            seen.status, seen.content = 502, str(error).encode()
        except (asyncio.CancelledError, TimeoutError):
            seen.is_complete = False
        finally:
            run.go.set()
        return seen

    async def _talk(self, payer: Payer, run: Run, seen: Seen) -> None:
        session = self._desk.manager.get_session(payer.session_id, f"user-{run.number}")
        config = AgentConfig(current_model=run.model, max_output_tokens=LIMIT)
        chat = await session.create_new_chat(agent_config=config)
        async with contextlib.aclosing(chat.stream_message(run.prompt)) as events:
            async for event in events:
                seen.status = 200
                seen.content += event.text.encode() if isinstance(event, TextDelta) else b""
                seen.is_complete = isinstance(event, Answer)

    async def _wait_to_leave(self, asking: asyncio.Task[None], run: Run, seen: Seen) -> None:
        """Until the provider is at the cell's point, and what was said before it is here."""
        said = run.marker if run.marker in {b"p03", b"p07"} else b""
        while not asking.done():
            if run.reached.is_set() and said in seen.content:
                seen.has_left = True
                asking.cancel()
                return
            await asyncio.sleep(0.005)


def is_charged_by_input(cell: Cell) -> bool:
    """Whether there is no output to pay for."""
    return cell.api is Api.EMBEDDINGS
