"""Answers by content id: kept, served to whoever asks, pushed to an IPFS node (spec A15)."""

from __future__ import annotations

from prepaid.chain.node.content.contents import Contents
from prepaid.chain.node.content.gateway import ContentGateway
from prepaid.chain.node.content.pushing import Pushing
from prepaid.chain.node.content.store import ContentStore

__all__ = ["ContentGateway", "ContentStore", "Contents", "Pushing"]
