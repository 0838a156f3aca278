"""Blocks that are kept: a file of the node's own, with a limit; durable before an answer names them."""

from __future__ import annotations

import time
from enum import Enum
from pathlib import Path
from typing import Final

import apsw

from prepaid.chain.content.ids import ContentId
from prepaid.chain.content.tree import cut
from prepaid.chain.node.own_file import OwnFile, Schema
from prepaid.errors import ContentMismatch, StoreCorrupted, StoreFull

__all__ = ["Absence", "ContentStore"]

_SCHEMA: Final = Schema(
    "node.content_store",
    0x70727063,
    """
  CREATE TABLE content (
    content_id TEXT PRIMARY KEY, stored_at INTEGER NOT NULL, is_pushed INTEGER NOT NULL DEFAULT 0
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE part (
    content_id TEXT NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (content_id, digest)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX part_by_digest ON part (digest);
  CREATE TABLE block (digest BLOB PRIMARY KEY, content BLOB) STRICT;""",
)
"""A block without content was dropped: ``410 Gone``."""

_KEEP: Final = """
  INSERT INTO block VALUES (?, ?)
  ON CONFLICT DO UPDATE SET content = excluded.content WHERE content IS NULL"""
_TAKEN: Final = "PRAGMA page_count", "PRAGMA freelist_count", "PRAGMA page_size"


class Absence(Enum):
    """Why there is no block: it never was here, or was dropped."""

    UNKNOWN = "unknown"
    DROPPED = "dropped"


class ContentStore(OwnFile):
    """The file.

    Raises:
        StoreError: it cannot be opened or written, or another process has it open.
    """

    def __init__(self, path: Path, bytes_max: int) -> None:
        super().__init__(path, _SCHEMA)
        self._bytes_max = bytes_max

    async def keep(self, content: bytes) -> ContentId:
        """The content's id; its blocks are durable when this returns.

        Raises:
            StoreFull: there is no room. What is here already takes none.
            ValueTooLarge: more than 1 GiB.
        """
        blocks = cut(content)
        root = blocks[0].content_id

        def write(books: apsw.Connection) -> int:
            known = books.execute("SELECT 1 FROM content WHERE content_id = ?", (str(root),)).fetchone()
            size = _taken(books) + (len(content) if known is None else 0)
            if known is None and size > self._bytes_max:
                return size  # raising here would undo what others wrote with us
            for block in blocks:
                books.execute(_KEEP, (block.content_id.digest, block.content))
                books.execute(
                    "INSERT OR IGNORE INTO part VALUES (?, ?)", (str(root), block.content_id.digest)
                )
            renewed = "ON CONFLICT DO UPDATE SET stored_at = excluded.stored_at"
            books.execute(
                f"INSERT INTO content (content_id, stored_at) VALUES (?, ?) {renewed}",
                (str(root), int(time.time())),
            )
            return 0

        too_large = await self.run(write)
        if too_large:
            raise StoreFull(
                f"{self._path} would have {too_large} bytes; the limit is {self._bytes_max}.",
                remedy="Raise node.content_store_bytes_max, or set node.content_keep_days.",
            )
        return root

    async def block(self, content_id: ContentId) -> bytes | Absence:
        """A block, which is verified; or why there is none.

        Raises:
            StoreCorrupted: it is not what it was.
        """
        query = "SELECT content FROM block WHERE digest = ?"
        found = await self.run(lambda books: books.execute(query, (content_id.digest,)).fetchone())
        if found is None:
            return Absence.UNKNOWN
        if found[0] is None:
            return Absence.DROPPED
        try:
            return content_id.check(bytes(found[0]))
        except ContentMismatch:
            raise StoreCorrupted(f"Block {content_id} in {self._path} is damaged.") from None

    async def has_room(self, size: int) -> bool:
        """Whether so many bytes more could be kept."""
        return await self.run(lambda books: _taken(books) + size <= self._bytes_max)

    async def unpushed(self) -> list[str]:
        """Ids of what was not pushed yet, oldest first."""
        query = "SELECT content_id FROM content WHERE NOT is_pushed ORDER BY stored_at"
        rows = await self.run(lambda books: books.execute(query).fetchall())
        return [str(content_id) for (content_id,) in rows]

    async def mark_pushed(self, content_id: str) -> None:
        """It is on the IPFS node."""
        change = "UPDATE content SET is_pushed = 1 WHERE content_id = ?"
        await self.run(lambda books: books.execute(change, (content_id,)).fetchall())

    async def drop_before(self, moment: float) -> int:
        """Drop what was kept last before ``moment``, in seconds since 1970; how many contents."""

        def write(books: apsw.Connection) -> int:
            old = books.execute(
                "DELETE FROM content WHERE stored_at < ? RETURNING content_id", (int(moment),)
            ).fetchall()
            books.executemany("DELETE FROM part WHERE content_id = ?", old).fetchall()
            books.execute(
                "UPDATE block SET content = NULL "
                "WHERE content IS NOT NULL AND digest NOT IN (SELECT digest FROM part)"
            )
            return len(old)

        return await self.run(write)


def _taken(books: apsw.Connection) -> int:
    pages, free, page_bytes = (int(books.execute(query).get) for query in _TAKEN)
    return (pages - free) * page_bytes
