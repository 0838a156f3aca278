"""One HTTP client per upstream: pooled, kept alive, and honest about what failed.

Whoever asks gets an answer, or a ``ProviderError`` that says what the provider may bill for the attempt.
Where it is, and what it says of its operator's account, stay here and in the log. aiohttp is imported here
only.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from prepaid.config import UpstreamSettings
from prepaid.errors import (
    MayBill,
    ProviderError,
    ProviderResponseInvalid,
    ProviderStreamBroken,
    ProviderTimeout,
)
from prepaid.models.circuit import Circuit, Seat
from prepaid.models.failures import log_failure, refused, retry_after_seconds
from prepaid.models.hiding import Hidden

__all__ = ["REPLY_BYTES_MAX", "Reply", "Upstream"]

REPLY_BYTES_MAX: Final = 64 * 1_048_576
_REFUSAL_BYTES_MAX: Final = 65_536
_REFUSAL_SECONDS: Final = 5.0
"""A refusal is one by its status: what it says may be missing, and is not waited for."""
_HEADER_BYTES_MAX: Final = 65_536
_END_SECONDS: Final = 0.05
_IDLE_SECONDS: Final = 4.0
"""Many servers close an idle connection after 5 seconds. A request that is written to one just then cannot be
sent again, since nobody knows whether it arrived."""
_PROBE_SECONDS: Final = 60
_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream"
_ANSWERED: Final = range(200, 300)
_WITHOUT_BODY: Final = frozenset({204, 205})
_BROKEN: Final = 500
_LOST: Final = (aiohttp.ClientError, OSError)
"""All that aiohttp raises; a time-out is an ``OSError``."""
_UNCONNECTED: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
)
"""No connection was made, so nothing was sent: names, addresses, TLS, proxies, and time-outs of these."""

_QUOTING: Final = (aiohttp.ClientResponseError, aiohttp.ClientPayloadError)


class Upstream:
    """One configured upstream: its name, its settings, its connections, and whether it is worth asking."""

    def __init__(self, name: str, settings: UpstreamSettings) -> None:
        self.name = name
        self.settings = settings
        self.secret = settings.secret()
        self.hidden = Hidden(self.secret, settings.base_url)
        self.circuit = Circuit(
            name, settings.circuit_failures, settings.circuit_seconds, settings.circuit_payers
        )
        self.limit_field: str | None = settings.output_limit_field or "max_tokens"
        """Where a chat completion has its output limit; ``None`` where it knows both fields."""
        self.hides_output: dict[str, bool] = {}
        """Whether a model was seen to bill output which it does not show."""
        self.odd_usages = 0
        """How often it told a usage that cannot be."""
        self._session: aiohttp.ClientSession | None = None
        self._urls: dict[str, URL] = {}

    @asynccontextmanager
    async def ask(self, path: str, body: bytes, *, model: str = "", payer: str = "") -> AsyncIterator[Reply]:
        """POST ``body``, which is JSON, to ``path`` below the base URL: once.

        ``model`` and ``payer`` are names by which failures are told apart (``Circuit``). Leaving the block
        before the reply was read to its end drops the connection.

        Raises:
            UpstreamUnavailable: it failed too often lately.
            ProviderError: it refused, cannot be reached, fell silent or broke off.
        """
        attempt = _Attempt(self, self.circuit.seat(model, payer), model)
        try:
            response = await self._client().post(self._url(path), data=body, allow_redirects=False)
        except _LOST as error:
            raise attempt.lost(error) from error
        async with response:
            if response.status not in _ANSWERED:
                raise await attempt.refused(response, body)
            attempt.check(response)
            yield Reply(attempt, response)

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    def _client(self) -> aiohttp.ClientSession:
        """Made where it is first used, because it belongs to that event loop."""
        if self._session is None:
            settings = self.settings
            headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
            if self.secret:
                headers["Authorization"] = f"Bearer {self.secret}"
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, keepalive_timeout=_IDLE_SECONDS, socket_factory=_probed_socket
                ),
                headers=headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    connect=settings.connect_timeout_seconds, sock_read=settings.timeout_seconds
                ),
                proxy=_proxy_for(URL(settings.base_url)),
                max_field_size=_HEADER_BYTES_MAX,
                # What was not asked for is not unpacked: a small body could be a very large one.
                auto_decompress=False,
            )
        return self._session

    def _url(self, path: str) -> URL:
        """Of ``path``, which goes before a query of the base URL."""
        url = self._urls.get(path)
        if url is None:
            base, mark, query = self.settings.base_url.partition("?")
            url = self._urls[path] = URL(base.rstrip("/") + path + mark + query)
        return url


class _Attempt:
    """One request on its way: makes of its end an error, a line in the log and a mark in the circuit."""

    __slots__ = ("_model", "_upstream", "seat")

    def __init__(self, upstream: Upstream, seat: Seat, model: str) -> None:
        self.seat = seat
        self._upstream = upstream
        self._model = model

    @property
    def name(self) -> str:
        """The upstream's."""
        return self._upstream.name

    @property
    def timeout_seconds(self) -> float:
        """How long it may be silent, and how long a whole body may take once it has begun."""
        return self._upstream.settings.timeout_seconds

    def lost(self, error: Exception) -> ProviderError:
        """The error for what aiohttp raised. Its words name hosts and addresses, and are for the log."""
        self.seat.failed()
        made = self._ours(error)
        if isinstance(error, _UNCONNECTED):
            made.may_bill = MayBill.NOTHING
            made.can_resend = True
        # What could not be read as HTTP is quoted in its words, and may repeat a prompt.
        words = "" if isinstance(error, _QUOTING) else f": {error}"
        made.detail = self._upstream.hidden.masked(f"{type(error).__name__}{words}")
        log_failure(self.name, made, self._model)
        return made

    async def refused(self, response: aiohttp.ClientResponse, asked: bytes) -> ProviderError:
        """The error for a status that is no success; of its body only the beginning is read."""
        body = b"" if _is_packed(response) else await _beginning(response)
        if response.status >= _BROKEN:
            self.seat.failed()
        else:
            self.seat.succeeded()
        after = retry_after_seconds(response.headers.get("Retry-After"))
        made = refused(self.name, response.status, body, after, self._upstream.hidden, asked)
        log_failure(self.name, made, self._model)
        return made

    def check(self, response: aiohttp.ClientResponse) -> None:
        """Refuse an answer that has no body, or one that was packed without being asked for.

        Raises:
            ProviderResponseInvalid: it is such an answer.
        """
        if response.status in _WITHOUT_BODY:
            raise self.invalid(f"answered with status {response.status} and no body")
        if _is_packed(response):
            raise self.invalid(
                "sent a compressed answer that was not asked for",
                remedy="Switch compression off there, or at the proxy in between.",
            )

    def invalid(self, what: str, remedy: str | None = None) -> ProviderResponseInvalid:
        """The error for an answer that cannot be used."""
        made = ProviderResponseInvalid(f"Upstream {self.name!r} {what}.", remedy=remedy)
        log_failure(self.name, made, self._model)
        return made

    def _ours(self, error: Exception) -> ProviderError:
        name, settings = self.name, self._upstream.settings
        if isinstance(error, TimeoutError):
            if isinstance(error, _UNCONNECTED):
                seconds = settings.connect_timeout_seconds
                return ProviderTimeout(
                    f"Upstream {name!r}: no connection within {seconds} seconds (connect_timeout_seconds)."
                )
            seconds = settings.timeout_seconds
            return ProviderTimeout(
                f"Upstream {name!r}: no answer within {seconds} seconds (timeout_seconds)."
            )
        if isinstance(error, _UNCONNECTED):
            return ProviderError(f"Upstream {name!r} cannot be reached.")
        if isinstance(error, aiohttp.ClientResponseError):
            return ProviderResponseInvalid(f"Upstream {name!r} did not answer in HTTP as it should.")
        return ProviderStreamBroken(f"Upstream {name!r} broke the connection.")


