"""Content by its id, as IPFS names it: made into blocks, fetched, and verified (spec A15).

``decode_content_id`` reads the id in a response, and ``fetch_content`` gets what it names.
"""

from __future__ import annotations

from prepaid.chain.content.fetching import decode_content_id, encode_content_id, fetch_content
from prepaid.chain.content.ids import ContentId
from prepaid.chain.content.tree import Block, content_id_of

__all__ = [
    "Block",
    "ContentId",
    "content_id_of",
    "decode_content_id",
    "encode_content_id",
    "fetch_content",
]
