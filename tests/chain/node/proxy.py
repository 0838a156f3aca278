"""An endpoint that misbehaves: it stands before a real one, and delays, drops, repeats, refuses and reorders."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import asynccontextmanager, suppress

import aiohttp
from aiohttp import web

HELD_SECONDS_MAX = 0.2
"""Whatever is held for others to overtake it goes on after this, if none comes."""


class Lane:
    """Messages one after another; ``overtaken`` counts those that a later one was ahead of in the end."""

    def __init__(self):
        self.overtaken = 0
        self._arrived = 0
        self._held = {}

    @asynccontextmanager
    async def passing(self, is_held):
        """One message; while ``is_held`` it waits here until a later one has left."""
        number = self._arrived = self._arrived + 1
        if is_held:
            later = self._held[number] = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(HELD_SECONDS_MAX):
                    await later.wait()
                    self.overtaken += 1
            self._held.pop(number, None)
        yield
        for earlier in [each for each in self._held if each < number]:
            self._held.pop(earlier).set()


class Proxy:
    """Faults are chances between 0 and 1; ``logs_max`` is how many blocks ``eth_getLogs`` may span.

    Over a WebSocket it reorders, refuses the methods that ``refuses`` names, and breaks when it is told to ``cut``.
    """

    def __init__(self, target, *, seed=1, logs_max=None, refuses=(), **chances):
        self._target = target
        self._refuses = refuses
        self._random = random.Random(seed)
        self._chances = dict.fromkeys(("drop", "lose_reply", "twice", "delay", "reorder"), 0.0) | chances
        self._logs_max = logs_max
        self.ranges = []
        self.requests, self.replies, self.notices = Lane(), Lane(), Lane()
        self.joined = []

    async def cut(self):
        """Close every WebSocket."""
        await asyncio.gather(*(each.close() for each in self.joined))

    @asynccontextmanager
    async def serving(self):
        """Its URL, as long as the block lasts."""
        application = web.Application(client_max_size=2**26)
        application.router.add_post("/", self._handle)
        application.router.add_get("/", self._join)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with aiohttp.ClientSession() as self._session:
            try:
                yield f"{self._target.partition('://')[0]}://127.0.0.1:{runner.addresses[0][1]}"
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
        async with self.requests.passing(self._happens("reorder")):
            reply = await self._passed_on(body)
        if self._happens("lose_reply"):
            return web.Response(status=502)
        async with self.replies.passing(self._happens("reorder")):
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

    async def _join(self, request):
        """Two WebSockets, as one that does not keep the order."""
        near = web.WebSocketResponse()
        await near.prepare(request)
        self.joined.append(near)
        async with self._session.ws_connect(self._target, max_msg_size=2**26) as far:
            ways = [asyncio.create_task(self._carry_all(*way)) for way in ((near, far), (far, near))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.gather(near.close(), far.close())
            await asyncio.gather(*ways)
        return near

    async def _carry_all(self, source, target):
        carried = []
        async for message in source:
            content = message.data if isinstance(message.data, str) else message.data.decode()
            told = json.loads(content)
            if told.get("method") in self._refuses:
                error = {"code": -32601, "message": "there is no such method"}
                await source.send_json({"jsonrpc": "2.0", "id": told["id"], "error": error})
            else:
                carried.append(asyncio.create_task(self._carry(content, told, target)))
        await asyncio.gather(*carried, return_exceptions=True)

    async def _carry(self, content, told, target):
        is_call = "method" in told
        lane = (self.notices if "id" not in told else self.requests) if is_call else self.replies
        async with lane.passing(self._happens("reorder")):
            await target.send_str(content)

    def _happens(self, fault):
        return self._random.random() < self._chances[fault]