class Reply:
    """An upstream's answer. Its body is read once, whole or in pieces."""

    __slots__ = ("_attempt", "_response", "content_type")

    def __init__(self, attempt: _Attempt, response: aiohttp.ClientResponse) -> None:
        self._attempt = attempt
        self._response = response
        told = response.headers.get("Content-Type", _JSON).partition(";")[0].strip().lower()
        self.content_type = _EVENTS if told == _EVENTS else _JSON
        """Ours, whatever it was: nothing else that an upstream names reaches a client."""

    async def content(self) -> bytes:
        """The whole body.

        Raises:
            ProviderResponseInvalid: it is longer than ``REPLY_BYTES_MAX``.
            ProviderError: it broke off, or fell silent.
        """
        body = bytearray()
        seconds = self._attempt.timeout_seconds  # a byte now and then is no answer
        ends = asyncio.get_running_loop().time() + seconds
        while piece := await self._next():
            body += piece
            if len(body) > REPLY_BYTES_MAX:
                raise self._attempt.invalid(f"sent more than {REPLY_BYTES_MAX} bytes")
            if asyncio.get_running_loop().time() > ends:
                raise self._attempt.invalid(f"took more than {seconds} seconds to send its answer")
        self._attempt.seat.succeeded()
        return bytes(body)

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The body as it comes.

        Raises:
            ProviderError: it broke off, or fell silent.
        """
        while piece := await self._next():
            yield piece
        self._attempt.seat.succeeded()

    async def finish(self) -> None:
        """All that matters has come. If the end comes at once, the connection can be used again."""
        self._attempt.seat.succeeded()
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with asyncio.timeout(_END_SECONDS):
                while await self._response.content.readany():
                    pass

    async def _next(self) -> bytes:
        """What has come since, or nothing at the end."""
        try:
            return await self._response.content.readany()
        except _LOST as error:
            raise self._attempt.lost(error) from error


def _is_packed(response: aiohttp.ClientResponse) -> bool:
    return response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity")


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """As much of a refusal's body as comes soon, and as is looked at."""
    body = b""
    with contextlib.suppress(aiohttp.ClientError, OSError):
        async with asyncio.timeout(_REFUSAL_SECONDS):
            while len(body) <= _REFUSAL_BYTES_MAX and (piece := await response.content.readany()):
                body += piece
    return body


def _probed_socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket that probes its other end: what is in between forgets connections that are silent."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option in ("TCP_KEEPIDLE", "TCP_KEEPALIVE"):  # Linux and macOS call it differently
        if hasattr(socket, option):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), _PROBE_SECONDS)
            break
    return made


def _proxy_for(url: URL) -> str | None:
    """The environment's proxy, looked up once: aiohttp would do so at every request."""
    if proxy_bypass(url.host or ""):
        return None
    return getproxies().get(url.scheme)
