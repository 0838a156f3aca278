"""Bodies in gzip and zstd: what was packed comes out, whatever its pieces, and never more than there may be."""

from __future__ import annotations

import asyncio
import gzip
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepaid.errors import CodingNotSupported, InvalidRequestError, ValueTooLarge
from prepaid.gateway.asgi import Request
from prepaid.gateway.codings import unpacking

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACK = {"gzip": gzip.compress, "zstd": zstd.compress}
CODINGS = pytest.mark.parametrize("coding", PACK)


def unpacked(coding, data, limit=1_000_000):
    return unpacking(coding.encode(), limit).whole(data)


@CODINGS
@given(st.binary(max_size=2_000), st.integers(0, 2_000))
def test_what_was_packed_comes_out_or_is_too_large(coding, content, limit):
    """Spec P10."""
    packed = PACK[coding](content)
    if len(content) <= limit:
        assert unpacked(coding, packed, limit) == content
    else:
        with pytest.raises(ValueTooLarge) as caught:
            unpacked(coding, packed, limit)
        assert caught.value.limit == limit


@CODINGS
@given(st.binary(max_size=200), st.data())
def test_what_breaks_off_goes_on_or_is_something_else_is_refused(coding, content, data):
    packed = PACK[coding](content)
    cut = data.draw(st.integers(1, len(packed) - 1))
    with pytest.raises(InvalidRequestError, match="ends too early"):
        unpacked(coding, packed[:cut])
    more = data.draw(st.binary(min_size=1, max_size=20) | st.just(packed))
    with pytest.raises(InvalidRequestError, match="after its end"):
        unpacked(coding, packed + more)
    with pytest.raises(InvalidRequestError, match="Content-Encoding"):
        unpacked(coding, b'{"model": "m"}' + content)


@CODINGS
def test_a_bomb_is_not_unpacked(coding):
    """A gigabyte of it is never made: what comes out is a byte more than there may be."""
    bomb = PACK[coding](bytes(64 * 1024 * 1024))
    packed = unpacking(coding.encode(), 1_000)
    with pytest.raises(ValueTooLarge) as caught:
        packed.whole(bomb)
    assert caught.value.size == 1_001


def test_a_window_above_what_senders_may_ask_for_is_refused():
    """RFC 9659: else a few bytes make us take as much memory as they say."""
    options = {
        zstd.CompressionParameter.window_log: 27,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    compressor = zstd.ZstdCompressor(options=options)
    packed = compressor.compress(b"x" * 1_000) + compressor.flush()
    with pytest.raises(InvalidRequestError):
        unpacked("zstd", packed)


def test_gzip_has_its_checksum_checked():
    packed = bytearray(gzip.compress(b"content"))
    packed[-5] ^= 1
    with pytest.raises(InvalidRequestError):
        unpacked("gzip", bytes(packed))
    with pytest.raises(InvalidRequestError):
        unpacked("gzip", zlib.compress(b"deflate is another coding"))


@pytest.mark.parametrize(
    "coding", ["br", "deflate", "compress", "gzip, zstd", "gzip,gzip", "identity, gzip", "é", "x" * 999]
)
def test_what_is_not_read_is_named_with_what_is(coding):
    with pytest.raises(CodingNotSupported) as caught:
        unpacking(coding.encode("latin-1"), 10)
    assert caught.value.allowed == ("gzip", "zstd")
    assert "gzip, zstd" in caught.value.remedy


@pytest.mark.parametrize("coding", [None, b"", b"identity", b" Identity "])
def test_what_is_sent_as_it_is(coding):
    assert unpacking(coding, 10) is None


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", " gzip "])
def test_gzip_has_two_names(coding):
    assert unpacked(coding, gzip.compress(b"content")) == b"content"


@CODINGS
@given(pieces=st.lists(st.binary(max_size=30), max_size=5))
def test_a_request_s_body_is_unpacked(coding, pieces):
    content = b"".join(pieces)
    packed = PACK[coding](content)
    messages = [
        {"type": "http.request", "body": packed[at : at + 7], "more_body": True}
        for at in range(0, len(packed), 7)
    ]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive():
        return messages.pop(0)

    headers = [(b"content-encoding", coding.encode())]
    scope = {"method": "POST", "path": "/", "headers": headers, "query_string": b""}
    assert asyncio.run(Request(scope, receive, None).body(1_000)) == content
