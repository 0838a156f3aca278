"""``AiContract``: the AI contract in Python, verb for verb (spec A on chain)."""

from __future__ import annotations

from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak

from prepaid.chain.ai.answers import typed_message
from prepaid.chain.ai.registry import Registry
from prepaid.chain.artefacts import artefact
from prepaid.chain.connection import Chain
from prepaid.chain.contracts import Contract
from prepaid.chain.sending import Policy, Sender
from prepaid.chain.tokens import Token
from prepaid.chain.values import Answer, ResponseStatus
from prepaid.chain.wallets import Wallet
from prepaid.errors import ChainMismatch, ContractReverted

__all__ = ["AiContract"]

_KNOWN = "version 1 of the AI contract"


class AiContract(Registry):
    """The AI contract, in the hands of one wallet, or for reading only. ``AiContract.at`` opens it.

    Amounts are base units as ``int``, or whole units as ``Decimal`` or text ("10 USDT"). Any number of tasks
    may use it at once.
    """

    @classmethod
    async def at(
        cls, chain: Chain, address: str, wallet: Wallet | None = None, policy: Policy | None = None
    ) -> AiContract:
        """The contract at an address, which must be one, of the version that this package knows.

        Raises:
            ChainMismatch: it is something else.
        """
        await chain.require_code(address, _KNOWN)
        sender = None if wallet is None else Sender(chain, wallet, policy)
        contract = Contract(chain, artefact("dtn_ai"), address, sender)
        if not await _signs_alike(contract):
            raise ChainMismatch(f"What is at {address}", _KNOWN, "another contract")
        return cls(contract, await Token.at(chain, await contract.call("feeToken"), sender))


async def _signs_alike(contract: Contract) -> bool:
    """Whether the contract and we mean the same by a signed answer: only ours, of this version, does."""
    nothing = Answer(ResponseStatus.PENDING)
    status, message, response = nothing.words()
    told = {"requestId": bytes(32), "status": status, "message": message, "response": response}
    signable = encode_typed_data(full_message=typed_message(contract, "Answer", told))
    ours = keccak(b"\x19" + signable.version + signable.header + signable.body)
    try:
        return bool(await contract.call("answerDigest", bytes(32), nothing.words()) == ours)
    except (ChainMismatch, ContractReverted):
        return False
