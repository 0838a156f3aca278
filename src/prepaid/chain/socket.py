"""JSON-RPC over one WebSocket: calls answered in any order, and subscriptions.

web3's own provider waits for an answer by asking again and again whether it is there, with the processor
busy all the while; here a waiter sleeps until its answer comes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any, Final, cast

import aiohttp
from web3.types import RPCEndpoint, RPCResponse

from prepaid.chain.rpc import Patience, Rpc, RpcSilent, place_of, refuse_overload
from prepaid.errors import ChainUnreachable

__all__ = ["SocketRpc"]

_MESSAGE_BYTES_MAX: Final = 64 * 1_048_576
_UNREAD_MAX: Final = 100_000
"""Notices a subscriber may leave unread. One more ends the subscription: none is missed in silence."""
_SUBSCRIBE: Final = RPCEndpoint("eth_subscribe")
_UNSUBSCRIBE: Final = RPCEndpoint("eth_unsubscribe")


class SocketRpc(Rpc):
    """A provider on one WebSocket, opened when first needed and again whenever it broke."""

    def __init__(self, url: str, patience: Patience) -> None:
        super().__init__(url, patience)
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reading: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._waiting: dict[int, asyncio.Future[RPCResponse]] = {}
        self._subscribing: set[int] = set()
        self._subscribers: dict[str, asyncio.Queue[Any]] = {}

    async def attempt(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """One try; ``RpcSilent`` if the socket broke before the answer."""
        request = self.form_request(method, params)
        number = cast(int, request["id"])  # as form_request counts them
        try:
            socket = await self._open()
            answered = self._waiting[number] = asyncio.get_running_loop().create_future()
            if method == _SUBSCRIBE:
                self._subscribing.add(number)
            await socket.send_bytes(self.encode_rpc_dict(request))
            return refuse_overload(await answered)
        except (aiohttp.ClientError, OSError) as error:
            raise RpcSilent(f"{type(error).__name__}: {error}") from error
        finally:
            self._waiting.pop(number, None)
            self._subscribing.discard(number)

    async def subscribe(self, *params: Any) -> AsyncGenerator[Any]:
        """Notices of ``eth_subscribe`` with ``params``, as the node sends them, until the caller leaves.

        Raises:
            ChainUnreachable: the socket broke, or the caller was too slow. What happened meanwhile was
                missed: catch up by polling, and subscribe again.
        """
        answer = await self.make_request(_SUBSCRIBE, list(params))
        if "result" not in answer:
            raise self._unreachable(f"eth_subscribe was refused: {answer.get('error')}")
        name = str(answer["result"])
        notices = self._subscribers.get(name)
        if notices is None:  # it broke between the answer and this line
            raise self._unreachable("the WebSocket broke")
        try:
            while True:
                notice = await notices.get()
                if isinstance(notice, ChainUnreachable):
                    raise notice
                yield notice
        finally:
            if self._subscribers.pop(name, None) is not None:
                with contextlib.suppress(ChainUnreachable):
                    await self.make_request(_UNSUBSCRIBE, [name])

    async def disconnect(self) -> None:
        """Close the socket; whoever still waits is told."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        self._session = self._socket = self._reading = None

    async def _open(self) -> aiohttp.ClientWebSocketResponse:
        async with self._opening:
            if self._socket is None or self._socket.closed:
                await self.disconnect()
                self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
                self._socket = await self._session.ws_connect(
                    self.url, max_msg_size=_MESSAGE_BYTES_MAX, heartbeat=self.patience.timeout_seconds
                )
                self._reading = asyncio.create_task(self._read(self._socket))
            return self._socket

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Hand out what arrives, until the socket breaks."""
        try:
            async for message in socket:
                if message.type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
                    self._hand_out(message.data)
        finally:
            await socket.close()
            self._broke()

    def _hand_out(self, content: str | bytes) -> None:
        try:
            message: Any = self.decode_rpc_response(content.encode() if isinstance(content, str) else content)
        except ValueError:
            return  # whoever waits for this answer asks again
        if message.get("method") == "eth_subscription":
            self._notify(str(message["params"]["subscription"]), message["params"]["result"])
            return
        number = message.get("id")
        if number in self._subscribing and "result" in message:
            self._subscribers[str(message["result"])] = asyncio.Queue()
        waiting = self._waiting.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)

    def _notify(self, name: str, notice: Any) -> None:
        notices = self._subscribers.get(name)
        if notices is None:
            return
        if notices.qsize() < _UNREAD_MAX:
            notices.put_nowait(notice)
        else:
            del self._subscribers[name]
            notices.put_nowait(self._unreachable(f"{_UNREAD_MAX} notices were left unread"))

    def _broke(self) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(RpcSilent("the WebSocket broke"))
        for notices in self._subscribers.values():
            notices.put_nowait(self._unreachable("the WebSocket broke"))
        self._subscribers.clear()

    def _unreachable(self, why: str) -> ChainUnreachable:
        return ChainUnreachable(place_of(self.url), why, 1)
