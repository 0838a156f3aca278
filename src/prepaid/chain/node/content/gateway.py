"""The store over HTTP, as a trustless gateway: blocks and CAR files, which whoever fetches them verifies.

After https://specs.ipfs.tech/http-gateways/trustless-gateway/. Only what the store has is served; nothing is
fetched for anybody, and nothing is rendered: a browser is never given HTML that a model wrote.
"""

from __future__ import annotations

import asyncio
from typing import Final, Literal

from aiohttp import web

from prepaid.chain.content.fetching import RAW
from prepaid.chain.content.ids import ContentId
from prepaid.chain.content.tree import Block
from prepaid.chain.node.content.reading import archive
from prepaid.chain.node.content.store import Absence, ContentStore
from prepaid.errors import InvalidRequestError

__all__ = ["ContentGateway"]

Form = Literal["raw", "car"]

_CAR: Final = "application/vnd.ipld.car"
_CAR_TOLD: Final = f"{_CAR}; version=1; order=dfs; dups=n"
_FOR_EVER: Final = "public, max-age=29030400, immutable"
_SCOPES: Final = ("block", "entity", "all")
_AT_ONCE_MAX: Final = 64
_SECONDS_MAX: Final = 300.0
_BUSY_SECONDS: Final = "1"


class ContentGateway:
    """Serves ``/ipfs/CID``: at most 64 requests at a time, each for at most five minutes."""

    def __init__(self, store: ContentStore) -> None:
        self._store = store
        self._running = 0

    def routes(self) -> list[web.RouteDef]:
        """For the node's server; HEAD is served as GET is."""
        return [
            web.get("/ipfs/{content_id}", self._serve),
            web.get("/ipfs/{content_id}/{path:.*}", self._serve),
        ]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self._running >= _AT_ONCE_MAX:
            raise web.HTTPServiceUnavailable(headers={"Retry-After": _BUSY_SECONDS})
        self._running += 1
        try:
            async with asyncio.timeout(_SECONDS_MAX):
                return await self._answer(request)
        finally:
            self._running -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            content_id = ContentId.read(request.match_info["content_id"])
        except InvalidRequestError as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from None
        form = _wanted(request)
        if form is None:
            raise web.HTTPNotAcceptable(
                text=f"Only blocks and CAR files (version 1) are served: Accept: {RAW} or {_CAR}.\n"
            )
        scope = request.query.get("dag-scope", "all")
        if scope not in _SCOPES:
            raise web.HTTPBadRequest(text=f"dag-scope is one of {', '.join(_SCOPES)}.\n")
        if request.match_info.get("path"):
            raise web.HTTPNotFound(text="Answers are files: there is nothing below them.\n")
        headers = _headers(request, content_id, form, scope)
        if headers["Etag"] in _known(request):
            return web.Response(status=web.HTTPNotModified.status_code, headers=headers)
        block = Block(content_id, await self._block(request, content_id))
        if form == "raw":
            return web.Response(body=block.content, headers=headers)
        return await self._archive(request, headers, block, is_whole=scope != "block")

    async def _block(self, request: web.Request, content_id: ContentId) -> bytes:
        if content_id.is_inline:
            return content_id.digest
        found = await self._store.block(content_id)
        if isinstance(found, bytes):
            return found
        if found is Absence.DROPPED:
            raise web.HTTPGone(text=f"{content_id} is no longer kept here.\n")
        if "only-if-cached" in request.headers.get("Cache-Control", ""):
            raise web.HTTPPreconditionFailed(text=f"{content_id} is not here.\n")
        raise web.HTTPNotFound(text=f"{content_id} is not here.\n")

    async def _archive(
        self, request: web.Request, headers: dict[str, str], root: Block, *, is_whole: bool
    ) -> web.StreamResponse:
        if request.method == "HEAD":
            return web.Response(headers=headers)
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        async for piece in archive(self._store, root, is_whole=is_whole):
            await response.write(piece)
        await response.write_eof()
        return response


def _wanted(request: web.Request) -> Form | None:
    """The form that is asked for, in the query first, then by ``Accept``; ``None`` for others."""
    asked = request.query.get("format")
    if asked is not None:
        is_first = request.query.get("car-version", "1") == "1"
        return "raw" if asked == "raw" else "car" if asked == "car" and is_first else None
    best: tuple[float, Form] | None = None
    for each in request.headers.get("Accept", "").lower().split(","):
        media, *others = (part.strip() for part in each.split(";"))
        parameters = dict(other.partition("=")[::2] for other in others)
        form = _form(media, parameters.get("version", "1"))
        weight = _weight(parameters.get("q", "1"))
        if form is not None and weight > (best[0] if best else 0):
            best = (weight, form)
    return best[1] if best else None


def _form(media: str, version: str) -> Form | None:
    if media == RAW:
        return "raw"
    return "car" if media == _CAR and version == "1" else None


def _weight(told: str) -> float:
    try:
        return float(told)
    except ValueError:
        return 0.0


def _headers(request: web.Request, content_id: ContentId, form: Form, scope: str) -> dict[str, str]:
    """What is said of the content, which is the same for ever."""
    is_part = form == "car" and scope == "block"
    return {
        "Content-Type": RAW if form == "raw" else _CAR_TOLD,
        "Content-Disposition": f'attachment; filename="{content_id}.{"bin" if form == "raw" else "car"}"',
        "Cache-Control": _FOR_EVER,
        "Etag": f'"{content_id}.{"block." if is_part else ""}{form}"',
        "X-Ipfs-Path": f"/ipfs/{request.match_info['content_id']}",
        "X-Content-Type-Options": "nosniff",
        "Access-Control-Allow-Origin": "*",
        "Vary": "Accept",
    }


def _known(request: web.Request) -> set[str]:
    """The entity tags that the client has."""
    return {each.strip().removeprefix("W/") for each in request.headers.get("If-None-Match", "").split(",")}
