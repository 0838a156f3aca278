"""Whether a request is worth answering: ours, in time, allowed by the contract, and paid well enough.

Asked before the model is. The contract itself is the judge of what it would take: an answer as long as may be
is estimated against it, which also says what the transaction will cost.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from eth_utils.crypto import keccak

from prepaid.chain.ai import AiContract, Request
from prepaid.chain.connection import as_address
from prepaid.chain.fees import current_gas_price
from prepaid.chain.node.answering import Answering, fee_max, response_limit
from prepaid.chain.node.gathering import order
from prepaid.chain.values import Answer, ResponseStatus, as_id
from prepaid.config import NodeSettings
from prepaid.errors import ContractReverted, EtherTooLow, InvalidRequestError
from prepaid.routing import Aggregation

__all__ = ["Checking", "Unfit", "Wait"]

_WEI: Final = 10**18
_GAS_SECONDS: Final = 5.0
_COUNT_SECONDS: Final = 10.0
_ONE_ANSWER: Final = (Aggregation.ANY, Aggregation.ALL, Aggregation.VOTE)
_TOO_FEW: Final = "DtnAi_QuorumNotMet"
_GAS_SETTLING: Final = 150_000
_GAS_PER_SEAL: Final = 40_000
_GAS_PER_BYTE: Final = 260
"""With the answer kept on chain; measured, and rounded up (contracts/README.md)."""


@dataclass(frozen=True, slots=True)
class Unfit:
    """Not to be answered by us, for a reason that will not pass."""

    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Other nodes come first; ask again after this."""

    seconds: float


class Checking:
    """Judges requests to one contract for one node."""

    def __init__(self, ai: AiContract, node: str, settings: NodeSettings, answering: Answering) -> None:
        self._ai = ai
        self._node_id = as_id(node)
        self._settings = settings
        self._answering = answering
        self._gas: dict[str, tuple[int, float]] = {}
        self._nodes = 1
        self._counted_until = 0.0

    async def verdict(self, request: Request) -> Unfit | None:
        """Why not, or ``None``.

        Raises:
            RequestNotFound: the chain does not know it, or no longer.
            ContractReverted: the contract would refuse any answer, and says why.
            EtherTooLow, GasPriceTooHigh: not now; the wallet could not send it.
            ChainError: the chain cannot be asked.
        """
        if not self._answering.serves(request):
            return Unfit("another model")
        if not await self._answering.has_room(request):
            return Unfit("the content store is full")
        terms = request.terms
        if terms.aggregation not in _ONE_ANSWER or (terms.quorum > 1 and not self._settings.peers):
            return Unfit(f"{terms.aggregation.name} of {terms.redundancy} takes more than one node")
        block = await self._ai.contract.chain.recent_block()
        if terms.deadline - block.timestamp < self._settings.deadline_margin_seconds:
            return Unfit("its deadline is too near")
        if terms.quorum > 1 and not await self._is_trusted(terms.trusted):
            return Unfit("it does not trust this node")
        gas_wei = await self._rehearsed(request)
        return await self._unpaid(request, gas_wei)

    async def turn(self, request: Request) -> Wait | None:
        """How long to leave the request to other trusted nodes, so that not all do the work of one.

        All nodes that share a request order themselves by a hash of it: no two requests have the same first.
        """
        place = await self._place(request.terms.trusted, request.request_id) // request.terms.redundancy
        return Wait(place * self._settings.turn_seconds) if place else None

    def gas(self, request_id: str) -> int | None:
        """What an answer takes that is a success and ours alone, if the contract has just said so."""
        gas, at = self._gas.get(request_id, (None, 0.0))
        return gas if time.monotonic() - at < _GAS_SECONDS else None

    def forget(self, request_id: str) -> None:
        """The request has ended."""
        self._gas.pop(request_id, None)

    async def _balance(self, address: str) -> int:
        return int(await self._ai.contract.chain.w3.eth.get_balance(as_address(address)))

    async def _place(self, trusted: Sequence[str], request_id: str) -> int:
        if self._node_id in trusted:
            return order(request_id, trusted).index(self._node_id)
        nodes = await self._neighbours()
        return int.from_bytes(keccak(bytes.fromhex(request_id[2:] + self._node_id[2:]))[-8:]) % max(nodes, 1)

    async def _is_trusted(self, trusted: Sequence[str]) -> bool:
        return self._node_id in trusted or (await self._ai.node_of(self._node_id)).namespace_id in trusted

    async def _neighbours(self) -> int:
        """How many nodes our namespace has; it may be told late, since it only says whose turn it is."""
        if time.monotonic() >= self._counted_until:
            self._nodes = await self._ai.contract.chain.shared(f"beside {self._node_id}", self._counted)
            self._counted_until = time.monotonic() + _COUNT_SECONDS
        return self._nodes

    async def _counted(self) -> int:
        namespace_id = (await self._ai.node_of(self._node_id)).namespace_id
        found = None if namespace_id is None else await self._ai.namespace_of(namespace_id)
        return 1 if found is None else found.nodes

    async def _rehearsed(self, request: Request) -> int:
        """What the longest answer's transaction costs in wei, if the contract would take it."""
        chain, sender = self._ai.contract.chain, self._ai.contract.sender
        longest = Answer(ResponseStatus.SUCCESS, "", b"\xff" * response_limit(request))
        draft = self._ai.response_draft(request.encoded_terms, self._node_id, longest)
        try:
            gas = await sender.gas_of(draft)
            self._gas[request.request_id] = (gas, time.monotonic())
        except ContractReverted as refused:
            if request.terms.quorum == 1 or refused.reason != _TOO_FEW:
                raise
            gas = _gas_with_seals(request)  # all that it minds is that we are alone
        price = await current_gas_price(chain, sender.policy.gas_price_max_wei)
        balance = await chain.shared("balance", lambda: self._balance(sender.wallet.address))
        if balance < gas * price.max_wei:
            raise EtherTooLow(sender.wallet.address, gas * price.max_wei, balance)
        return gas * (price.max_wei + price.tip_wei) // 2  # about the base fee and the tip

    async def _unpaid(self, request: Request, gas_wei: int) -> Unfit | None:
        """What makes it a loss, counted with the longest answer, in base units of the fee token."""
        terms = request.terms
        try:
            quoted = self._answering.quote(await self._answering.question(request)).amount
            fee = fee_max(request)
        except InvalidRequestError:  # it is answered FAILED, which costs no model and earns no response
            quoted, fee = 0, terms.request_fee
            if terms.redundancy > 1 and not self._settings.peers:
                return Unfit("it cannot be answered, and one node alone cannot say so")
        cost = self._in_token(quoted) + -(-gas_wei * self._settings.ether_price // _WEI)
        if fee - cost < self._settings.minimum_profit:
            return Unfit(f"its fee of {fee} does not pay for {cost} and the profit wanted")
        return None

    def _in_token(self, units: int) -> int:
        """The ledger's base units as the token's, rounded up."""
        ours, theirs = self._answering.asset.decimals, self._ai.token.currency.decimals
        more: int = 10 ** max(theirs - ours, 0)
        fewer: int = 10 ** max(ours - theirs, 0)
        return -(-units * more // fewer)


def _gas_with_seals(request: Request) -> int:
    """At most what an answer takes that all nodes signed; it cannot be estimated before they did."""
    terms = request.terms
    sealed = _GAS_SETTLING + _GAS_PER_SEAL * terms.redundancy + _GAS_PER_BYTE * response_limit(request)
    return sealed + terms.callback_gas
