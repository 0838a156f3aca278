"""Content ids: what a block of IPFS is called, which is what it hashes to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Literal, cast

from multiformats import CID, multihash

from prepaid.errors import ContentMismatch, InvalidRequestError

__all__ = ["DIGEST_BYTES", "Codec", "ContentId"]

Codec = Literal["raw", "dag-pb"]
"""How a block is read: as the content itself, or as a node that links to parts of it."""

DIGEST_BYTES: Final = 32
_TEXT_LENGTH_MAX: Final = 512
_INLINE_BYTES_MAX: Final = 128
_CODECS: Final = ("raw", "dag-pb")
_SHA256: Final = "sha2-256"
_IDENTITY: Final = "identity"


@dataclass(frozen=True, slots=True)
class ContentId:
    """A CID of a file: of its only block, or of the root of several.

    ``digest`` is the block's SHA-256; where ``is_inline``, it is the block itself. As text it is a CIDv1 in
    base 32, whatever it was read from.
    """

    codec: Codec
    digest: bytes
    is_inline: bool = False

    @classmethod
    def of(cls, block: bytes, codec: Codec) -> ContentId:
        """The id of a block."""
        return cls(codec, hashlib.sha256(block).digest())

    @classmethod
    def read(cls, told: str | bytes) -> ContentId:
        """The id that text, or bytes in a link, are.

        Raises:
            InvalidRequestError: they are none, or none of a file that is hashed with SHA-256.
        """
        shown = told.hex() if isinstance(told, bytes) else told
        try:
            found = CID.decode(told) if 0 < len(told) <= _TEXT_LENGTH_MAX else None
        except (ValueError, KeyError):
            found = None
        if found is None:
            raise InvalidRequestError(
                f"{shown[:80]!r} is not a content id.",
                remedy="Pass a CID, such as bafkrei…: version 1, base 32.",
            )
        codec, function, digest = found.codec.name, found.hashfun.name, found.raw_digest
        is_inline = function == _IDENTITY and len(digest) <= _INLINE_BYTES_MAX
        if codec not in _CODECS or not (is_inline or (function == _SHA256 and len(digest) == DIGEST_BYTES)):
            raise InvalidRequestError(
                f"Content id {shown[:80]!r} is of {codec}, hashed with {function}.",
                remedy="Use one of a file (raw or dag-pb) that is hashed with SHA-256.",
            )
        return cls(cast(Codec, codec), digest, is_inline)

    def check(self, block: bytes) -> bytes:
        """``block``, if it is what this id names.

        Raises:
            ContentMismatch: it is something else.
        """
        if (block if self.is_inline else hashlib.sha256(block).digest()) != self.digest:
            raise ContentMismatch(str(self))
        return block

    def __bytes__(self) -> bytes:
        return bytes(self._cid())

    def __str__(self) -> str:
        return str(self._cid())

    def _cid(self) -> CID:
        function = _IDENTITY if self.is_inline else _SHA256
        return CID("base32", 1, self.codec, multihash.wrap(self.digest, function))
