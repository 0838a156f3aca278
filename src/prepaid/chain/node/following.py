"""Reading a contract's requests from the chain: every one, once, however often blocks change or RPCs fail.

A block is read when enough others have it beneath them, and the last few are read again each time: what a
deep reorganisation, or an endpoint that was behind, had hidden, is found then. Knowing a request already is
the journal's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from prepaid.chain.ai import AiContract, Request
from prepaid.chain.ai.requests import request_of
from prepaid.chain.connection import Chain
from prepaid.chain.logs import Logs
from prepaid.chain.node.journal import Page, State
from prepaid.chain.socket import SocketRpc
from prepaid.chain.wire import Log
from prepaid.errors import ChainUnreachable

__all__ = ["BLOCKS_AGAIN", "Follower", "Heads"]

BLOCKS_AGAIN: Final = 16
"""Blocks that are read again whenever the chain has moved."""

_UNSUBSCRIBED_SECONDS: Final = 5.0
_POLLS_PER_NOTICE: Final = 20
"""A subscription that stays silent is not believed for ever."""

_logger = logging.getLogger("prepaid.node")


class Heads:
    """Waits until the chain moves: told by a subscription over WebSocket, else by asking again and again."""

    def __init__(self, chain: Chain, poll_seconds: float) -> None:
        self._chain = chain
        self._poll_seconds = poll_seconds
        self._moved = asyncio.Event()
        self._is_subscribed = False

    async def listen(self) -> None:
        """Keep a subscription where there can be one; for ever. Whoever waits polls while there is none."""
        provider = self._chain.provider
        while isinstance(provider, SocketRpc):
            with contextlib.suppress(ChainUnreachable):
                async with aclosing(provider.subscribe("newHeads")) as notices:
                    self._is_subscribed = True
                    async for _ in notices:
                        self._moved.set()
            self._is_subscribed = False
            self._moved.set()  # something may have been missed
            await asyncio.sleep(_UNSUBSCRIBED_SECONDS)

    async def wait(self) -> None:
        """Until there may be a new block."""
        seconds = self._poll_seconds * (_POLLS_PER_NOTICE if self._is_subscribed else 1)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._moved.wait()
        self._moved.clear()


class Follower:
    """Reads one contract's requests into the journal.

    ``confirmations`` blocks must have a request, its own included. The very first time, it looks
    ``lookback_blocks`` back.
    """

    def __init__(self, ai: AiContract, page: Page, confirmations: int, lookback_blocks: int) -> None:
        self._ai = ai
        self._page = page
        self._confirmations = confirmations
        self._lookback_blocks = lookback_blocks
        self._logs = Logs(ai.contract.chain)
        self._seen_head: str | None = None
        self._read: dict[tuple[str, int], int] = {}
        """Logs of the last few blocks, which are read again: by block and place; their blocks' numbers."""

    async def news(self) -> AsyncGenerator[list[tuple[str, State]]]:
        """Requests to work on, up to what is confirmed now, in pieces that are remembered by then.

        Raises:
            ChainUnreachable, ChainError: it goes on from where it was the next time.
        """
        head = await self._ai.contract.chain.newest()
        if head.hash == self._seen_head:
            return
        safe = head.number - self._confirmations + 1
        first = await self._begin(safe)
        topics = [self._ai.contract.topic("RequestMade")]
        async with aclosing(self._logs.between(self._ai.address, topics, first, safe)) as pieces:
            async for logs, until in pieces:
                fresh = await self._fresh(logs)
                news = await self._page.read_on(self._requests(fresh), until + 1)
                self._keep(fresh, until + 1 - BLOCKS_AGAIN)
                yield news
        self._seen_head = head.hash

    async def _begin(self, safe: int) -> int:
        next_block = await self._page.next_block()
        back = self._lookback_blocks if next_block is None else BLOCKS_AGAIN
        return max(min(safe if next_block is None else next_block, safe + 1) - back, 0)

    async def _fresh(self, logs: Sequence[Log]) -> list[Log]:
        """Those that were not read before, or tell of requests that were gone since."""
        if all((log["blockHash"], log["logIndex"]) not in self._read for log in logs):
            return list(logs)
        gone = await self._page.gone()
        return [
            log
            for log in logs
            if (log["blockHash"], log["logIndex"]) not in self._read or log["topics"][1] in gone
        ]

    def _keep(self, logs: Sequence[Log], first: int) -> None:
        """Know these again, and no block before ``first``."""
        self._read |= {(log["blockHash"], log["logIndex"]): log["blockNumber"] for log in logs}
        self._read = {place: number for place, number in self._read.items() if number >= first}

    def _requests(self, logs: Sequence[Log]) -> list[Request]:
        """What the logs tell; one that cannot be read is left to others, who may be newer."""
        found = []
        for log in logs:
            try:
                told = self._ai.contract.decode("RequestMade", log)
                found.append(request_of(told, log["blockNumber"], log["transactionHash"]))
            except Exception:  # noqa: BLE001 -- by what is wrong, a log fails in many ways
                _logger.warning("unreadable request", extra={"block": log.get("blockNumber")})
        return found
