"""Files as IPFS cuts them: up to 1 MiB is one raw block; more is a UnixFS node that links to such blocks.

The cuts are those of the profile ``unixfs-v1-2025`` (IPIP-499), which are Helia's by default too: pieces of
1 MiB, raw leaves, at most 1,024 links in a node. So the same content has the same id here and there. The node
is dag-pb, whose canonical form has the links before the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from prepaid.chain.content.ids import ContentId
from prepaid.errors import InvalidRequestError, ValueTooLarge

__all__ = ["CONTENT_BYTES_MAX", "PIECE_BYTES", "Block", "Branch", "content_id_of", "cut", "varint"]

PIECE_BYTES: Final = 2**20
_LINKS_MAX: Final = 1_024
CONTENT_BYTES_MAX: Final = PIECE_BYTES * _LINKS_MAX
"""More would need a tree of two levels."""

_FILE: Final = 2
_TYPES_WITH_CONTENT: Final = (0, _FILE)
_VARINT_BYTES_MAX: Final = 10
_VARINT: Final = 0
_LENGTH_DELIMITED: Final = 2
_WIRE_BITS: Final = 3

_NODE_DATA: Final = 1
_NODE_LINK: Final = 2
_LINK_HASH: Final = 1
_LINK_NAME: Final = 2
_LINK_SIZE: Final = 3
_UNIXFS_TYPE: Final = 1
_UNIXFS_DATA: Final = 2
_UNIXFS_FILE_SIZE: Final = 3
_UNIXFS_BLOCK_SIZE: Final = 4

Field = tuple[int, int | bytes]


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes, and the id that they have."""

    content_id: ContentId
    content: bytes


@dataclass(frozen=True, slots=True)
class Branch:
    """A node of a file's tree: what stands in it itself, then what its links lead to."""

    content: bytes
    links: tuple[ContentId, ...]

    @classmethod
    def read(cls, block: bytes) -> Branch:
        """The node that a dag-pb block is.

        Raises:
            InvalidRequestError: it is none, or not of a file.
        """
        fields = list(_fields(block))
        links = tuple(ContentId.read(_only(_fields(link), _LINK_HASH)) for link in _all(fields, _NODE_LINK))
        unixfs = list(_fields(_only(fields, _NODE_DATA)))
        kind = next((value for number, value in unixfs if number == _UNIXFS_TYPE), None)
        if kind not in _TYPES_WITH_CONTENT:
            raise _no_file("its UnixFS type is not that of a file")
        return cls(b"".join(_all(unixfs, _UNIXFS_DATA)), links)


def content_id_of(content: bytes) -> ContentId:
    """The id that ``content`` has: anybody who cuts it the same way finds the same.

    Raises:
        ValueTooLarge: more than 1 GiB.
    """
    return cut(content)[0].content_id


def cut(content: bytes) -> list[Block]:
    """The blocks of ``content``, the root first, then its pieces in order.

    Raises:
        ValueTooLarge: more than 1 GiB.
    """
    if len(content) > CONTENT_BYTES_MAX:
        raise ValueTooLarge("the content", len(content), CONTENT_BYTES_MAX)
    pieces = [content[at : at + PIECE_BYTES] for at in range(0, len(content), PIECE_BYTES)] or [b""]
    leaves = [Block(ContentId.of(piece, "raw"), piece) for piece in pieces]
    return leaves if len(leaves) == 1 else [_root(leaves), *leaves]


def varint(number: int) -> bytes:
    """An unsigned number in LEB128, as protobuf and CAR files write lengths."""
    written = bytearray()
    while number > 0x7F:  # noqa: PLR2004 -- seven bits a byte
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*written, number])


def _root(leaves: Sequence[Block]) -> Block:
    sizes = [len(leaf.content) for leaf in leaves]
    links = b"".join(_field(_NODE_LINK, _link(leaf)) for leaf in leaves)
    blocks = b"".join(_field(_UNIXFS_BLOCK_SIZE, size) for size in sizes)
    unixfs = _field(_UNIXFS_TYPE, _FILE) + _field(_UNIXFS_FILE_SIZE, sum(sizes)) + blocks
    node = links + _field(_NODE_DATA, unixfs)
    return Block(ContentId.of(node, "dag-pb"), node)


def _link(leaf: Block) -> bytes:
    target = _field(_LINK_HASH, bytes(leaf.content_id))
    return target + _field(_LINK_NAME, b"") + _field(_LINK_SIZE, len(leaf.content))


def _field(number: int, value: int | bytes) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return varint(number << _WIRE_BITS | _VARINT) + varint(value)
    return varint(number << _WIRE_BITS | _LENGTH_DELIMITED) + varint(len(value)) + value


def _fields(message: bytes) -> Iterator[Field]:
    """The fields of a protobuf message, as far as dag-pb and UnixFS have them: numbers, and bytes.

    Raises:
        InvalidRequestError: it is none.
    """
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        value, at = _read_varint(message, at)
        wire = tag & 7
        if wire == _VARINT:
            yield tag >> _WIRE_BITS, value
        elif wire == _LENGTH_DELIMITED and at + value <= len(message):
            yield tag >> _WIRE_BITS, message[at : at + value]
            at += value
        else:
            raise _no_file("its protobuf is broken")


def _read_varint(message: bytes, start: int) -> tuple[int, int]:
    number = 0
    for at, byte in enumerate(message[start : start + _VARINT_BYTES_MAX]):
        number |= (byte & 0x7F) << (7 * at)
        if byte < 0x80:  # noqa: PLR2004 -- the last byte of a number
            return number, start + at + 1
    raise _no_file("a number in it does not end")


def _all(fields: Iterable[Field], number: int) -> list[bytes]:
    return [value for found, value in fields if found == number and isinstance(value, bytes)]


def _only(fields: Iterable[Field], number: int) -> bytes:
    found = _all(fields, number)
    if len(found) != 1:
        raise _no_file(f"it has {len(found)} fields of number {number}")
    return found[0]


def _no_file(why: str) -> InvalidRequestError:
    return InvalidRequestError(f"The block is no part of a file: {why}.", remedy="Use a file's content id.")
