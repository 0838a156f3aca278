"""Compressed request bodies (``Content-Encoding``): unpacked within bounds."""

from __future__ import annotations

import sys
import zlib
from typing import Final, Protocol

from prepaid.errors import CodingNotSupported, InvalidRequestError, ValueTooLarge

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

__all__ = ["CODINGS", "Unpacking", "unpacking"]

CODINGS: Final = ("gzip", "zstd")
_PLAIN: Final = ("", "identity")
_GZIP: Final = ("gzip", "x-gzip")
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
"""With gzip's header and checksum."""
_ZSTD_WINDOW_LOG_MAX: Final = 23
"""8 MiB, the most that RFC 9659 allows a sender to ask for."""


class _Stream(Protocol):
    """One compressed stream, as ``zlib`` and ``compression.zstd`` have it."""

    @property
    def eof(self) -> bool:
        """Whether its end has been reached."""

    @property
    def unused_data(self) -> bytes:
        """What came after its end."""

    def decompress(self, data: bytes, size_max: int, /) -> bytes:
        """The unpacked ``data``, at most ``size_max`` bytes."""


class Unpacking:
    """One body, of which at most ``limit`` bytes come out."""

    def __init__(self, coding: str, limit: int, limit_name: str = "body_bytes_max") -> None:
        self._coding = coding
        self._limit_name = limit_name
        self._limit = limit
        self._stream = _gzip() if coding in _GZIP else _zstd()

    def whole(self, data: bytes) -> bytes:
        """Unpack the whole body, once. It may take long: run it in a thread.

        Raises:
            ValueTooLarge: there is more than ``limit``; the rest was not unpacked.
            InvalidRequestError: it is not in this coding, goes on after its end, or ends too early.
        """
        try:
            # One byte more than there may be tells whether there is one.
            content = self._stream.decompress(data, self._limit + 1)
        except (zlib.error, ZstdError) as error:
            raise self._malformed(str(error)) from None
        if len(content) > self._limit:
            raise ValueTooLarge(
                "The unpacked request body",
                len(content),
                self._limit,
                "bytes or more",
                limit_name=self._limit_name,
                remedy="Send a shorter body.",
            )
        if self._stream.unused_data:
            raise self._malformed("it goes on after its end")
        if not self._stream.eof:
            raise self._malformed("it ends too early")
        return content

    def _malformed(self, why: str) -> InvalidRequestError:
        return InvalidRequestError(
            f"The body's Content-Encoding is {self._coding}, but it cannot be unpacked: {why}.",
            remedy="Send one stream in this coding, or the body as it is.",
        )


def _gzip() -> _Stream:
    return zlib.decompressobj(_GZIP_WINDOW)


def _zstd() -> _Stream:
    return ZstdDecompressor(options={int(DecompressionParameter.window_log_max): _ZSTD_WINDOW_LOG_MAX})


def unpacking(header: bytes | None, limit: int, limit_name: str = "body_bytes_max") -> Unpacking | None:
    """Return what unpacks a body with this ``Content-Encoding``; ``None`` for one that is not compressed.

    Raises:
        CodingNotSupported: it is neither of ``CODINGS`` nor ``identity``, or several at once.
    """
    if header is None:
        return None
    coding = header.decode("latin-1").strip().lower()
    if coding in _PLAIN:
        return None
    if coding not in CODINGS and coding not in _GZIP:
        raise CodingNotSupported(coding[:40], CODINGS)
    return Unpacking(coding, limit, limit_name)
