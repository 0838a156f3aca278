"""Logs of many blocks, from endpoints that each allow another range at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

from web3.exceptions import Web3RPCError

from prepaid.chain.connection import Chain
from prepaid.errors import ChainError, ChainUnreachable

__all__ = ["Logs"]

_BLOCKS_AT_FIRST: Final = 1_000
_BLOCKS_MAX: Final = 10_000


class Logs:
    """Logs of a range of blocks, in pieces that the endpoint allows: its limit is found out."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._blocks = _BLOCKS_AT_FIRST

    async def between(
        self, address: str, topics: Sequence[Any], first: int, last: int
    ) -> AsyncGenerator[tuple[list[Any], int]]:
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
                found = list(await self._chain.w3.eth.get_logs(query))
            except Web3RPCError as error:
                if until == first:
                    raise ChainError(
                        f"The endpoint gives no logs of block {first}: {str(error)[:200]}.",
                        remedy="Use an endpoint that keeps the logs of this block.",
                    ) from error
                self._blocks = max((until - first + 1) // 2, 1)
                continue
            except ChainUnreachable:
                self._blocks = max(self._blocks // 2, 1)
                raise
            self._blocks = min(self._blocks + self._blocks // 2 + 1, _BLOCKS_MAX)
            yield found, until
            first = until + 1
