"""HTTP on one connection, within limits: of time, size and number. Below the application, above the socket.

uvicorn's parser refuses most of what could be read in two ways: both ``Content-Length`` and
``Transfer-Encoding``, folded headers, bare line feeds. The rest is our part: transfer codings, trailers, and
offers to speak another protocol. The parser sets no limit to what it accepts; this does.
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from prepaid.config import GatewaySettings

__all__ = ["GuardedProtocol", "Watch"]

_logger = logging.getLogger("prepaid.gateway")

SWEEP_SECONDS: Final = 0.5
"""How exact the limits of time are. One look at all connections is cheaper than timers for each request."""


_LINGER_SECONDS: Final = 2.0
"""How long a server that stops waits for the first request of a connection that was just opened."""


_BODY_BYTES_A_SECOND: Final = 1024
"""What a body has to bring for each second that it takes beyond ``body_seconds``. Any line that is in use is
faster; who would keep thousands of connections busy has to send megabytes."""

_OF_THE_OFFER: Final = frozenset({b"connection", b"proxy-connection", b"upgrade"})
"""Headers by which the parser sees that another protocol is offered, or how long the connection lasts."""

_UNREADABLE: Final = "Invalid HTTP request received."


class _Phase(Enum):
    IDLE = auto()
    """Between requests, or before the first."""
    HEAD = auto()
    BODY = auto()
    REPLY = auto()
    CLOSING = auto()
    """What was written has still to be read by the client."""


class Watch:
    """Every open connection of this process; closes those that stand still for too long."""

    def __init__(self, limits: GatewaySettings) -> None:
        self.limits = limits
        self.now = 0.0
        """The loop's time at the last look; exact enough for limits of seconds."""
        self.is_leaving = False
        """Whether the server stops: each connection has one more request at most."""
        self._open: dict[GuardedProtocol, None] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look. In the event loop that serves."""
        self.now = asyncio.get_running_loop().time()
        self._task = asyncio.get_running_loop().create_task(self._look())

    async def aclose(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    def admit(self, connection: GuardedProtocol) -> bool:
        """Take it in. If there is no room, the connection that is idle for longest makes some."""
        if len(self._open) >= self.limits.connections_max:
            idle = next((each for each in self._open if each.is_idle), None)
            if idle is None:
                return False
            idle.give_up()
        self._open[connection] = None
        return True

    def forget(self, connection: GuardedProtocol) -> None:
        """It is closed."""
        self._open.pop(connection, None)

    def touch(self, connection: GuardedProtocol) -> None:
        """It has just become idle: last in the row of those that make room."""
        if connection in self._open:
            del self._open[connection]
            self._open[connection] = None

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.now = loop.time()
            try:
                for connection in list(self._open):
                    connection.check(self.now)
            except Exception:  # whatever it is, the limits of time must go on holding
                _logger.exception("a look at the connections failed and will be tried again")


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's connection with a head that is limited and a watch over its time.

    The application puts its ``Watch`` into the lifespan's state, as ``watch``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watch: Watch = self.app_state["watch"]
        self._limits: GatewaySettings = self._watch.limits
        self._phase = _Phase.IDLE
        self._since = self._watch.now
        self._stalled_since: float | None = None
        self._has_served = False
        self._head_bytes = 0
        self._head_lines = 0
        self._fed_bytes = 0
        self._refusal = HTTPStatus.BAD_REQUEST
        self._answering: RequestResponseCycle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no request has begun that is not answered."""
        return self._phase is _Phase.IDLE

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it in, or refuse it with 503."""
        super().connection_made(transport)
        if not self._watch.admit(self):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed, by whomever: the request being answered hears of it, not only the last one."""
        self._watch.forget(self)
        if self._answering and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse it; a head that does not end is refused before it fills the memory."""
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.logger.warning(_UNREADABLE)
            self.send_400_response(_UNREADABLE)
            return
        if self._phase is _Phase.HEAD:
            self._fed_bytes += len(data)
            if self._fed_bytes > self._limits.head_bytes_max and not self.transport.is_closing():
                self._end(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head_bytes = self._head_lines = self._fed_bytes = 0
        self._enter(_Phase.HEAD)

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; or a trailer behind the body, which is never taken for one (RFC 9110, 6.5.1)."""
        self._count(len(name) + len(value))
        self._head_lines += 1
        if self._head_lines > self._limits.headers_max:
            self._give_reason(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if self._phase is _Phase.HEAD:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there. HTTP/1.1 wants exactly one ``Host``; no other version is spoken here."""
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            return  # it comes again, without its offer
        if not self._is_readable():
            self._give_reason(HTTPStatus.BAD_REQUEST)
        super().on_headers_complete()
        self._enter(_Phase.BODY)
        if self._watch.is_leaving:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A piece of the body, which earns time: never more than ``body_seconds`` from now."""
        self._since = min(self._watch.now, self._since + len(body) / _BODY_BYTES_A_SECOND)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole request is there."""
        if self.parser.should_upgrade():
            return
        self._enter(_Phase.REPLY)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A reply has ended; the next request on this connection may have come already."""
        super().on_response_complete()
        self._has_served = True
        if self.cycle.response_complete and self._phase is _Phase.REPLY:
            self._enter(_Phase.IDLE)
            self._watch.touch(self)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        """The client does not read as fast as we write."""
        self._stalled_since = self._watch.now
        super().pause_writing()

    def resume_writing(self) -> None:
        """It reads again."""
        self._stalled_since = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What could not be parsed, or was over a limit, ends the connection."""
        self._end(self._refusal, msg)

    def shutdown(self) -> None:
        """The server stops. What is on its way here is answered: nobody else can any more."""
        self._watch.is_leaving = True
        if not (self._is_new or self._phase is _Phase.HEAD):
            super().shutdown()

    def check(self, now: float) -> None:
        """Close the connection if what it waits for takes too long."""
        if self.transport.is_closing() and self._phase is not _Phase.CLOSING:
            self._enter(_Phase.CLOSING)
        is_ours = self.flow.read_paused or (self._phase is _Phase.HEAD and self._is_replying)
        if self._stalled_since is not None and now - self._stalled_since > self._limits.write_seconds:
            self.transport.abort()
        elif is_ours and self._phase is not _Phase.CLOSING:
            self._since = now  # the client waits for us
        elif self._phase is not _Phase.REPLY and now - self._since > self._patience():
            self._run_out()

    def give_up(self) -> None:
        """Close an idle connection. It stays watched until all that was written is read."""
        self._enter(_Phase.CLOSING)
        self.transport.close()

    @property
    def _is_new(self) -> bool:
        return self._phase is _Phase.IDLE and not self._has_served

    @property
    def _is_replying(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _parse(self, data: bytes) -> None:
        """Feed the parser.

        It takes a request that offers another protocol to have no body, and what follows for another request.
        (Java's client offers HTTP/2 with whatever it sends in clear text.) So the parser gets that request
        again without the offer, which binds us to nothing (RFC 9110, 7.8). It is the last of its connection:
        whoever reads its end otherwise than we do cannot send a second one.

        Raises:
            HttpParserError: it is no HTTP, or over a limit.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            (begin_of_body,) = offer.args
            head = self._head_without_offer()
            # a parser that was told of an end to the connection reads nothing any more
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.parser.feed_data(head + data[begin_of_body:])

    def _head_without_offer(self) -> bytes:
        first = b"%b %b HTTP/%b" % (
            self.parser.get_method(),
            self.url,
            self.parser.get_http_version().encode(),
        )
        kept = (b"%b: %b" % header for header in self.headers if header[0] not in _OF_THE_OFFER)
        return b"\r\n".join([first, *kept, b"connection: close", b"", b""])

    def _is_readable(self) -> bool:
        """Whether everybody who reads this head reads the same, as far as the parser has not looked at it."""
        names = [name for name, _ in self.headers]
        version = self.parser.get_http_version()
        if version == "1.1":
            is_known = names.count(b"host") == 1
        else:  # it has no transfer codings
            is_known = version == "1.0" and names.count(b"host") <= 1 and b"transfer-encoding" not in names
        codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        return is_known and codings in ([], [b"chunked"]) and self.parser.get_method() != b"CONNECT"

    def _patience(self) -> float:
        match self._phase:
            case _Phase.BODY:
                return self._limits.body_seconds
            case _Phase.CLOSING:
                return self._limits.write_seconds
            case _Phase.IDLE if self._has_served:
                return self._limits.keep_alive_seconds
            case _Phase.IDLE if self._watch.is_leaving:
                return _LINGER_SECONDS
            case _:
                return self._limits.head_seconds

    def _run_out(self) -> None:
        match self._phase:
            case _Phase.CLOSING:
                self.transport.abort()
            case _Phase.IDLE:
                self.transport.close()
            case _:
                self._end(HTTPStatus.REQUEST_TIMEOUT)

    def _end(self, status: HTTPStatus, message: str = "") -> None:
        """Refuse the request that is arriving, unless a reply is under way, which it would be taken for."""
        if not self._is_replying:
            self._refuse(status, message)
        elif self._phase is _Phase.BODY and not self.cycle.response_started and not self.pipeline:
            self._refuse(status, message)
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        else:
            self.transport.close()

    def _refuse(self, status: HTTPStatus, message: str = "") -> None:
        """A reply in plain text from outside of the application, and the end of the connection."""
        text = (message or status.phrase).encode()
        head = (
            b"HTTP/1.1 %d %s\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
            b"x-content-type-options: nosniff\r\ncache-control: no-store\r\n"
            b"x-should-retry: %s\r\nconnection: close\r\n\r\n"
        )
        retry = b"true" if status is HTTPStatus.SERVICE_UNAVAILABLE else b"false"
        self.transport.write(head % (status, status.phrase.encode(), len(text), retry) + text)
        self.transport.close()

    def _enter(self, phase: _Phase) -> None:
        self._phase = phase
        self._since = self._watch.now

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._limits.head_bytes_max:
            self._give_reason(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _give_reason(self, status: HTTPStatus) -> None:
        """Stop the parser, which calls ``send_400_response`` then."""
        self._refusal = status
        raise ValueError(status.phrase)
