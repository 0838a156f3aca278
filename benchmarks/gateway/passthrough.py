"""The least that a proxy in Python does: Starlette in, aiohttp out, no keys, no billing, nothing looked at.

    python -m benchmarks.gateway.passthrough PORT UPSTREAM

Uvicorn runs it as it runs the gateway: uvloop, httptools, no access log.
"""

from __future__ import annotations

import contextlib
import sys

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

UPSTREAM = sys.argv[2] if len(sys.argv) > 2 else ""
CHAT = "/v1/chat/completions"


@contextlib.asynccontextmanager
async def lifespan(app):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        app.state.session = session
        yield


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


app = Starlette(lifespan=lifespan, routes=[Route(CHAT, chat, methods=["POST"]), Route("/readyz", ready)])

if __name__ == "__main__":
    uvicorn.run(
        app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
