"""One HTTP client per upstream: pooled, kept alive, and honest about what failed.

Whoever asks gets an answer with status 200, or a ``ProviderError``. aiohttp is imported here only.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from prepaid.config import UpstreamSettings
from prepaid.errors import ProviderError, ProviderResponseInvalid, ProviderStreamBroken, ProviderTimeout
from prepaid.models.circuit import Circuit
from prepaid.models.failures import refused, retry_after_seconds

__all__ = ["REPLY_BYTES_MAX", "Reply", "Upstream"]

REPLY_BYTES_MAX: Final = 32 * 1_048_576
_ERROR_BYTES_MAX: Final = 65_536
_HEADER_BYTES_MAX: Final = 65_536
_END_SECONDS: Final = 0.05
_JSON: Final = "application/json"
_OK: Final = 200
_BROKEN: Final = 500


class Upstream:
    """One configured upstream: its name, its settings, its connections, and whether it is worth asking."""

    def __init__(self, name: str, settings: UpstreamSettings) -> None:
        self.name = name
        self.settings = settings
        self.secret = settings.secret()
        self.circuit = Circuit(name, settings.circuit_failures, settings.circuit_seconds)
        self.hiding_models: set[str] = set()
        """Models that were seen to bill output which they do not show."""
        self.odd_usages = 0
        """How often it told a usage that cannot be."""
        self._session: aiohttp.ClientSession | None = None
        self._urls: dict[str, URL] = {}

    @asynccontextmanager
    async def ask(self, path: str, body: bytes) -> AsyncIterator[Reply]:
        """POST ``body``, which is JSON, to ``path`` below the base URL.

        Leaving the block before the reply was read to its end drops the connection.

        Raises:
            UpstreamUnavailable: it failed too often lately.
            ProviderError: it refused, cannot be reached, fell silent or broke off.
        """
        self.circuit.check()
        try:
            async with self._client().post(self._url(path), data=body, allow_redirects=False) as response:
                if response.status != _OK:
                    raise await self._refusal(response)
                yield Reply(self, response)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.circuit.failed()
            raise self._ours(error) from error

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
                connector=aiohttp.TCPConnector(limit=0),
                headers=headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    connect=settings.connect_timeout_seconds, sock_read=settings.timeout_seconds
                ),
                proxy=_proxy_for(URL(settings.base_url)),
                max_field_size=_HEADER_BYTES_MAX,
            )
        return self._session

    def _url(self, path: str) -> URL:
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = URL(self.settings.base_url + path)
        return url

    async def _refusal(self, response: aiohttp.ClientResponse) -> ProviderError:
        """The error for a status other than 200; of its body only the beginning is read."""
        body = b""
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > _ERROR_BYTES_MAX:
                break
        if response.status >= _BROKEN:
            self.circuit.failed()
        else:
            self.circuit.succeeded()
        after = retry_after_seconds(response.headers.get("Retry-After"))
        return refused(self.name, response.status, body, after, self.secret)

    def _ours(self, error: Exception) -> ProviderError:
        if isinstance(error, TimeoutError):
            return ProviderTimeout(
                f"Upstream {self.name!r} did not answer in time ({type(error).__name__}); it may take"
                f" {self.settings.timeout_seconds} seconds between two pieces, and"
                f" {self.settings.connect_timeout_seconds} to connect."
            )
        if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError) or (
            isinstance(error, aiohttp.ClientOSError) and not isinstance(error, aiohttp.ClientConnectorError)
        ):
            return ProviderStreamBroken(f"Upstream {self.name!r} broke the connection: {error}.")
        return ProviderError(f"Upstream {self.name!r} cannot be reached: {error}.")


class Reply:
    """An upstream's answer with status 200. Its body is read once, whole or in pieces."""

    __slots__ = ("_response", "_upstream", "content_type")

    def __init__(self, upstream: Upstream, response: aiohttp.ClientResponse) -> None:
        self._upstream = upstream
        self._response = response
        told = response.headers.get("Content-Type", _JSON)
        self.content_type = told if told.isascii() and told.isprintable() else _JSON

    async def content(self) -> bytes:
        """The whole body.

        Raises:
            ProviderResponseInvalid: it is longer than ``REPLY_BYTES_MAX``.
        """
        declared = self._response.content_length
        if declared is not None and declared <= REPLY_BYTES_MAX:
            body = await self._response.read()
        else:
            body = await self._content_of_unknown_length()
        self._upstream.circuit.succeeded()
        return body

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The body as it comes."""
        async for piece in self._response.content.iter_any():
            yield piece
        self._upstream.circuit.succeeded()

    async def finish(self) -> None:
        """All that matters has come. If the end comes at once, the connection can be used again."""
        self._upstream.circuit.succeeded()
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                while await self._response.content.readany():
                    pass

    async def _content_of_unknown_length(self) -> bytes:
        body = bytearray()
        async for piece in self._response.content.iter_any():
            body += piece
            if len(body) > REPLY_BYTES_MAX:
                raise ProviderResponseInvalid(
                    f"Upstream {self._upstream.name!r} sent more than {REPLY_BYTES_MAX} bytes."
                )
        return bytes(body)


def _proxy_for(url: URL) -> str | None:
    """The environment's proxy, looked up once: aiohttp would do so at every request."""
    if proxy_bypass(url.host or ""):
        return None
    return getproxies().get(url.scheme)
