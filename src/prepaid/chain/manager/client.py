"""``ManagerContract``: the session manager contract in Python, verb for verb (spec B on chain)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prepaid.chain.ai import AiContract, Request
from prepaid.chain.ai.requests import matched
from prepaid.chain.ai.sessions import checked_id
from prepaid.chain.artefacts import artefact
from prepaid.chain.connection import Chain
from prepaid.chain.contracts import Contract
from prepaid.chain.manager.pool import PooledSessions
from prepaid.chain.sending import Policy, Sender
from prepaid.chain.tokens import Amount
from prepaid.chain.values import BatchRequest, as_id, encode_prompt
from prepaid.chain.wallets import Wallet
from prepaid.errors import PrepaidError

__all__ = ["ManagerContract"]

_BY_PROMPT = "makeAIRequest(string,string,bytes32[],uint256)"
_QUESTION = (
    "(bytes32,(bytes32[],bytes32[],uint32,uint8,uint8),(bytes,bytes,uint8,uint256,uint256,uint256),"
    "(bytes4,bytes4,address),address,uint256,uint256,(uint32,bool))"
)


class ManagerContract(PooledSessions):
    """The session manager, in the hands of one wallet. ``ManagerContract.at`` opens it."""

    @classmethod
    async def at(
        cls, chain: Chain, address: str, wallet: Wallet, policy: Policy | None = None
    ) -> ManagerContract:
        """The session manager at an address, and the AI contract behind it.

        Raises:
            ChainMismatch: it is something else.
        """
        await chain.require_code(address, "the session manager")
        contract = Contract(chain, artefact("session_manager"), address, Sender(chain, wallet, policy))
        return cls(contract, await AiContract.at(chain, await contract.call("ai"), wallet, policy))

    async def make_ai_request(
        self,
        prompt: str,
        model: str,
        routing: Sequence[str],
        *,
        cost_max: Amount | None = None,
        value_wei: int = 0,
    ) -> Request:
        """Ask at the model's price, the session managed (spec B3).

        Args:
            prompt: one line.
            model: its name.
            routing: ids or names of namespaces, of whose nodes any one may answer.
            cost_max: the most that it may cost; by default its price as of now.
            value_wei: ETH that pays for the callback's gas.

        Raises:
            ContractReverted: it costs more than ``cost_max``.
            InsufficientFunds, ModelNotSupported, NoNodesAvailable: as they say.
        """
        if cost_max is None:
            price = await self.ai.model_of(model)
            most = len(encode_prompt(prompt)) * price.fee_per_byte_req + price.total_fee_per_res
        else:
            most = self.token.units(cost_max)
        await self.allow_creation()
        ids = [as_id(name) for name in routing]
        receipt = await self.contract.send(_BY_PROMPT, prompt, model, ids, most, value_wei=value_wei)
        return self.ai.requests_in(receipt)[0]

    async def ask(self, session_id: int, asked: BatchRequest) -> Request:
        """Ask of a session that the wallet owns or has on lease; 0 is ``get_or_create_session``'s.

        Raises:
            LeaseCapReached, LeaseNotFound: the lease does not allow it.
            SessionNotFound, SessionExpired, InsufficientFunds, …: as they say.
        """
        if session_id == 0:
            await self.allow_creation()
        receipt = await self.contract.send(
            f"makeAIRequest(uint256,{_QUESTION})",
            checked_id(session_id),
            asked.words(),
            value_wei=asked.callback_wei,
        )
        return self.ai.requests_in(receipt)[0]

    async def make_ai_requests(
        self, session_id: int, batch: Iterable[BatchRequest]
    ) -> list[Request | PrepaidError]:
        """Ask several questions in one transaction; each is made, or has its error there (spec B13)."""
        if session_id == 0:
            await self.allow_creation()
        listed = list(batch)
        words = (checked_id(session_id), [each.words() for each in listed])
        value_wei = sum(each.callback_wei for each in listed)
        foreseen = await self.contract.call("makeAIRequests", *words, value_wei=value_wei)
        receipt = await self.contract.send("makeAIRequests", *words, value_wei=value_wei)
        return matched(listed, self.ai.requests_in(receipt), [reason for _, reason in foreseen])
