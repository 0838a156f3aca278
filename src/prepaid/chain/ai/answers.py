"""Answering requests, as nodes and relays do: signed, handed in, earned, withdrawn (spec A12, A14)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_utils.crypto import keccak

from prepaid.chain.ai.requests import Requests
from prepaid.chain.connection import as_address
from prepaid.chain.contracts import Contract
from prepaid.chain.values import Answer, as_id

__all__ = ["Answers", "Ballot", "Seal", "typed_message"]

_ONE: Final = "respondToRequest(bytes,bytes32,(uint8,string,bytes))"
_SEALED: Final = "respondToRequest(bytes,(uint8,string,bytes),(bytes32,bytes)[])"
_BALLOTS: Final = "respondToRequest(bytes,bytes[],(bytes32,bytes32,uint256,bytes)[])"
_FIELDS: Final = {
    "Answer": (("requestId", "bytes32"), ("status", "uint8"), ("message", "string"), ("response", "bytes")),
    "Ballot": (("requestId", "bytes32"), ("candidates", "bytes32"), ("preference", "uint256")),
    "EIP712Domain": (
        ("name", "string"),
        ("version", "string"),
        ("chainId", "uint256"),
        ("verifyingContract", "address"),
    ),
}


@dataclass(frozen=True, slots=True)
class Seal:
    """A node's signature of an answer."""

    node_id: str
    signature: bytes

    def words(self) -> tuple[Any, ...]:
        """In the contract's order."""
        return (self.node_id, self.signature)


@dataclass(frozen=True, slots=True)
class Ballot:
    """A node's candidate, by its hash, and its opinion of the others' (SELECT_BEST, RANK), signed."""

    node_id: str
    response_hash: str
    preference: int
    signature: bytes = b""

    def words(self) -> tuple[Any, ...]:
        """In the contract's order."""
        return (self.node_id, self.response_hash, self.preference, self.signature)


class Answers(Requests):
    """The part of ``AiContract`` for those who answer. Nodes are named, or given by their ids."""

    async def respond_to_request(self, encoded_terms: bytes, node: str, answer: Answer) -> None:
        """Answer as one node, of which the wallet is the operator, where one node's word is enough.

        Raises:
            ContractReverted: it was settled before, is past its deadline, does not trust the node, …
            RequestNotFound: it never was, on these terms.
        """
        await self.contract.sender.send(self.response_draft(encoded_terms, node, answer))

    def response_draft(self, encoded_terms: bytes, node: str, answer: Answer) -> dict[str, Any]:
        """The transaction of ``respond_to_request``, for whoever sees it through by themselves."""
        return self.contract.draft(_ONE, encoded_terms, as_id(node), answer.words())

    async def relay_answer(self, encoded_terms: bytes, answer: Answer, seals: Sequence[Seal]) -> None:
        """Hand in one answer that several nodes signed (ANY, ALL, VOTE; a FAILED one of any)."""
        await self.contract.sender.send(self.relay_draft(encoded_terms, answer, seals))

    def relay_draft(self, encoded_terms: bytes, answer: Answer, seals: Sequence[Seal]) -> dict[str, Any]:
        """The transaction of ``relay_answer``, for whoever sees it through by themselves."""
        ordered = sorted(seals, key=lambda seal: int(seal.node_id, 16))
        return self.contract.draft(_SEALED, encoded_terms, answer.words(), [seal.words() for seal in ordered])

    async def relay_ballots(
        self, encoded_terms: bytes, responses: Sequence[bytes], ballots: Sequence[Ballot]
    ) -> None:
        """Hand in ballots of all nodes, in ascending order of their ids, with what they voted on."""
        words = [ballot.words() for ballot in ballots]
        await self.contract.send(_BALLOTS, encoded_terms, list(responses), words)

    async def seal(self, request_id: str, node: str, answer: Answer) -> Seal:
        """Sign an answer as a node, of which the wallet is the operator.

        Raises:
            WalletUnusable: the wallet cannot, or will not.
        """
        status, message, response = answer.words()
        told = {"requestId": _bytes(request_id), "status": status, "message": message, "response": response}
        return Seal(as_id(node), await self._signed("Answer", told))

    async def ballot(
        self, request_id: str, candidates: Sequence[tuple[str, str]], node: str, preference: int
    ) -> Ballot:
        """Sign an opinion of ``candidates``: (node id, hash of its response), in order of the ids."""
        node_id = as_id(node)
        packed = b"".join(_bytes(each) + _bytes(response_hash) for each, response_hash in candidates)
        told = {"requestId": _bytes(request_id), "candidates": keccak(packed), "preference": preference}
        signature = await self._signed("Ballot", told)
        return Ballot(node_id, dict(candidates)[node_id], preference, signature)

    async def earned(self, node: str) -> int:
        """What a node has earned and not withdrawn, in base units."""
        return int(await self.contract.call("earned", as_id(node)))

    async def withdraw(self, node: str, to: str | None = None) -> int:
        """Have a node's earnings paid to ``to``, or to the wallet, which operates it; what was paid.

        Raises:
            ContractReverted: it has earned nothing, or the wallet does not operate it.
        """
        target = as_address(to or self.contract.caller)
        receipt = await self.contract.send("withdraw", as_id(node), target)
        return int(self.contract.events(receipt, "EarningsWithdrawn")[0]["amount"])

    async def _signed(self, name: str, message: dict[str, Any]) -> bytes:
        return await self.contract.sender.wallet.sign_typed_data(typed_message(self.contract, name, message))


def typed_message(contract: Contract, name: str, message: dict[str, Any]) -> dict[str, Any]:
    """An ``Answer`` or ``Ballot`` as nodes sign it (EIP-712): for one contract on one chain."""
    domain = {
        "name": "DtnAi",
        "version": "1",
        "chainId": contract.chain.chain_id,
        "verifyingContract": contract.address,
    }
    types = {
        each: [{"name": field, "type": kind} for field, kind in _FIELDS[each]]
        for each in ("EIP712Domain", name)
    }
    return {"types": types, "primaryType": name, "domain": domain, "message": message}


def _bytes(hexadecimal: str) -> bytes:
    return bytes.fromhex(hexadecimal.removeprefix("0x"))
