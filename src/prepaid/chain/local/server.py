"""The chain in this process, served as JSON-RPC over HTTP and WebSocket on 127.0.0.1."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from aiohttp import WSMsgType, web

from prepaid.chain.local.evm import Evm
from prepaid.chain.local.methods import Methods
from prepaid.chain.local.refused import Refused
from prepaid.errors import ChainError

__all__ = ["served_evm"]

_CLIENT: Final = "prepaid/py-evm"
_BODY_BYTES_MAX: Final = 16 * 1_048_576
_BAD_JSON: Final = -32_700
_BAD_REQUEST: Final = -32_600
_INTERNAL: Final = -32_603


@asynccontextmanager
async def served_evm(port: int, chain_id: int) -> AsyncGenerator[int]:
    """A new chain, as long as the block lasts; the port it listens on.

    Raises:
        ChainError: the port is taken.
    """
    with ThreadPoolExecutor(1, "py-evm") as thread:  # one thread: the chain is not for several
        loop = asyncio.get_running_loop()
        methods = await loop.run_in_executor(thread, lambda: Methods(Evm(chain_id), _CLIENT))
        server = _Server(methods, thread)
        application = web.Application(client_max_size=_BODY_BYTES_MAX)
        application.router.add_post("/", server.post)
        application.router.add_get("/", server.socket)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", port)
            try:
                await site.start()
            except OSError as error:
                raise ChainError(
                    f"The local chain cannot listen on port {port}: {error.strerror}.",
                    remedy="Free the port, or name another.",
                ) from None
            yield int(runner.addresses[0][1])
        finally:
            await server.aclose()
            await runner.cleanup()


class _Server:
    """Answers calls, one at a time, and tells subscribers of new blocks."""

    def __init__(self, methods: Methods, thread: ThreadPoolExecutor) -> None:
        self._methods = methods
        self._thread = thread
        self._subscribers: dict[str, web.WebSocketResponse] = {}
        self._told = 1
        self._sockets: set[web.WebSocketResponse] = set()

    async def post(self, request: web.Request) -> web.Response:
        """Calls over HTTP."""
        return web.Response(body=await self._answered(await request.read()), content_type="application/json")

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """Calls and subscriptions over WebSocket."""
        socket = web.WebSocketResponse(max_msg_size=_BODY_BYTES_MAX)
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            async for message in socket:
                if message.type in {WSMsgType.TEXT, WSMsgType.BINARY}:
                    data = message.data
                    content = data.encode() if isinstance(data, str) else data
                    await socket.send_bytes(await self._answered(content, socket))
        finally:
            self._sockets.discard(socket)
            gone = [key for key, each in self._subscribers.items() if each is socket]
            for key in gone:
                del self._subscribers[key]
        return socket

    async def aclose(self) -> None:
        """End what is open."""
        for socket in tuple(self._sockets):
            await socket.close()

    async def _answered(self, content: bytes, socket: web.WebSocketResponse | None = None) -> bytes:
        try:
            asked = json.loads(content)
        except (ValueError, RecursionError):
            return json.dumps(_error(None, Refused("parse error", _BAD_JSON))).encode()
        if isinstance(asked, list):
            answers: Any = [await self._answer(each, socket) for each in asked]
        else:
            answers = await self._answer(asked, socket)
        await self._tell()
        return json.dumps(answers).encode()

    async def _answer(self, asked: Any, socket: web.WebSocketResponse | None) -> dict[str, Any]:
        if not isinstance(asked, dict) or not isinstance(asked.get("method"), str):
            return _error(None, Refused("a call is an object with a method", _BAD_REQUEST))
        number, method, params = asked.get("id"), asked["method"], asked.get("params", [])
        try:
            if socket is not None and method in {"eth_subscribe", "eth_unsubscribe"}:
                result = self._subscribe(method, params, socket)
            else:
                work = partial(self._methods.answer, method, params)
                result = await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except Refused as refused:
            return _error(number, refused)
        except Exception as error:  # noqa: BLE001 -- whatever a call brings about, it gets an answer
            return _error(number, Refused(f"internal error: {type(error).__name__}: {error}", _INTERNAL))
        return {"jsonrpc": "2.0", "id": number, "result": result}

    def _subscribe(self, method: str, params: Any, socket: web.WebSocketResponse) -> Any:
        if method == "eth_unsubscribe":
            return self._subscribers.pop(str(params[0]) if params else "", None) is not None
        if params != ["newHeads"]:
            raise Refused("only newHeads can be subscribed to")
        key = f"0x{secrets.token_hex(16)}"
        self._subscribers[key] = socket
        return key

    async def _tell(self) -> None:
        """Tell subscribers of the blocks that came since."""
        heads = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._methods.heads, self._told
        )
        self._told += len(heads)
        for head in heads:
            for key, socket in tuple(self._subscribers.items()):
                told = {"subscription": key, "result": head}
                notice = {"jsonrpc": "2.0", "method": "eth_subscription", "params": told}
                if not socket.closed:
                    await socket.send_json(notice)


def _error(number: Any, refused: Refused) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": refused.form()}
