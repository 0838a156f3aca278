"""An RPC endpoint that misbehaves on demand, in front of one that does not: real HTTP, real faults."""

from __future__ import annotations

import asyncio
import json

import aiohttp
from aiohttp import web


class Proxy:
    """``faults`` are used up one by one, by the calls of the method they are for."""

    def __init__(self, url):
        self._url = url
        self._faults = {}
        self.seen = []

    def fail(self, method, *faults):
        """A status, ``"drop"`` (before it is passed on), ``"swallow"`` (after), ``"hang"``, or an answer."""
        self._faults.setdefault(method, []).extend(faults)

    async def __aenter__(self):
        self._session = aiohttp.ClientSession()
        application = web.Application()
        application.router.add_post("/", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request):
        call = await request.json()
        self.seen.append(call["method"])
        faults = self._faults.get(call["method"], [])
        fault = faults.pop(0) if faults else None
        if isinstance(fault, int):
            return web.Response(status=fault, text="later")
        if isinstance(fault, dict):
            return web.json_response({"jsonrpc": "2.0", "id": call["id"], **fault})
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "drop":
            request.transport.abort()
            return web.Response()
        async with self._session.post(self._url, json=call) as reply:
            answer = json.loads(await reply.read())
        if fault == "swallow":
            request.transport.abort()
        return web.json_response(answer)
