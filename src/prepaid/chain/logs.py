"""Logs of many blocks, from endpoints that each allow another range at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

from web3.types import RPCEndpoint

from prepaid.chain.connection import Chain
from prepaid.chain.wire import Log, read_log
from prepaid.errors import ChainError, ChainUnreachable

__all__ = ["Logs"]

_GET_LOGS: Final = RPCEndpoint("eth_getLogs")
_BLOCKS_AT_FIRST: Final = 1_000
_BLOCKS_MAX: Final = 10_000


class Logs:
    """Logs of a range of blocks, in pieces that the endpoint allows: its limit is found out."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._blocks = _BLOCKS_AT_FIRST

    async def between(
        self, address: str, topics: Sequence[Any], first: int, last: int
    ) -> AsyncGenerator[tuple[list[Log], int]]:
        """The logs of ``first`` to ``last``, piece by piece, each with the last block of the piece.

        Raises:
            ChainUnreachable: no answer; ask for less the next time.
            ChainError: the endpoint refuses even single blocks.
        """
        while first <= last:
            until = min(first + self._blocks - 1, last)
            query: Any = {
                "address": address,
                "topics": list(topics),
                "fromBlock": hex(first),
                "toBlock": hex(until),
            }
            try:
                answer = await self._chain.provider.make_request(_GET_LOGS, [query])
            except ChainUnreachable:
                self._blocks = max(self._blocks // 2, 1)
                raise
            if "result" not in answer:
                if until == first:
                    raise ChainError(
                        f"The endpoint gives no logs of block {first}: {str(answer.get('error'))[:200]}.",
                        remedy="Use an endpoint that keeps the logs of this block.",
                    )
                self._blocks = max((until - first + 1) // 2, 1)
                continue
            self._blocks = min(self._blocks + self._blocks // 2 + 1, _BLOCKS_MAX)
            yield [read_log(each) for each in answer["result"] or ()], until
            first = until + 1
