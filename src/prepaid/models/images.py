"""What an image costs in tokens, by the formulas that providers publish, and how large it is.

A quote holds the most that an image can cost (``image_tokens_max``); our own count of an answer that was left
takes its likely cost (``likely_image_tokens``). Both go by its model's formula, if that is known by name, and
by the image's size, if it is a ``data:`` URL whose header can be read.

Sources: OpenAI "Images and vision" (tiles of 512 pixels; patches of 32 with a budget of 1,536 and a factor),
Anthropic "Vision" (width × height / 750, the long edge cut to 1,568), Google "Image understanding" (258 for
each tile) and "Media resolution" (Gemini 3: a number for each). A model whose documents contradict each
other, or are said to differ from its bills, has no formula here.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable
from fractions import Fraction
from math import ceil, isqrt
from typing import Final, NamedTuple, Protocol

from prepaid.records import ModelInfo

__all__ = [
    "HEAD_CHARACTERS_MAX",
    "LIKELY_IMAGE_TOKENS",
    "SentImage",
    "formula_of",
    "image_tokens_max",
    "likely_image_tokens",
    "measured",
]

HEAD_CHARACTERS_MAX: Final = 131_072
"""How much of a ``data:`` URL is read: cameras put up to 64 KiB of notes before a JPEG's size."""

LIKELY_IMAGE_TOKENS: Final = 1_000
"""For an image of unknown size: a square of 1,024 pixels costs 765 with OpenAI, 1,399 with Anthropic."""

_SEGMENTS_MAX: Final = 256
_JPEG_SIZES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The markers of a JPEG's frame header, where its size is."""

_BASE64_HEAD: Final = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)


class SentImage(Protocol):
    """One image of a request."""

    @property
    def data_url(self) -> str | None:
        """The image, or its first ``HEAD_CHARACTERS_MAX``; ``None`` where the provider fetches it."""

    @property
    def detail(self) -> str | None:
        """How finely it is looked at, in OpenAI's words; all but ``"low"`` counts as the finest."""


def image_tokens_max(info: ModelInfo, image: SentImage) -> int:
    """The most that an image can cost with a model: by its formula, else by its settings."""
    known = _by_formula(info, image, enlarges=True)
    return info.image_tokens_max if known is None else min(known, info.image_tokens_max)


def likely_image_tokens(info: ModelInfo, image: SentImage) -> int:
    """What an image likely costs, for answers without a usage: never a bound."""
    known = _by_formula(info, image, enlarges=False)
    return min(LIKELY_IMAGE_TOKENS if known is None else known, info.image_tokens_max)


def formula_of(provider: str | None, model: str) -> str:
    """The formula by which ``provider`` counts images for ``model``; empty if that is not certain."""
    name = _DATED.sub("", model.lower())
    for named, formula in _NAMES:
        if named[0] == ("openai" if provider == "azure" else provider) and re.fullmatch(named[1], name):
            return formula
    return ""


