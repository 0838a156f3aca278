"""What of one file is left after a power cut: its durable bytes, and a draw of what was not synced."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Final

__all__ = ["SECTOR_BYTES", "Inode", "Truncate", "Write", "survivors"]

SECTOR_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class Write:
    offset: int
    data: bytes

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


@dataclass(frozen=True, slots=True)
class Truncate:
    size: int


@dataclass(slots=True)
class Inode:
    """A file without a name: what is on the platter, and what has happened since its last sync, in order."""

    durable: bytearray
    pending: list[Write | Truncate] = field(default_factory=list)

    def copy(self) -> Inode:
        return Inode(bytearray(self.durable), list(self.pending))

    def settle(self) -> None:
        for operation in self.pending:
            _apply(self.durable, operation, None)
        self.pending.clear()


def survivors(inode: Inode, rng: Random) -> tuple[bytearray, str]:
    """One possible content after a power cut, and in words what was drawn; ``inode`` stays as it is."""
    image, pending = bytearray(inode.durable), inode.pending
    if not pending:
        return image, "all synced"
    garbage = rng if rng.random() < 0.5 else None
    kept = _drawn(pending, rng)
    for operation, torn in kept:
        if not torn or isinstance(operation, Truncate):
            _apply(image, operation, garbage)
            continue
        for piece in _sectors(operation):
            if rng.random() < 0.5:
                _apply(image, piece, garbage)
    reached = max((operation.end for operation in pending if isinstance(operation, Write)), default=0)
    grown = reached > len(image) and len(kept) < len(pending) and rng.random() < 0.25
    if grown:
        _extend(image, rng.randint(len(image) + 1, reached), garbage)
    story = f"{len(kept)} of {len(pending)} unsynced, {sum(torn for _, torn in kept)} torn"
    return image, story + ", grown without data" * grown + ", gaps of garbage" * (garbage is not None)


def _drawn(pending: list[Write | Truncate], rng: Random) -> list[tuple[Write | Truncate, bool]]:
    """The operations that reached the disk, in the order they did, and whether only in part."""
    style = rng.choice(("none", "all", "prefix", "subset", "subset"))
    if style == "none":
        return []
    if style == "all":
        return [(operation, False) for operation in pending]
    if style == "prefix":
        kept = pending[: rng.randint(1, len(pending))]
        return [(operation, operation is kept[-1]) for operation in kept]
    share = rng.choice((0.1, 0.5, 0.9))
    kept = [operation for operation in pending if rng.random() < share]
    if rng.random() < 0.5:
        rng.shuffle(kept)
    return [(operation, rng.random() < 0.25) for operation in kept]


def _sectors(write: Write) -> list[Write]:
    """A write cut at the disk's sector boundaries."""
    first = write.offset - write.offset % SECTOR_BYTES
    starts = [max(start, write.offset) for start in range(first, write.end, SECTOR_BYTES)]
    ends = [*starts[1:], write.end]
    return [
        Write(start, write.data[start - write.offset : end - write.offset])
        for start, end in zip(starts, ends, strict=True)
    ]


def _apply(content: bytearray, operation: Write | Truncate, garbage: Random | None) -> None:
    if isinstance(operation, Truncate):
        del content[operation.size :]
        _extend(content, operation.size, garbage)
        return
    _extend(content, operation.offset, garbage)
    content[operation.offset : operation.end] = operation.data


def _extend(content: bytearray, size: int, garbage: Random | None) -> None:
    """Let a file reach ``size`` without the data that belonged there."""
    missing = size - len(content)
    if missing > 0:
        content += garbage.randbytes(missing) if garbage else bytes(missing)
