"""JSON-RPC over HTTP, patiently: bounded waits, retries with backoff, one kind of failure.

``Rpc`` is what web3 takes for a provider. A call that was not answered is made again: every method means
the same twice, a raw transaction too, which is known by its hash. What a node *answers*, an error included,
is passed on untouched. Over WebSocket: ``socket``.
"""

from __future__ import annotations

import asyncio
import random
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit

import aiohttp
from web3.providers.async_base import AsyncJSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from prepaid.errors import ChainUnreachable

__all__ = ["HttpRpc", "Patience", "Rpc", "RpcSilent", "place_of"]

T = TypeVar("T")

_OVERLOADED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_OVERLOADED_CODES: Final = frozenset({-32005, 429})
"""JSON-RPC's "limit exceeded", and what some providers put into the body instead of the status."""
_WAIT_SECONDS_MAX: Final = 5.0


class RpcSilent(Exception):
    """Private to the providers: no answer this time; the message says why."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one call may take, and how often it is made again: at most about a minute in all."""

    timeout_seconds: float = 10.0
    retries_max: int = 5
    backoff_seconds: float = 0.1


class Rpc(AsyncJSONBaseProvider):
    """A provider that retries what was not answered; ``attempt`` is one try.

    Raises:
        ChainUnreachable: no answer after all retries.
    """

    def __init__(self, url: str, patience: Patience) -> None:
        super().__init__()
        self.url = url
        self.patience = patience

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """The node's answer to one call."""
        return await self._patiently(lambda: self.attempt(method, params))

    @abstractmethod
    async def attempt(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """One try; ``RpcSilent`` if it was not answered."""

    @abstractmethod
    async def disconnect(self) -> None:
        """Close what is open."""

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        patience = self.patience
        for tried in range(patience.retries_max + 1):
            try:
                async with asyncio.timeout(patience.timeout_seconds):
                    return await attempt()
            except TimeoutError:
                why = f"no answer within {patience.timeout_seconds:g} seconds"
            except RpcSilent as silent:
                why = str(silent)
            if tried < patience.retries_max:
                await asyncio.sleep(_pause(patience, tried))
        raise ChainUnreachable(place_of(self.url), why, patience.retries_max + 1)


class HttpRpc(Rpc):
    """JSON-RPC over HTTP on kept-alive connections; web3's own provider opens one for each call."""

    _session: aiohttp.ClientSession | None = None
    _is_closed = False

    async def attempt(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """One try; ``RpcSilent`` if it was not answered."""
        try:
            async with self._client().post(self.url, data=self.encode_rpc_request(method, params)) as reply:
                if reply.status in _OVERLOADED:
                    raise RpcSilent(f"HTTP status {reply.status}")
                answer = self._read(await reply.read(), reply.status)
        except (aiohttp.ClientError, OSError) as error:
            raise RpcSilent(f"{type(error).__name__}: {error}") from error
        return refuse_overload(answer)

    async def disconnect(self) -> None:
        """Close the connections, for good."""
        self._is_closed = True
        if self._session is not None:
            await self._session.close()

    def _read(self, content: bytes, status: int) -> RPCResponse:
        try:
            answer = self.decode_rpc_response(content)
        except ValueError:
            raise RpcSilent(f"HTTP status {status} with something that is not JSON") from None
        if not isinstance(answer, Mapping):
            raise RpcSilent(f"HTTP status {status} with something that is no JSON-RPC")
        return answer

    def _client(self) -> aiohttp.ClientSession:
        """Made where it is first used, because it belongs to that event loop."""
        if self._is_closed:
            raise RpcSilent("the connection was closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=64),
                headers={"Content-Type": "application/json"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def refuse_overload(answer: RPCResponse) -> RPCResponse:
    """The answer, unless it says "later".

    Raises:
        RpcSilent: it does.
    """
    error = answer.get("error")
    if isinstance(error, Mapping) and error.get("code") in _OVERLOADED_CODES:
        raise RpcSilent(str(cast(Mapping[str, Any], error).get("message", "limit exceeded"))[:200])
    return answer


def place_of(url: str) -> str:
    """Where ``url`` leads, without the path and the user, in which providers' keys stand."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"


def _pause(patience: Patience, tried: int) -> float:
    """Exponential, and spread, so that many do not come back at once."""
    seconds: float = min(patience.backoff_seconds * 2**tried, _WAIT_SECONDS_MAX)
    return seconds * random.uniform(0.5, 1.5)  # noqa: S311 -- spreads retries, guards nothing
