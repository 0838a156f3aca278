"""A file's blocks in the store, in order, each once: what a CAR of it holds."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from prepaid.chain.content.archive import archive_header, archive_section
from prepaid.chain.content.tree import Block, Branch
from prepaid.chain.node.content.store import ContentStore
from prepaid.errors import StoreCorrupted

__all__ = ["archive", "archived"]


async def archive(store: ContentStore, root: Block, *, is_whole: bool = True) -> AsyncGenerator[bytes]:
    """The CAR of a file, piece by piece; of its root alone, unless ``is_whole``.

    Raises:
        StoreCorrupted: a block is missing or damaged; the CAR breaks off.
    """
    yield archive_header(root.content_id)
    yield archive_section(root.content_id, root.content)
    if root.content_id.codec == "raw" or not is_whole:
        return
    for link in dict.fromkeys(Branch.read(root.content).links):  # our trees have one level
        found = await store.block(link)
        if not isinstance(found, bytes):
            raise StoreCorrupted(f"Block {link} of {root.content_id} is missing.")
        yield archive_section(link, found)


async def archived(store: ContentStore, root: Block) -> bytes:
    """The CAR of a file, whole."""
    async with aclosing(archive(store, root)) as pieces:
        return b"".join([piece async for piece in pieces])
