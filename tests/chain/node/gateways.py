"""What is outside the node: Helia, which fetches; gateways that lie; a Kubo that takes what is pushed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from pages import ROOT
from prepaid.chain.content import ContentId

sys.path.insert(0, str(ROOT / "scripts"))
from node import NODE, environment, install

FOLDER = Path(__file__).parent.parent / "ipfs"


async def helia(gateway, *, fetch=(), archives=(), add=()):
    """What Helia says: of files that it fetches, of CAR files, of ids that it finds itself."""
    await asyncio.to_thread(install, FOLDER)
    process = await asyncio.create_subprocess_exec(
        *(NODE, "helia.mjs"),
        cwd=FOLDER,
        env=environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    asked = {
        "gateway": gateway,
        "fetch": list(map(str, fetch)),
        "archives": list(map(str, archives)),
        "add": add,
    }
    output, errors = await process.communicate(json.dumps(asked).encode())
    assert process.returncode == 0, errors.decode()
    return json.loads(output)


def told(content):
    """What Helia says of a file that it has fetched and verified."""
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@asynccontextmanager
async def served(*routes):
    """These routes over HTTP; the URL."""
    application = web.Application(client_max_size=64 * 2**20)
    application.router.add_routes(routes)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def shelf(blocks):
    """A gateway that serves what it is told to for each digest, and counts in ``blocks["asked"]``."""

    async def serve(request):
        blocks["asked"] = blocks.get("asked", 0) + 1
        found = blocks.get(ContentId.read(request.match_info["cid"]).digest)
        return web.Response(status=404) if found is None else web.Response(body=found)

    async with served(web.get("/ipfs/{cid}", serve)) as url:
        yield url


class Kubo:
    """What an IPFS node says to ``/api/v0/dag/import``, and what it was given; ``replies`` come first."""

    def __init__(self):
        self.archives = []
        self.queries = []
        self.replies = []
        self.credentials = set()

    async def take(self, request):
        part = await (await request.multipart()).next()
        self.queries.append(dict(request.query))
        self.credentials.add(request.headers.get("Authorization"))
        self.archives.append(bytes(await part.read()))
        if self.replies:
            status, text = self.replies.pop(0)
            return web.Response(status=status, text=text)
        return web.Response(text=self.pinned(), content_type="application/json")

    def pinned(self, why=""):
        """The reply to the last archive."""
        root = root_of(self.archives[-1])
        return json.dumps({"Root": {"Cid": {"/": root}, "PinErrorMsg": why}}) + "\n"

    @property
    def roots(self):
        """What was pushed, in order."""
        return [root_of(archive) for archive in self.archives]

    def running(self):
        return served(web.post("/api/v0/dag/import", self.take))


def root_of(archive):
    """The root that a CAR's header names."""
    header = archive[1 : 1 + archive[0]]
    return str(ContentId.read(header.partition(b"\xd8\x2a\x58\x25\x00")[2][:36]))
