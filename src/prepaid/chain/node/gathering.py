"""Answers that several nodes must sign: the seals gathered, and who hands them in (spec A12)."""

from __future__ import annotations

import time
from collections.abc import Sequence

from eth_utils.crypto import keccak

from prepaid.chain.ai import AiContract, Request, Seal
from prepaid.chain.node.exchange import Peers
from prepaid.chain.values import Answer, ResponseStatus, as_id
from prepaid.config import NodeSettings
from prepaid.errors import ConsensusTimeout

__all__ = ["Gathering", "one_suffices", "order"]


class Gathering:
    """Makes the transaction of an answer that needs several nodes' word."""

    def __init__(self, ai: AiContract, node: str, settings: NodeSettings) -> None:
        self._ai = ai
        self._node = node
        self._turn_seconds = settings.turn_seconds
        self._peers = Peers(ai, settings.peers)
        self._complete_since: dict[str, float] = {}

    async def seals(self, request: Request, answer: Answer) -> list[Seal]:
        """The seals of as many nodes as must sign, ours among them.

        Raises:
            ConsensusTimeout: too few have signed this answer yet, or it is another node's turn to hand it in.
        """
        own = await self._ai.seal(request.request_id, self._node, answer)
        theirs = await self._peers.seals(request.request_id, answer, request.terms.trusted)
        others = [seal for seal in theirs if seal.node_id != own.node_id]
        found = [own, *others[: request.terms.redundancy - 1]]
        needed = _needed(request, answer)
        if len(found) < needed:
            raise ConsensusTimeout(f"{len(found)} of {needed} nodes have signed the answer.")
        self._await_turn(request.request_id, [seal.node_id for seal in found])
        return found

    def forget(self, request_id: str) -> None:
        """The request has ended."""
        self._complete_since.pop(request_id, None)

    def _await_turn(self, request_id: str, signers: Sequence[str]) -> None:
        """All have the same seals; one after another they may hand them in, until one has."""
        since = self._complete_since.setdefault(request_id, time.monotonic())
        place = order(request_id, signers).index(as_id(self._node))
        if time.monotonic() - since < place * self._turn_seconds:
            raise ConsensusTimeout("Another node hands in the answer.")


def one_suffices(request: Request, answer: Answer) -> bool:
    """Whether our word alone is enough for this answer."""
    return _needed(request, answer) == 1


def order(request_id: str, node_ids: Sequence[str]) -> list[str]:
    """Whose turn it is first: drawn by a hash, for each request anew."""
    return sorted(node_ids, key=lambda node_id: keccak(bytes.fromhex(request_id[2:] + node_id[2:])))


def _needed(request: Request, answer: Answer) -> int:
    """How many must sign: for a refusal, most of them."""
    terms = request.terms
    return terms.quorum if answer.status is ResponseStatus.SUCCESS else terms.redundancy // 2 + 1
