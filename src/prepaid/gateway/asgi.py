"""One HTTP request as handlers see it: a thin layer over ASGI, so that the hot path pays for nothing else."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final

from prepaid.errors import InvalidRequestError, ValueTooLarge
from prepaid.gateway.codings import unpacking
from prepaid.records import Usage

__all__ = [
    "CLIENT_GONE",
    "REQUEST",
    "Application",
    "ClientGone",
    "Header",
    "Message",
    "Receive",
    "Request",
    "Scope",
    "Send",
    "to_json",
]

Header = tuple[bytes, bytes]
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
REQUEST: Final = "prepaid.request"
_JSON: Final[Header] = (b"content-type", b"application/json")
_ONCE: Final = (
    b"authorization",
    b"content-encoding",
    b"content-length",
    b"content-type",
    b"idempotency-key",
    b"transfer-encoding",
    b"x-prepaid-chat",
    b"x-prepaid-lease",
    b"x-prepaid-receipt",
    b"x-prepaid-session",
)
"""Of two, a proxy in front of us could believe the one and we the other."""
_ALWAYS: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)
"""What every reply has. No answer of ours is for the next one who asks, nor another type than it says."""


def _too_long(size: int, limit: int, unit: str, limit_name: str) -> ValueTooLarge:
    return ValueTooLarge(
        "The request body", size, limit, unit, limit_name=limit_name, remedy="Send a shorter body."
    )


def to_json(value: Mapping[str, Any] | Sequence[Any]) -> bytes:
    """Compact JSON in UTF-8; half a character that a client sent is escaped, not refused."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


_DISCARD_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.5
"""After which a client that sends nothing is taken to wait for an answer."""


CLIENT_GONE: Final = 499
"""For logs and metrics, the status of what nobody waited for; nginx has it, too."""


class ClientGone(Exception):
    """The client hung up before its request was read or answered to the end. Nobody is left to be told."""


