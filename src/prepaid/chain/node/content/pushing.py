"""What is kept, pushed to an IPFS node as well: any that speaks Kubo's RPC, over ``/api/v0/dag/import``.

A push that fails is made again with growing pauses, after a restart too. Nobody waits for it: an answer is
delivered once its content is in our own store.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import Any, Final

import aiohttp
from pydantic import SecretStr

from prepaid.chain.content.fetching import at_most
from prepaid.chain.content.ids import ContentId
from prepaid.chain.content.tree import Block
from prepaid.chain.node.content.reading import archived
from prepaid.chain.node.content.store import ContentStore
from prepaid.chain.node.telling import told_of
from prepaid.chain.rpc import place_of
from prepaid.errors import ContentUnavailable

__all__ = ["Pushing"]

_IMPORT: Final = "/api/v0/dag/import"
_REPLY_BYTES_MAX: Final = 65_536
_REQUEST_SECONDS_MAX: Final = 120.0
_LOOK_SECONDS: Final = 1.0
_PAUSE_SECONDS_MAX: Final = 60.0
_DOUBLINGS_MAX: Final = 6

_logger = logging.getLogger("prepaid.node")


class Pushing:
    """Pushes the store's contents, oldest first. The URL may have a user and a password in it."""

    def __init__(self, store: ContentStore, rpc_url: SecretStr) -> None:
        self._store = store
        self._url = rpc_url
        self._place = place_of(rpc_url.get_secret_value())

    async def run(self) -> None:
        """Push what comes, until cancelled."""
        timeout = aiohttp.ClientTimeout(total=_REQUEST_SECONDS_MAX)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as client:
            failures = 0
            while True:
                failures = failures + 1 if await self._push_all(client) else 0
                pause = _LOOK_SECONDS * 2 ** min(failures, _DOUBLINGS_MAX)
                await asyncio.sleep(min(pause, _PAUSE_SECONDS_MAX))

    async def _push_all(self, client: aiohttp.ClientSession) -> int:
        """Push everything that was not pushed yet; how many pushes failed."""
        failed = 0
        for content_id in await self._store.unpushed():
            told = {"content_id": content_id, "place": self._place}
            try:
                await self._push(client, ContentId.read(content_id))
                await self._store.mark_pushed(content_id)
                _logger.info("content pushed", extra=told)
            except Exception as error:  # noqa: BLE001 -- answers must not end because copies of them fail
                failed += 1
                _logger.warning("content not pushed", extra=told | told_of(error))
        return failed

    async def _push(self, client: aiohttp.ClientSession, content_id: ContentId) -> None:
        block = await self._store.block(content_id)
        if not isinstance(block, bytes):
            return  # it was dropped meanwhile
        form = aiohttp.FormData()
        archive = io.BytesIO(await archived(self._store, Block(content_id, block)))
        form.add_field("file", archive, filename="answer.car")
        url = self._url.get_secret_value().rstrip("/") + _IMPORT
        try:
            async with client.post(
                url, data=form, params={"pin-roots": "true"}, allow_redirects=False
            ) as reply:
                content = await at_most(reply.content, "the reply", _REPLY_BYTES_MAX)
            self._require_pinned(reply.status, content, content_id)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._refused(content_id, type(error).__name__) from None

    def _require_pinned(self, status: int, content: bytes, content_id: ContentId) -> None:
        """See that the node says that it has the root, and keeps it."""
        if status != 200:  # noqa: PLR2004 -- OK
            raise self._refused(content_id, f"HTTP status {status}")
        for line in content.splitlines():
            pinned, why = _told(line)
            if pinned == str(content_id):
                if why:
                    raise self._refused(content_id, f"it was not pinned: {why[:200]}")
                return
        raise self._refused(content_id, "the reply does not name it")

    def _refused(self, content_id: ContentId, why: str) -> ContentUnavailable:
        return ContentUnavailable(str(content_id), self._place, why)


def _told(line: bytes) -> tuple[str | None, str]:
    """The root that a line of the reply tells of, and why it was not pinned."""
    try:
        told: Any = json.loads(line)
        return str(told["Root"]["Cid"]["/"]), str(told["Root"].get("PinErrorMsg") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, ""
