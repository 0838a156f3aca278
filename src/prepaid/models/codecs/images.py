"""How a request may have images: as data URLs, or as URLs that the provider fetches.

A data URL goes by its media type: a document, a film or a sound is not an image, whatever field it is in.
Neither is what begins like a document or a film, whatever its type says.
"""

from __future__ import annotations

import binascii
import re
from mimetypes import MimeTypes
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from prepaid.models.codecs.shapes import Check, Misshapen, record, shown, text

__all__ = ["image", "image_url"]

_IMAGE_TYPES: Final = ("png", "jpeg", "jpg", "gif", "webp")
_DETAILS: Final = ("auto", "low", "high", "original")

_DATA_URL: Final = re.compile(rf"data:image/(?:{'|'.join(_IMAGE_TYPES)});base64,", re.IGNORECASE)
_REMEDY: Final = (
    f"Send an image: a data URL of {', '.join(_IMAGE_TYPES)} in base64, or an https:// or http:// URL."
)
_HEAD_LENGTH_MAX: Final = 128
_BEGINNING_LENGTH: Final = 16
_DOCUMENTS: Final = (b"%PDF", b"PK\x03\x04", b"\x1aE\xdf\xa3")
"""How PDFs, office documents and films in Matroska begin; those in MP4 have ``ftyp`` in the fifth byte."""
_TYPES: Final = MimeTypes(filenames=())
"""Python's own table, without what the machine adds to it."""


def image_url(value: Any) -> None:
    """The URL of an image."""
    text(value)
    told = _DATA_URL.match(value)
    if told is not None:
        _check_beginning(value[told.end() : told.end() + _BEGINNING_LENGTH])
        return
    scheme, _, rest = value[:_HEAD_LENGTH_MAX].partition(":")
    if scheme.lower() == "data":
        raise Misshapen(
            f"is a data URL of type {shown(rest.split(',')[0])!r}, which is not an image", _REMEDY
        )
    if scheme.lower() not in ("https", "http") or not rest.startswith("//"):
        raise Misshapen(f"is {shown(value)!r}, which is not an image", _REMEDY)
    kind = _kind_at(value)
    if kind is not None and not kind.startswith("image/"):
        raise Misshapen(f"names a file of type {kind!r}, which is not an image", _REMEDY)


def _check_beginning(encoded: str) -> None:
    """Refuse what begins like a document or a film; what cannot be decoded is left to the provider."""
    try:
        begins = binascii.a2b_base64(encoded)
    except ValueError:
        return
    if begins.startswith(_DOCUMENTS) or begins[4:8] == b"ftyp":
        raise Misshapen("holds a document or a film, which is not an image", _REMEDY)


def _kind_at(url: str) -> str | None:
    """The type that the path's ending names, if any; nothing is fetched."""
    try:
        path = unquote(urlsplit(url).path).strip().rstrip("/")
    except ValueError:
        raise Misshapen("is not a URL", _REMEDY) from None
    ending = path.rpartition("/")[2].rpartition(".")[2]
    return _TYPES.types_map[True].get(f".{ending.lower()}")


def _detail(value: Any) -> None:
    if value not in _DETAILS:
        raise Misshapen(f"is {shown(str(value))!r}", f"Use one of: {', '.join(_DETAILS)}.")


image: Final[Check] = record({"url": image_url, "detail": _detail})
detail: Final[Check] = _detail
"""How finely an image is looked at; its price depends on it."""
