"""Images are measured by their headers, and counted by the providers' formulas."""

import base64
import struct
import zlib
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepaid.models.images import (
    HEAD_CHARACTERS_MAX,
    LIKELY_IMAGE_TOKENS,
    formula_of,
    image_tokens_max,
    likely_image_tokens,
    measured,
)
from prepaid.records import ALL_CHAT_APIS, ModelInfo, Price, Unit


class SentImage(NamedTuple):
    data_url: str | None
    detail: str | None = None


INFO = ModelInfo("m", Price.flat("USD", Unit.TOKEN, 1, 2), 1_000, 1_000, ALL_CHAT_APIS, "p")


def png(width, height):
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def gif(width, height):
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0)


def jpeg(width, height, before=b""):
    start = b"\xff\xe0" + struct.pack(">H", 16) + b"JFIF\0\1\1\0\0\1\0\1\0\0"
    return b"\xff\xd8" + start + before + b"\xff\xff\xc2" + struct.pack(">HBHHB", 17, 8, height, width, 3)


def webp(kind, payload):
    return b"RIFF" + struct.pack("<I", 100) + b"WEBP" + kind + struct.pack("<I", 50) + payload


def webp_lossy(width, height):
    return webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width | 0x4000, height | 0x8000))


def webp_lossless(width, height):
    return webp(b"VP8L", b"\x2f" + struct.pack("<I", width - 1 | (height - 1) << 14))


def webp_extended(width, height):
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return webp(b"VP8X", b"\0\0\0\0" + sizes)


def url_of(content, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


FORMATS = [png, gif, jpeg, webp_lossy, webp_lossless, webp_extended]


@given(st.sampled_from(FORMATS), st.integers(1, 16_383), st.integers(1, 16_383), st.binary(max_size=50))
def test_the_size_is_read_whatever_follows(make, width, height, rest):
    """Spec P7, P11. The size counts, not what the URL calls it."""
    assert measured(url_of(make(width, height) + rest, "image/x")) == (width, height)


@given(
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xd8", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8"]),
    st.binary(max_size=300),
    st.sampled_from(
        ["data:image/png;base64,", "data:;base64,", "data:image/png,", "DATA:IMAGE/PNG;BASE64,", ""]
    ),
    st.text(max_size=3),
)
def test_no_url_makes_the_reading_fail(magic, rest, prefix, odd):
    url = prefix + base64.b64encode(magic + rest).decode() + odd
    size = measured(url)
    assert size is None or min(size) > 0
    for formula in ("", "gpt-4o", "gpt-4.1-mini", "claude", "gemini-2", "gemini-3"):
        info = replace(INFO, image_formula=formula)
        image = SentImage(url, odd)
        assert 1 <= likely_image_tokens(info, image) <= info.image_tokens_max
        assert 1 <= image_tokens_max(info, image) <= info.image_tokens_max


@given(st.text(max_size=300))
def test_no_text_makes_the_reading_fail(url):
    assert measured(url) is None or url.lower().startswith("data:")


@pytest.mark.parametrize(
    "content",
    [
        png(0, 5),
        jpeg(5, 0),
        gif(7, 7)[:9],
        png(7, 7)[:20],
        jpeg(7, 7)[:-6],
        b"\xff\xd8" + b"\0" * 500,
        b"\xff\xd8" + b"\xff" * 100_000,
        b"\xff\xd8" + b"\xff\xe0\0\0" * 25_000,
        webp_extended(7, 7)[:29],
        webp_lossless(7, 7)[:24],
        webp(b"VP8?", b"\0" * 50),
        b"BM" + b"\0" * 50,
        b"",
    ],
)
def test_what_has_no_size_in_its_header_is_not_measured(content):
    assert measured(url_of(content)) is None


def test_only_the_head_is_looked_into():
    """A camera's notes may stand before a JPEG's size."""
    notes = b"\xff\xe1" + struct.pack(">H", 65_535) + b"\0" * 65_533
    assert measured(url_of(jpeg(4_000, 3_000, notes))) == (4_000, 3_000)
    assert measured(url_of(jpeg(4_000, 3_000, notes * 2))) is None
    assert measured(url_of(jpeg(4_000, 3_000, notes))[:HEAD_CHARACTERS_MAX]) == (4_000, 3_000)
    assert measured(None) is None
    assert measured("https://example.com/cat.png") is None


