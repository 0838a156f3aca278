"""A stored answer on its way to the contract: sent, seen through, and after a crash taken up where it was.

The contract takes one answer to a request, so it is the judge of whether one arrived: whatever goes wrong
with a transaction, the chain is asked before anything is sent again.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from prepaid.chain.ai import AiContract, Request
from prepaid.chain.logs import Logs
from prepaid.chain.node.gathering import Gathering, one_suffices
from prepaid.chain.node.journal import Entry, Page, State
from prepaid.chain.node.kept import Sent
from prepaid.chain.values import Answer, ResponseStatus
from prepaid.chain.watching import Attempt
from prepaid.errors import (
    ChainError,
    ConsensusTimeout,
    ContractReverted,
    PrepaidError,
    RequestNotFound,
    TransactionReorganised,
    TransactionReplaced,
)

__all__ = ["Delivering", "Ended"]

_HOPELESS: Final = {
    "DtnAi_DeadlinePassed": State.EXPIRED,
    "DtnAi_NodeNotTrusted": State.DECLINED,
    "DtnAi_NotOperator": State.DECLINED,
    "DtnAi_QuorumNotMet": State.DECLINED,
    "DtnAi_WrongAggregation": State.DECLINED,
    "DtnAi_AnswerTooLong": State.DECLINED,
}
"""What the contract will say every time."""
_VOID: Final = (ContractReverted, TransactionReorganised, TransactionReplaced)
"""After these, the transaction that was signed will never do it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Where a request ended, and why."""

    state: State
    reason: str = ""


class Delivering:
    """Delivers answers to one contract as one node."""

    def __init__(self, ai: AiContract, node: str, page: Page, gathering: Gathering) -> None:
        self._ai = ai
        self._node = node
        self._page = page
        self._gathering = gathering
        self._logs = Logs(ai.contract.chain)

    async def deliver(self, entry: Entry, gas: int | None = None) -> Ended:
        """Have the answer confirmed, or find out what became of the request.

        ``gas`` is what a success of ours alone takes at most, where that was just estimated.

        Raises:
            ChainError, ConsensusTimeout: neither is known now; try again, nothing is sent twice.
        """
        try:
            await self._see_through(entry, gas)
        except (ChainError, ConsensusTimeout, RequestNotFound) as error:
            ended = await self.end_after(entry.request, error, entry.answer)
            if ended is None:
                if isinstance(error, _VOID):
                    await self._page.drop_sent(entry.request.request_id)
                raise
        else:
            ended = Ended(State.CONFIRMED)
        self._gathering.forget(entry.request.request_id)
        return ended

    async def end_after(
        self, request: Request, error: PrepaidError, answer: Answer | None = None
    ) -> Ended | None:
        """Where the request ended, after the chain said ``error``; ``None`` if it may be answered yet.

        Raises:
            ChainError: the chain cannot be asked, or what it says is too new to be relied on.
        """
        if isinstance(error, ContractReverted) and error.reason in _HOPELESS:
            return Ended(_HOPELESS[error.reason], error.what)
        try:
            status = (await self._ai.fetch_response(request.request_id)).status
        except RequestNotFound:  # it ended, and its place is in use again; or it never was
            status = None
        if status is ResponseStatus.PENDING:
            is_late = await self._ai.contract.chain.time() > request.terms.deadline
            return Ended(State.EXPIRED, "its deadline passed") if is_late else None
        return await self._settled(request, answer)

    async def _see_through(self, entry: Entry, gas: int | None) -> None:
        request, sender = entry.request, self._ai.contract.sender
        assert entry.answer is not None, "only what is answered is delivered"

        async def record(draft: Mapping[str, Any], attempt: Attempt) -> None:
            await self._page.keep_sent(request.request_id, Sent(dict(draft), attempt))

        if entry.sent is not None:
            await sender.resume(entry.sent.draft, entry.sent.attempt, record)
            return
        is_estimated = entry.answer.status is ResponseStatus.SUCCESS and one_suffices(request, entry.answer)
        draft = await self._draft(request, entry.answer)
        await sender.send(draft, record, gas=gas if is_estimated else None)

    async def _draft(self, request: Request, answer: Answer) -> dict[str, Any]:
        if one_suffices(request, answer):
            return self._ai.response_draft(request.encoded_terms, self._node, answer)
        seals = await self._gathering.seals(request, answer)
        return self._ai.relay_draft(request.encoded_terms, answer, seals)

    async def _settled(self, request: Request, answer: Answer | None) -> Ended:
        """How the request ended, from the contract's own log."""
        contract = self._ai.contract
        topics = [
            [contract.topic("ResponseDelivered"), contract.topic("RequestExpired")],
            request.request_id,
        ]
        head = await contract.chain.head()
        pieces = self._logs.between(self._ai.address, topics, request.block_number, head)
        async with aclosing(pieces) as found:
            async for logs, _ in found:
                for log in logs:
                    self._require_deep(head - log["blockNumber"] + 1)
                    return self._told(log, answer)
        return Ended(State.GONE, "the chain does not know it")

    def _told(self, log: Any, answer: Answer | None) -> Ended:
        contract = self._ai.contract
        if log["topics"][0] == contract.topic("RequestExpired"):
            return Ended(State.EXPIRED, "it expired")
        told = contract.decode("ResponseDelivered", log)
        given = (told["status"], told["message"], told["response"])
        if answer is not None and given == answer.words():
            return Ended(State.CONFIRMED)
        return Ended(State.LOST, "another node answered")

    def _require_deep(self, blocks: int) -> None:
        """See that what the chain says will stay so."""
        confirmations = self._ai.contract.sender.policy.confirmations
        if blocks < confirmations:
            raise ChainError(
                f"The answer is in {blocks} of {confirmations} blocks.", remedy="Wait for the others."
            )
