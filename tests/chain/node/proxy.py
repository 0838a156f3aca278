"""An endpoint that misbehaves: it stands before a real one, and delays, drops, repeats and refuses."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web


class Proxy:
    """``faults`` are chances between 0 and 1; ``logs_max`` is how many blocks ``eth_getLogs`` may span."""

    def __init__(self, target, *, seed=1, drop=0.0, lose_reply=0.0, twice=0.0, delay=0.0, logs_max=None):
        self._target = target
        self._random = random.Random(seed)
        self._chances = {"drop": drop, "lose_reply": lose_reply, "twice": twice, "delay": delay}
        self._logs_max = logs_max
        self.ranges = []

    @asynccontextmanager
    async def serving(self):
        """Its URL, as long as the block lasts."""
        application = web.Application(client_max_size=2**26)
        application.router.add_post("/", self._handle)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with aiohttp.ClientSession() as self._session:
            try:
                yield f"http://127.0.0.1:{runner.addresses[0][1]}"
            finally:
                await runner.cleanup()

    async def _handle(self, request):
        body = await request.read()
        if self._happens("drop"):
            return web.Response(status=503)
        if self._happens("delay"):
            await asyncio.sleep(self._random.uniform(0, 0.3))
        refused = self._refused(json.loads(body))
        if refused is not None:
            return web.json_response(refused)
        if self._happens("twice"):
            await self._passed_on(body)
        reply = await self._passed_on(body)
        if self._happens("lose_reply"):
            return web.Response(status=502)
        return web.Response(body=reply, content_type="application/json")

    async def _passed_on(self, body):
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self._target, data=body, headers=headers) as reply:
            return await reply.read()

    def _refused(self, asked):
        """What an endpoint says to a range of blocks that is too long for it."""
        if asked["method"] != "eth_getLogs" or self._logs_max is None:
            return None
        query = asked["params"][0]
        blocks = int(query["toBlock"], 16) - int(query["fromBlock"], 16) + 1
        self.ranges.append(blocks)
        if blocks <= self._logs_max:
            return None
        told = {"code": -32602, "message": f"block range is limited to {self._logs_max}"}
        return {"jsonrpc": "2.0", "id": asked["id"], "error": told}

    def _happens(self, fault):
        return self._random.random() < self._chances[fault]
