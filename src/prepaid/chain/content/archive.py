"""CAR files, version 1: a root's id, then blocks with theirs, as gateways and IPFS nodes exchange them."""

from __future__ import annotations

from typing import Final

from prepaid.chain.content.ids import ContentId
from prepaid.chain.content.tree import varint

__all__ = ["archive_header", "archive_section"]

_ROOTS: Final = b"\xa2\x65roots\x81\xd8\x2a\x58"
"""``{"roots": [CID], "version": 1}`` in dag-cbor, up to the length of the root's bytes."""
_VERSION_1: Final = b"\x67version\x01"
_BINARY: Final = b"\x00"
"""What dag-cbor writes before a CID: that it is not text."""


def archive_header(root: ContentId) -> bytes:
    """How a CAR with one root begins."""
    link = _BINARY + bytes(root)
    header = _ROOTS + bytes([len(link)]) + link + _VERSION_1
    return varint(len(header)) + header


def archive_section(content_id: ContentId, block: bytes) -> bytes:
    """A block in a CAR."""
    named = bytes(content_id)
    return varint(len(named) + len(block)) + named + block
