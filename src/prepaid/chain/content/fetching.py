"""Content fetched by its id from a trustless gateway, and verified: what is returned is what the id names."""

from __future__ import annotations

from typing import Final

import aiohttp
from eth_abi.abi import encode
from yarl import URL

from prepaid.chain.content.ids import ContentId
from prepaid.chain.content.tree import Branch
from prepaid.chain.rpc import place_of
from prepaid.chain.values import decode_text
from prepaid.errors import ContentUnavailable, InvalidRequestError, ValueTooLarge

__all__ = [
    "CONTENT_BYTES_DEFAULT",
    "RAW",
    "at_most",
    "decode_content_id",
    "encode_content_id",
    "fetch_content",
]

CONTENT_BYTES_DEFAULT: Final = 32 * 2**20
RAW: Final = "application/vnd.ipld.raw"
_BLOCK_BYTES_MAX: Final = 2 * 2**20
"""What IPFS lets a block have, on any network."""
_DEPTH_MAX: Final = 8
_BLOCKS_MAX: Final = 8_192
_SECONDS_MAX: Final = 60.0


def encode_content_id(content_id: ContentId) -> bytes:
    """A response that names content: ``abi.encode(string)`` of the CID, 128 bytes."""
    return encode(["string"], [str(content_id)])


def decode_content_id(response: bytes) -> ContentId:
    """The content id in the response to a request of call type IPFS.

    Raises:
        InvalidRequestError: there is none in it.
    """
    return ContentId.read(decode_text(response))


async def fetch_content(
    content_id: ContentId | str, gateway: str, *, bytes_max: int = CONTENT_BYTES_DEFAULT
) -> bytes:
    """The content that an id names, verified block by block; the gateway need not be trusted.

    Args:
        content_id: a CID of a file, or what ``decode_content_id`` found.
        gateway: the URL of a trustless gateway, such as a node's ``http://127.0.0.1:8001``. Let it come from
            your configuration, never from a stranger.
        bytes_max: the most that is fetched.

    Raises:
        ContentMismatch: the gateway served something else.
        ContentUnavailable: it does not have it, or does not answer.
        InvalidRequestError: not a content id, or not one of a file.
        ValueTooLarge: more than ``bytes_max``.
    """
    root = ContentId.read(content_id) if isinstance(content_id, str) else content_id
    timeout = aiohttp.ClientTimeout(total=_SECONDS_MAX)
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as client:
        return await _Fetching(client, gateway.rstrip("/"), bytes_max).file(root)


class _Fetching:
    """One file on its way, and what is left of its limits."""

    def __init__(self, client: aiohttp.ClientSession, gateway: str, bytes_max: int) -> None:
        self._client = client
        self._gateway = gateway
        self._bytes_max = bytes_max
        self._blocks = 0
        self._content = bytearray()

    async def file(self, root: ContentId) -> bytes:
        """All of it, in order."""
        await self._read(root, 0)
        return bytes(self._content)

    async def _read(self, content_id: ContentId, depth: int) -> None:
        block = await self._block(content_id)
        if content_id.codec == "raw":
            self._append(block)
            return
        if depth == _DEPTH_MAX:
            raise InvalidRequestError(f"The file's tree has more than {_DEPTH_MAX} levels.")
        branch = Branch.read(block)
        self._append(branch.content)
        for link in branch.links:
            await self._read(link, depth + 1)

    def _append(self, content: bytes) -> None:
        self._content += content
        if len(self._content) > self._bytes_max:
            raise ValueTooLarge("the content", len(self._content), self._bytes_max)

    async def _block(self, content_id: ContentId) -> bytes:
        if content_id.is_inline:
            return content_id.digest
        self._blocks += 1
        if self._blocks > _BLOCKS_MAX:
            raise ValueTooLarge("the content", self._blocks, _BLOCKS_MAX, "blocks")
        url = URL(f"{self._gateway}/ipfs/{content_id}").with_query(format="raw")
        try:
            async with self._client.get(url, headers={"Accept": RAW}, allow_redirects=False) as reply:
                if reply.status != 200:  # noqa: PLR2004 -- OK
                    raise self._unavailable(content_id, f"HTTP status {reply.status}")
                block = await at_most(reply.content, "the block", _BLOCK_BYTES_MAX)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._unavailable(content_id, type(error).__name__) from error
        return content_id.check(block)

    def _unavailable(self, content_id: ContentId, why: str) -> ContentUnavailable:
        return ContentUnavailable(str(content_id), place_of(self._gateway), why)


async def at_most(stream: aiohttp.StreamReader, name: str, bytes_max: int) -> bytes:
    """All that comes.

    Raises:
        ValueTooLarge: more than ``bytes_max``.
    """
    taken = bytearray()
    async for piece, _ in stream.iter_chunks():
        taken += piece
        if len(taken) > bytes_max:
            raise ValueTooLarge(name, len(taken), bytes_max)
    return bytes(taken)