class Request:
    """One request and its reply.

    Handlers call ``reply`` once, or ``start``, any number of ``chunk``, ``end``. Logs and traces tell what
    they write into ``session_id``, ``model``, ``provider``, ``usage``, ``cost`` and ``error``. ``route`` is
    the template that matched, and ``tail`` what stood for its ``*``.
    """

    __slots__ = (
        "_headers",
        "_is_read",
        "_receive",
        "_send",
        "cost",
        "error",
        "id",
        "is_ended",
        "is_stream",
        "method",
        "model",
        "path",
        "provider",
        "route",
        "scope",
        "session_id",
        "status",
        "tail",
        "usage",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.route = ""
        self.tail = ""
        self.status = 0
        """Of the reply; 0 until it has begun."""
        self.is_ended = False
        self.is_stream = False
        """Whether the reply comes in pieces."""
        self.session_id: str | None = None
        self.model: str | None = None
        self.provider: str | None = None
        self.usage: Usage | None = None
        self.cost: int | None = None
        """Base units of the session's currency."""
        self.error: str | None = None
        """The code of the error that the client was told, or would have been."""
        self._receive = receive
        self._send = send
        self._is_read = False
        self._headers: dict[bytes, bytes] | None = None
        self.id = self._own_id() or f"req_{secrets.token_hex(12)}"

    @property
    def query(self) -> bytes:
        """The query string, without its question mark, as it came."""
        raw: bytes = self.scope["query_string"]
        return raw

    @property
    def client(self) -> str:
        """The address that the connection comes from; a proxy's, behind a proxy."""
        address = self.scope.get("client")
        return address[0] if address else ""

    @property
    def announces_body(self) -> bool:
        """Whether a body comes, by the head alone."""
        length = self.header(b"content-length")
        return self.header(b"transfer-encoding") is not None or length not in (None, b"0")

    def header(self, name: bytes) -> bytes | None:
        """The first header of this name, which is given in lower case (``check_head``: the only one)."""
        if self._headers is None:
            self._headers = dict(reversed(self.scope["headers"]))
        return self._headers.get(name)

    def check_head(self) -> None:
        """Refuse what must not be sent twice.

        Raises:
            InvalidRequestError: such a header was.
        """
        headers = self.scope["headers"]
        if self._headers is not None and len(self._headers) == len(headers):
            return
        names = [name for name, _ in headers]
        for name in _ONCE:
            if names.count(name) > 1:
                told = name.decode().title()
                raise InvalidRequestError(
                    f"The request has {names.count(name)} {told} headers.", remedy=f"Send {told} once."
                )

    def refuse_longer_than(self, limit: int, limit_name: str) -> None:
        """Refuse a body that says that it is longer than ``limit`` bytes, packed or not, before it is read.

        Raises:
            ValueTooLarge: it does.
        """
        declared = self.header(b"content-length")
        if declared is not None and declared.isdigit() and int(declared) > limit:
            raise _too_long(int(declared), limit, "bytes", limit_name)

    async def body(
        self,
        limit: int,
        keep: Callable[[int], None] | None = None,
        unpack: Callable[[Callable[[], bytes]], Awaitable[bytes]] = asyncio.to_thread,
        limit_name: str = "body_bytes_max",
    ) -> bytes:
        """The whole body, unpacked, at most ``limit`` bytes (``limit_name`` in errors). Can be read once.

        ``keep`` is told its size as it arrives, and may refuse it. It stays packed until it is whole:
        ``unpack`` says where and when it is unpacked.

        Raises:
            ValueTooLarge: it is longer, or says that it will be.
            CodingNotSupported, InvalidRequestError: it is packed in a way that is not read here, or wrongly.
            ClientGone: the client hung up, or was too slow.
        """
        self.refuse_longer_than(limit, limit_name)
        packed = unpacking(self.header(b"content-encoding"), limit, limit_name)
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise _too_long(size, limit, "bytes or more", limit_name)
            if keep is not None:
                keep(size)
            parts.append(part)
            more = message.get("more_body", False)
        self._is_read = True
        content = parts[0] if len(parts) == 1 else b"".join(parts)
        if packed is None or not size:
            return content
        parts.clear()
        return await unpack(lambda: packed.whole(content))

    async def discard(self, limit: int) -> None:
        """Read what comes of a body that nobody wants, at most ``limit`` bytes of it.

        A client that is still sending when its connection is closed, as it is then, never sees why. One that
        waits for our word before it sends is not waited for.
        """
        if self.header(b"expect") is not None:
            return
        left, more = limit, self.announces_body and not self._is_read
        try:
            async with asyncio.timeout(_DISCARD_SECONDS):
                while more and left > 0:
                    async with asyncio.timeout(_PAUSE_SECONDS):
                        message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    left -= len(message.get("body", b""))
                    more = message.get("more_body", False)
        except TimeoutError:
            return

    async def gone(self) -> None:
        """Returns when the client has hung up or the reply has ended. To be called after ``body``."""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return

    async def reply(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """The whole reply at once; ``content-length`` and what ``start`` adds are added."""
        await self.start(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self._end(body)

    async def reply_json(
        self, status: int, value: Mapping[str, Any] | Sequence[Any], headers: Sequence[Header] = ()
    ) -> None:
        """``reply`` with a value as JSON."""
        await self.reply(status, [_JSON, *headers], to_json(value))

    async def start(self, status: int, headers: Sequence[Header]) -> None:
        """Status and headers of a reply whose body comes in chunks.

        ``x-request-id`` is added, and that nobody may keep it or take it for another type.
        """
        self.status = status
        sent = [*headers, (b"x-request-id", self.id.encode()), *_ALWAYS]
        if not self._is_read and self.announces_body:
            sent.append((b"connection", b"close"))  # nobody will read the rest of this request
        await self._send({"type": "http.response.start", "status": status, "headers": sent})

    async def chunk(self, body: bytes) -> None:
        """A piece of the body. Waits while the client is slow to read, until the connection is given up.

        Once the client is gone, pieces go nowhere: ``gone`` tells.
        """
        self.is_stream = True
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self) -> None:
        """The end of the body."""
        await self._end(b"")

    def hand_over(self) -> tuple[Scope, Receive, Send]:
        """For another ASGI application to answer, which finds this request in its scope, under ``REQUEST``.

        Its reply gets what ``start`` adds, too.
        """
        self.scope[REQUEST] = self

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self.start(message["status"], list(message.get("headers", ())))
            elif message.get("more_body", False):
                await self._send(message)
            else:
                self.is_ended = True
                await self._send(message)

        return self.scope, self._receive_noted, send

    async def _receive_noted(self) -> Message:
        message = await self._receive()
        self._is_read = self._is_read or not message.get("more_body", False)
        return message

    async def _end(self, body: bytes) -> None:
        self.is_ended = True
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    def _own_id(self) -> str | None:
        """The client's request id, where it can do no harm in a header or a log."""
        given = self.header(b"x-request-id")
        return given.decode() if given is not None and _REQUEST_ID.fullmatch(given) else None
