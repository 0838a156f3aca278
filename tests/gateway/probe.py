"""``prepaid serve`` with a few paths more, which do what no real one does at will.

POST /test/echo     says how long the body was
GET  /test/flood    writes until the client has gone, and logs that it has
GET  /test/defect   fails with an error that quotes a secret
GET  /api/v1/test/defect    the same in the REST API
GET  /test/broken   fails so in the midst of its reply
POST /test/taken    takes a place of its key's, until its body is there
GET  /test/slow     takes as many seconds as the query says, then replies; logs if it is cut off
"""

import asyncio
import logging

from prepaid.cli import main
from prepaid.gateway import openai
from prepaid.gateway.rest import sessions
from prepaid.records import Usage

SECRET = "my-most-secret-prompt"
logger = logging.getLogger("prepaid.test")


async def echo(request, parts):
    body = await request.body(parts.settings.gateway.body_bytes_max)
    await request.reply_json(200, {"size": len(body)})


async def flood(request, _):
    await request.start(200, [(b"content-type", b"text/plain")])
    gone = asyncio.ensure_future(request.gone())
    while not gone.done():
        await request.chunk(b"x" * 65_536)
        await asyncio.sleep(0)
    logger.info("the client has gone", extra={"request_id": request.id})


async def defect(_, __):
    raise RuntimeError(SECRET)


async def broken(request, _):
    await request.start(200, [(b"content-type", b"text/plain")])
    await request.chunk(b"half")
    raise RuntimeError(SECRET)


async def taken(request, parts):
    with parts.slots.taken(request.header(b"x-key") or b""):
        await echo(request, parts)


async def slow(request, parts):
    request.session_id, request.model, request.cost = "ses_1", "offline", 7
    request.provider, request.usage = "offline", Usage(input_tokens=5, output_tokens=3)
    with parts.slots.taken(request.header(b"x-key") or b""):
        try:
            await asyncio.sleep(float(request.query))
        except asyncio.CancelledError:
            logger.info("cut off", extra={"request_id": request.id})
            raise
    await request.reply_json(200, {"status": "slept"})


@sessions.router.get("/test/defect")
async def rest_defect():
    raise RuntimeError(SECRET)


openai.ROUTES = {
    **openai.ROUTES,
    "/test/echo": {"POST": echo},
    "/test/flood": {"GET": flood},
    "/test/defect": {"GET": defect},
    "/test/broken": {"GET": broken},
    "/test/taken": {"POST": taken},
    "/test/slow": {"GET": slow},
}

if __name__ == "__main__":
    main()
