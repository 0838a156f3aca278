"""What the offline model draws: a small picture made from the words, the same for the same words."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from hashlib import blake2b
from typing import Final

__all__ = ["DRAW", "drawing", "drawn"]

DRAW: Final = re.compile(r"\s*(?:please )?draw\s+\S", re.IGNORECASE)
"""What asks for a picture."""

_SIDE: Final = 64
_CELL: Final = 8
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PALETTE_AND_ONE_BIT: Final = (1, 3, 0, 0, 0)
"""Bit depth, colours from a palette, and the only compression, filter and interlace that are wanted."""


def drawn(words: str) -> str:
    """The picture as a model says it in text: a ``data:`` URI."""
    return f"data:image/png;base64,{base64.b64encode(drawing(words)).decode()}"


def drawing(words: str) -> bytes:
    """A PNG of 64 × 64 points, mirrored, in a colour of its own.

    It is not compressed: what compressors make of the same points differs from one version to the next, and
    with it the picture's content id.
    """
    noise = blake2b(words.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    header = struct.pack(">II5B", _SIDE, _SIDE, *_PALETTE_AND_ONE_BIT)
    points = b"".join(b"\x00" + _row(noise[3 + at]) for at in range(_SIDE // _CELL) for _ in range(_CELL))
    chunks = (
        (b"IHDR", header),
        (b"PLTE", b"\xff\xff\xff" + bytes(each // 2 for each in noise[:3])),
        (b"IDAT", zlib.compress(points, level=0)),
        (b"IEND", b""),
    )
    return _SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks)


def _row(bits: int) -> bytes:
    """Four cells, and the same four the other way round; a bit a point."""
    half = [0xFF * (bits >> at & 1) for at in range(_SIDE // _CELL // 2)]
    return bytes([*half, *reversed(half)])


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
