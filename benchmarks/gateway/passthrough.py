"""The least that a proxy in Python does: Starlette in, aiohttp out, no keys, no billing, nothing looked at.

    python -m benchmarks.gateway.passthrough PORT UPSTREAM [DATABASE]

With a database, a hold is committed to it before each request and its capture before the end of the reply, by
hand, the same amount for each: the least that a request can take when it is paid before it is made. Uvicorn runs
it as it runs the gateway: uvloop, httptools, no access log.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from benchmarks.floor import Floor

UPSTREAM = sys.argv[2] if len(sys.argv) > 2 else ""
DATABASE = sys.argv[3] if len(sys.argv) > 3 else ""
CHAT = "/v1/chat/completions"
SESSION, HELD, COST = "ses_0123456789abcdefghijk", 40, 4


class Books:
    """A session's hold and capture, each a transaction of its own in the one thread that writes."""

    def __init__(self, path):
        self.writer = ThreadPoolExecutor(1)
        self.floor = self.writer.submit(Floor, path, [SESSION]).result()
        self.numbers = itertools.count()

    async def hold(self):
        key = f"{next(self.numbers):020d}"
        await self._written(self.floor.hold, SESSION, key, HELD)
        return key

    async def capture(self, key):
        await self._written(self.floor.capture, SESSION, key, HELD, COST)

    def close(self):
        self.writer.submit(self.floor.close).result()
        self.writer.shutdown()

    async def _written(self, work, *arguments):
        await asyncio.get_running_loop().run_in_executor(self.writer, work, *arguments)


@contextlib.asynccontextmanager
async def lifespan(app):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        app.state.session = session
        with contextlib.closing(Books(DATABASE)) if DATABASE else contextlib.nullcontext() as app.state.books:
            yield


async def paid_chat(request):
    books = request.app.state.books
    key = await books.hold()
    reply = await chat(request)
    if not isinstance(reply, StreamingResponse):
        await books.capture(key)
        return reply
    pieces = reply.body_iterator

    async def paid():
        async for piece in pieces:
            yield piece
        await books.capture(key)

    reply.body_iterator = paid()
    return reply


async def chat(request):
    body = await request.body()
    headers = {"content-type": "application/json"}
    reply = await request.app.state.session.post(UPSTREAM + CHAT, data=body, headers=headers)
    kind = reply.headers["content-type"]
    if not kind.startswith("text/event-stream"):
        return Response(await reply.read(), reply.status, media_type=kind)
    return StreamingResponse(reply.content.iter_any(), reply.status, media_type=kind)


async def ready(_):
    return Response("ready")


routes = [Route(CHAT, paid_chat if DATABASE else chat, methods=["POST"]), Route("/readyz", ready)]
app = Starlette(lifespan=lifespan, routes=routes)

if __name__ == "__main__":
    uvicorn.run(
        app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