@pytest.mark.parametrize(
    ("formula", "width", "height", "detail", "tokens"),
    [
        # OpenAI's own examples.
        ("gpt-4o", 1_024, 1_024, "high", 765),
        ("gpt-4o", 2_048, 4_096, None, 1_105),
        ("gpt-4o", 4_096, 8_192, "low", 85),
        ("gpt-4.1-mini", 1_024, 1_024, None, 1_659),  # 1,024 patches times 1.62
        ("gpt-4.1-mini", 1_800, 2_400, None, 2_353),  # 1,452 times 1.62
        ("gpt-4.1-nano", 2_400, 1_800, None, 3_572),
        ("o4-mini", 1_024, 1_024, None, 1_762),
        ("gpt-4o-mini", 2_048, 768, "high", 48_169),
        ("gpt-4o-mini", 10, 10, "low", 2_833),
        ("gpt-5", 1_024, 1_024, None, 630),
        ("o1", 1_024, 1_024, None, 675),
        ("computer-use", 1_024, 1_024, None, 581),
        # Anthropic's table: about 1,590 for 1,092 × 1,092, and for 54 for 200 × 200.
        ("claude", 200, 200, None, 54),
        ("claude", 1_092, 1_092, None, 1_590),
        ("claude", 8_000, 8_000, "low", 1_600),
        ("claude-4.7", 8_000, 8_000, None, 4_784),
        # Google's example: a crop of 360 makes 3 × 2 tiles of 960 × 540.
        ("gemini-2", 384, 384, None, 258),
        ("gemini-2", 960, 540, None, 6 * 258),
        ("gemini-2", 1_536, 1_536, None, 4 * 258),
    ],
)
def test_the_published_formulas(formula, width, height, detail, tokens):
    """Spec P7, P11."""
    info = replace(INFO, image_formula=formula)
    image = SentImage(url_of(png(width, height)), detail)
    assert likely_image_tokens(info, image) == tokens
    assert image_tokens_max(info, image) == tokens


def test_a_hold_takes_the_dearer_reading_of_what_is_published():
    """Documents say that the short side becomes 768, of small images too; calculators do not enlarge."""
    info = replace(INFO, image_formula="gpt-4o")
    small = SentImage(url_of(png(512, 512)))
    assert (likely_image_tokens(info, small), image_tokens_max(info, small)) == (255, 765)
    info = replace(INFO, image_formula="gemini-3")
    assert (likely_image_tokens(info, small), image_tokens_max(info, small)) == (1_120, 2_240)


@given(
    st.sampled_from(
        ["gpt-4o", "gpt-4o-mini", "gpt-5", "gpt-4.1-mini", "claude", "claude-4.7", "gemini-2", "gemini-3"]
    ),
    st.integers(1, 50_000) | st.integers(1, 100),
    st.integers(1, 50_000) | st.integers(1, 100),
)
def test_a_likely_count_is_within_the_hold_and_turning_changes_nothing(formula, width, height):
    info = replace(INFO, image_formula=formula, image_tokens_max=10**9)
    image, turned = SentImage(url_of(png(width, height))), SentImage(url_of(png(height, width)))
    assert 1 <= likely_image_tokens(info, image) <= image_tokens_max(info, image)
    assert image_tokens_max(info, image) == image_tokens_max(info, turned)
    if formula != "gemini-2":  # what is in no way limited there
        assert image_tokens_max(info, image) <= image_tokens_max(info, SentImage(None))


def test_unknown_sizes_and_formulas_hold_for_the_most_and_count_as_likely():
    """Gateway case 50: what was left early does not cost the most that any image can."""
    unreadable = SentImage("data:image/png;base64," + "A" * 400)
    for image in (unreadable, SentImage(None), SentImage("https://x/y")):
        assert (likely_image_tokens(INFO, image), image_tokens_max(INFO, image)) == (
            LIKELY_IMAGE_TOKENS,
            50_000,
        )
        tiled = replace(INFO, image_formula="gpt-4o")
        assert (likely_image_tokens(tiled, image), image_tokens_max(tiled, image)) == (
            LIKELY_IMAGE_TOKENS,
            1_445,
        )
    small = replace(INFO, image_tokens_max=700, image_formula="gpt-4o")
    exact = SentImage(url_of(png(1_024, 1_024)))
    assert (likely_image_tokens(small, exact), image_tokens_max(small, exact)) == (700, 700)
    assert image_tokens_max(replace(INFO, image_formula="no such"), exact) == 50_000


@pytest.mark.parametrize(
    ("provider", "model", "formula"),
    [
        ("openai", "gpt-4o", "gpt-4o"),
        ("openai", "GPT-4o-2024-08-06", "gpt-4o"),
        ("azure", "gpt-4.1-2025-04-14", "gpt-4o"),
        ("openai", "chatgpt-4o-latest", "gpt-4o"),
        ("openai", "gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("openai", "gpt-5-mini", "gpt-4.1-mini"),
        ("openai", "gpt-5-nano-2025-08-07", "gpt-4.1-nano"),
        ("openai", "o3-pro-2025-06-10", "o1"),
        ("openai", "o4-mini", "o4-mini"),
        ("openai", "gpt-5-chat-latest", "gpt-5"),
        ("openai", "computer-use-preview", "computer-use"),
        ("openai", "gpt-5.2", ""),
        ("openai", "gpt-5.4-mini", ""),
        ("openai", "gpt-4o-audio-preview", ""),
        ("openai", "gpt-6", ""),
        ("anthropic", "claude-3-5-sonnet-20241022", "claude"),
        ("anthropic", "claude-sonnet-4-5-20250929", "claude"),
        ("anthropic", "claude-sonnet-4-20250514", "claude"),
        ("anthropic", "claude-opus-4-7", "claude-4.7"),
        ("anthropic", "claude-fable-5", ""),
        ("google", "gemini-2.5-flash", "gemini-2"),
        ("google", "gemini-3-pro-preview", "gemini-3"),
        ("google", "gemini-2.5-flash-image", ""),
        ("mistral", "gpt-4o", ""),
        (None, "gpt-4o", ""),
    ],
)
def test_a_formula_is_known_by_name_or_not_at_all(provider, model, formula):
    assert formula_of(provider, model) == formula
