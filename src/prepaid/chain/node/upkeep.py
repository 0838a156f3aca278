"""What a node does besides answering: takes out its earnings, ends what others left, forgets the old."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from prepaid.chain.ai import AiContract
from prepaid.chain.node.journal import Page, State
from prepaid.config import NodeSettings
from prepaid.errors import ContractReverted, PrepaidError, RequestNotFound

__all__ = ["Upkeep"]

_BLOCKS_KEPT: Final = 100_000
"""For whoever looks into the journal; that no request is answered twice takes a few."""

_logger = logging.getLogger("prepaid.node")


class Upkeep:
    """One node's, on one contract."""

    def __init__(self, ai: AiContract, node: str, page: Page, settings: NodeSettings) -> None:
        self._ai = ai
        self._node = node
        self._page = page
        self._settings = settings

    async def run(self) -> None:
        """Again and again, for ever."""
        while True:
            for work in (self.withdraw, self.expire, self.forget):
                try:
                    await work()
                except PrepaidError as error:
                    _logger.warning("upkeep failed", extra={"kind": error.code, "error": error.what})
            await asyncio.sleep(self._settings.upkeep_seconds)

    async def withdraw(self) -> None:
        """Have the earnings paid, if there are enough."""
        least = self._settings.withdraw_above
        if least is None or await self._ai.earned(self._node) <= least:
            return
        paid = await self._ai.withdraw(self._node, self._settings.withdraw_to)
        _logger.info("withdrew", extra={"node": self._node, "base_units": paid})

    async def expire(self) -> None:
        """End requests that nobody answered in time, so that their owners have their money (spec A17)."""
        if not self._settings.expires_others:
            return
        now = await self._ai.contract.chain.time()
        for request_id in await self._page.left():
            request = (await self._page.entry(request_id)).request
            if request.terms.deadline >= now:
                continue
            try:
                await self._ai.expire(request.encoded_terms)
                _logger.info("expired", extra={"request_id": request_id})
            except (ContractReverted, RequestNotFound):
                pass  # somebody answered it, or did this before
            await self._page.move(request_id, State.OVER, "its deadline has passed")

    async def forget(self) -> None:
        """Drop what ended long ago."""
        next_block = await self._page.next_block()
        if next_block is not None:
            await self._page.forget(next_block - _BLOCKS_KEPT)
