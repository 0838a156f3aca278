"""What goes out and comes in by content id: models' answers, and prompts that a request only names."""

from __future__ import annotations

import base64
import binascii
import re
from contextlib import suppress
from typing import Final
from urllib.parse import unquote_to_bytes

from prepaid.chain.content.fetching import fetch_content
from prepaid.chain.content.ids import ContentId
from prepaid.chain.node.content.store import ContentStore
from prepaid.chain.prompts import BYTES_MAX
from prepaid.chain.values import decode_text
from prepaid.errors import InvalidRequestError

__all__ = ["Contents", "content_named", "content_of"]

_DATA_URI: Final = re.compile(r"data:[\w.+/-]*(?:;[\w.+-]+=[^;,\s]*)*(;base64)?,(\S*)", re.IGNORECASE)


class Contents:
    """The store, and the gateway that prompts may be fetched from, if there is one."""

    def __init__(self, store: ContentStore, gateway: str | None) -> None:
        self._store = store
        self._gateway = gateway

    async def keep(self, text: str) -> ContentId:
        """Keep what a model answered; its id, once it is durable.

        Raises:
            StoreError: not now.
            InvalidRequestError: a ``data:`` URI that is none; or too large.
        """
        return await self._store.keep(content_of(text))

    async def has_room(self, size: int) -> bool:
        """Whether so many bytes more could be kept."""
        return await self._store.has_room(size)

    async def prompt(self, call: bytes) -> bytes:
        """The encoded prompt: ``call`` itself, or what it names.

        Raises:
            ContentUnavailable, ContentMismatch: not now.
            InvalidRequestError: what it names is no file, too large, or not to be fetched by us.
        """
        named = content_named(call)
        if named is None:
            return call
        if self._gateway is None:
            raise InvalidRequestError(
                f"The prompt is {named}, and this node fetches none.", remedy="Send the prompt itself."
            )
        return await fetch_content(named, self._gateway, bytes_max=BYTES_MAX)


def content_named(call: bytes) -> ContentId | None:
    """The content id that a request has in place of its prompt: as text, ABI-encoded or not."""
    for read in (decode_text, bytes.decode):
        with suppress(InvalidRequestError, UnicodeDecodeError):
            return ContentId.read(read(call))
    return None


def content_of(text: str) -> bytes:
    """What a model means: the bytes of a ``data:`` URI, or its text in UTF-8.

    Raises:
        InvalidRequestError: it begins like such a URI, and is none; one that was cut is none.
    """
    if not text.lstrip().startswith("data:"):
        return text.encode(errors="replace")
    found = _DATA_URI.fullmatch(text.strip())
    try:
        if found is not None and found[1] is None:
            return unquote_to_bytes(found[2])
        if found is not None:
            return base64.b64decode(found[2], validate=True)
    except (binascii.Error, ValueError):
        pass
    raise InvalidRequestError(
        "The model's answer is no whole data: URI.", remedy="Allow it more tokens: node.content_tokens_max."
    )