def measured(data_url: str | None) -> tuple[int, int] | None:
    """Width and height of a PNG, JPEG, GIF or WebP, from its header; ``None`` where that cannot be read.

    Reads ``HEAD_CHARACTERS_MAX`` characters at most, decodes no pixels, and never raises. The library
    ``imagesize`` walks a hostile JPEG byte by byte, which took 3.4 s for the images of one body of 32 MiB;
    this takes 0.2 s.
    """
    found = None if data_url is None else _BASE64_HEAD.match(data_url)
    if data_url is None or found is None:
        return None
    coded = data_url[found.end() : HEAD_CHARACTERS_MAX]
    try:
        head = base64.b64decode(coded[: len(coded) // 4 * 4])
        size = _size(head)
    except (ValueError, struct.error, IndexError):  # not base64, or shorter than a header
        return None
    return size if size is not None and min(size) > 0 else None


def _size(head: bytes) -> tuple[int, int] | None:
    if head.startswith(b"\x89PNG\r\n\x1a\n") and head[12:16] == b"IHDR":
        width, height = struct.unpack_from(">II", head, 16)
    elif head.startswith((b"GIF87a", b"GIF89a")):
        width, height = struct.unpack_from("<HH", head, 6)
    elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _webp_size(head)
    elif head.startswith(b"\xff\xd8"):
        return _jpeg_size(head)
    else:
        return None
    return width, height


def _webp_size(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8 ":  # 14 bits, and two for scaling
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X" and len(head) >= 30:  # noqa: PLR2004 -- where its two numbers of 24 bits end
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    return None


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    """Goes from segment to segment, each of which says how long it is."""
    at = 2
    for _ in range(_SEGMENTS_MAX):
        mark, kind, length = struct.unpack_from(">BBH", head, at)
        if mark != 0xFF:  # noqa: PLR2004 -- what every marker begins with
            return None
        if kind == 0xFF:  # noqa: PLR2004 -- fill bytes are allowed
            at += 1
            continue
        if kind in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return width, height
        at += 2 + length
    return None


def _by_formula(info: ModelInfo, image: SentImage, *, enlarges: bool) -> int | None:
    formula = _FORMULAS.get(info.image_formula)
    if formula is None:
        return None
    is_low = image.detail == "low"
    if formula.low is not None and is_low:
        return formula.low
    size = measured(image.data_url)
    if size is None:
        return formula.most if enlarges else None
    return formula.tokens_of(*size, enlarges)


class _Formula(NamedTuple):
    tokens_of: Callable[[int, int, bool], int]
    """Of width, height, and whether small images are taken as enlarged."""
    most: int
    """For an image of any size."""
    low: int | None = None
    """At low detail."""


def _tiles(base: int, tile: int) -> _Formula:
    """OpenAI's: fitted into 2,048 × 2,048, then the short side to 768; tiles of 512."""

    def count(width: int, height: int, enlarges: bool) -> int:
        long, short = max(width, height), min(width, height)
        scale = min(Fraction(1), Fraction(2_048, long))
        to_short = Fraction(768) / (short * scale)
        scale *= to_short if enlarges else min(Fraction(1), to_short)
        # Enlarged, a strip would be longer than any image that is sent on.
        scale = min(scale, Fraction(2_048, long)) if enlarges else scale
        return base + tile * ceil(width * scale / 512) * ceil(height * scale / 512)

    return _Formula(count, base + 8 * tile, base)


def _patches(percent: int) -> _Formula:
    """OpenAI's for small models: patches of 32 pixels, 1,536 at most, times a factor in hundredths."""
    budget = 1_536

    def count(width: int, height: int, enlarges: bool) -> int:  # noqa: ARG001 -- nothing is enlarged here
        patches = ceil(width / 32) * ceil(height / 32)
        if patches > budget:
            # Shrunk to the budget's area, then until one side is a whole number of patches.
            across, down = isqrt(budget * width // height), isqrt(budget * height // width)
            if across * height <= down * width:
                patches = max(across, 1) * ceil(Fraction(max(across, 1) * height, width))
            else:
                patches = max(down, 1) * ceil(Fraction(max(down, 1) * width, height))
        return -(-min(patches, budget) * percent // 100)

    return _Formula(count, -(-budget * percent // 100))


def _by_area(edge_max: int, tokens_max: int) -> _Formula:
    """Anthropic's: one token for 750 pixels, after the long edge was cut."""

    def count(width: int, height: int, enlarges: bool) -> int:  # noqa: ARG001 -- nothing is enlarged here
        scale = min(Fraction(1), Fraction(edge_max, max(width, height)))
        return min(ceil(width * height * scale * scale / 750), tokens_max)

    return _Formula(count, tokens_max)


def _gemini_tiles() -> _Formula:
    """Google's: 258 for a small image, else for each tile; a tile's edge is two thirds of the short side."""

    def count(width: int, height: int, enlarges: bool) -> int:  # noqa: ARG001 -- nothing is enlarged here
        if max(width, height) <= 384:  # noqa: PLR2004 -- pixels, as published
            return 258
        edge = min(max(min(width, height) * 2 // 3, 256), 768)
        return 258 * ceil(width / edge) * ceil(height / edge)

    return _Formula(count, 50_000)


def _fixed(likely: int, most: int) -> _Formula:
    """Google's for Gemini 3: by the resolution that is asked for, whatever the size."""
    return _Formula(lambda _width, _height, enlarges: most if enlarges else likely, most)


_FORMULAS: Final[dict[str, _Formula]] = {
    "gpt-4o": _tiles(85, 170),
    "gpt-4o-mini": _tiles(2_833, 5_667),
    "o1": _tiles(75, 150),
    "gpt-5": _tiles(70, 140),
    "computer-use": _tiles(65, 129),
    "gpt-4.1-mini": _patches(162),
    "gpt-4.1-nano": _patches(246),
    "o4-mini": _patches(172),
    "claude": _by_area(1_568, 1_600),
    "claude-4.7": _by_area(2_576, 4_784),
    "gemini-2": _gemini_tiles(),
    "gemini-3": _fixed(1_120, 2_240),
}

_NAMES: Final[tuple[tuple[tuple[str, str], str], ...]] = (
    (("openai", r"gpt-4o-mini"), "gpt-4o-mini"),
    (("openai", r"gpt-4o|chatgpt-4o|gpt-4\.1|gpt-4\.5|gpt-4-turbo"), "gpt-4o"),
    (("openai", r"o1|o1-pro|o3|o3-pro"), "o1"),
    (("openai", r"gpt-5|gpt-5-chat"), "gpt-5"),
    (("openai", r"computer-use"), "computer-use"),
    (("openai", r"gpt-4\.1-mini|gpt-5-mini"), "gpt-4.1-mini"),
    (("openai", r"gpt-4\.1-nano|gpt-5-nano"), "gpt-4.1-nano"),
    (("openai", r"o4-mini"), "o4-mini"),
    (("anthropic", r"claude-(3|3-[57]|3\.[57])-(haiku|sonnet|opus)"), "claude"),
    (("anthropic", r"claude-(haiku|sonnet|opus)-4([-.][0-6])?"), "claude"),
    (("anthropic", r"claude-opus-4[-.]7"), "claude-4.7"),
    (("google", r"gemini-2\.[05]-(flash|flash-lite|pro)"), "gemini-2"),
    (("google", r"gemini-3(\.1)?-(flash|flash-lite|pro)"), "gemini-3"),
)
"""Provider and name, without a date, of the models whose formula is published."""

_DATED: Final = re.compile(r"(-\d{4}-\d{2}-\d{2}|-\d{8}|-\d{3,4}|-latest|-preview)+$")
