"""Transactions: estimated, signed and sent through the ``outbox``; ``watching`` sees them through.

Whatever a contract would refuse is refused by the estimate, before anything is sent or paid.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from eth_utils.crypto import keccak
from hexbytes import HexBytes
from web3.exceptions import TransactionNotFound, Web3RPCError
from web3.types import RPCEndpoint

from prepaid.chain.connection import Chain
from prepaid.chain.fees import GasPrice
from prepaid.chain.outbox import Outbox, outbox_of
from prepaid.chain.refusals import refusals_as_ours
from prepaid.chain.refused import is_known, is_poor, message_of
from prepaid.chain.wallets import Wallet
from prepaid.chain.watching import Attempt, Recorder, Watch
from prepaid.chain.wire import Receipt
from prepaid.errors import ChainError, EtherTooLow

__all__ = ["Policy", "Sender"]

_SEND: Final = RPCEndpoint("eth_sendRawTransaction")
_APART: Final = 65_536


@dataclass(frozen=True, slots=True)
class Policy:
    """How transactions are seen through.

    ``confirmations``: blocks that must have it, its own included; more are safer against a chain that takes
    blocks back. ``bump_after_seconds``: when one that is in no block is replaced by one that pays more.
    ``gas_price_max_wei``: the most a unit of gas may cost.
    """

    confirmations: int = 1
    timeout_seconds: float = 600.0
    bump_after_seconds: float = 30.0
    gas_price_max_wei: int | None = None


class Sender:
    """Sends in one wallet's name; any number of tasks may use it at once."""

    def __init__(self, chain: Chain, wallet: Wallet, policy: Policy | None = None) -> None:
        self.chain = chain
        self.wallet = wallet
        self.policy = policy or Policy()

    @property
    def outbox(self) -> Outbox:
        """Where this wallet's transactions leave, whoever of this process sends them."""
        return outbox_of(self.chain, self.wallet.address)

    async def send(
        self, call: Mapping[str, Any], record: Recorder | None = None, *, gas: int | None = None
    ) -> Receipt:
        """Send ``call`` (``to``, ``data``, ``value``) and wait until it is confirmed; its receipt.

        ``record`` is awaited with what is signed before it is sent, for ``resume`` after a crash. ``gas`` is
        what it takes, where that was estimated a moment ago.

        Raises:
            PrepaidError: what the contract refused, decoded (``refusals``).
            EtherTooLow, GasPriceTooHigh, WalletUnusable: nothing was sent.
            TransactionReplaced, TransactionReorganised, TransactionUnconfirmed, ChainUnreachable: see these.
        """
        draft = await self._estimated(call, gas)
        lane = self.chain.lane(self.wallet.address)
        attempt = await self.outbox.send(self, draft, record)
        try:
            return await Watch(self, draft, attempt, record).until_confirmed()
        finally:
            lane.done(attempt.nonce)

    async def resume(
        self, draft: Mapping[str, Any], attempt: Attempt, record: Recorder | None = None
    ) -> Receipt:
        """See a transaction through that was recorded, and perhaps sent, before a crash; as ``send``."""
        lane = self.chain.lane(self.wallet.address)
        lane.sent(attempt.nonce)
        try:
            return await Watch(self, draft, attempt, record).until_confirmed()
        finally:
            lane.done(attempt.nonce)

    async def signed(self, draft: Mapping[str, Any], nonce: int, price: GasPrice) -> Attempt:
        """The transaction under this number at this price, signed.

        Raises:
            WalletUnusable: the wallet cannot, or will not.
        """
        transaction = {
            **{name: value for name, value in draft.items() if name != "from"},
            **price.fields(),
            "nonce": nonce,
            "chainId": self.chain.chain_id,
            "type": 2,
        }
        raw = await self.wallet.sign_transaction(transaction)
        return Attempt(f"0x{keccak(raw).hex()}", raw, nonce, price)

    async def push(self, attempt: Attempt) -> None:
        """Hand a signed transaction to the chain, again if need be.

        Raises:
            Web3RPCError: the node refused it, and it has not got it.
        """
        answer = await self.chain.provider.make_request(_SEND, [f"0x{attempt.raw.hex()}"])
        if "result" in answer:
            return
        error = Web3RPCError(str(answer.get("error"))[:300], rpc_response=answer)
        if not is_known(error) and not await self.is_known(attempt):
            raise error

    async def is_known(self, attempt: Attempt) -> bool:
        """Whether the chain has it, in a block or waiting."""
        try:
            await self.chain.w3.eth.get_transaction(HexBytes(attempt.tx_hash))
        except TransactionNotFound:
            return False
        return True

    async def gas_of(self, call: Mapping[str, Any]) -> int:
        """What ``call`` takes, by the newest state.

        Raises:
            PrepaidError: the contract would refuse it; decoded (``refusals``).
            EtherTooLow: the wallet could not pay for it.
        """
        draft: dict[str, Any] = {"value": 0, **call, "from": self.wallet.address}
        told = {name: hex(each) if isinstance(each, int) else each for name, each in draft.items()}
        gas = await self.chain.quantity("eth_estimateGas", told)
        if gas is not None:
            return gas
        with refusals_as_ours():
            try:
                return await self.chain.w3.eth.estimate_gas(draft)  # type: ignore[arg-type]
            except Web3RPCError as error:
                raise await self.as_ours(error, draft) from None

    async def _estimated(self, call: Mapping[str, Any], gas: int | None) -> dict[str, Any]:
        if gas is None:
            gas = await self.gas_of(call)
        draft: dict[str, Any] = {"value": 0, **call, "from": self.wallet.address}
        # More, because others may come before it and make its way longer, by a fresh slot for example. And
        # never the same: two programs that send the same at once must not take one transaction for both.
        return draft | {"gas": gas + gas // 4 + 20_000 + secrets.randbelow(_APART)}

    async def as_ours(self, error: Web3RPCError, draft: Mapping[str, Any]) -> Exception:
        """Why a node refused a transaction for good."""
        if not is_poor(error):
            return ChainError(
                f"The node refused the transaction: {message_of(error)}.",
                remedy="Check the endpoint's limits.",
            )
        balance = await self.chain.w3.eth.get_balance(draft["from"])
        needed = draft.get("gas", 0) * draft.get("maxFeePerGas", 0) + draft["value"]
        return EtherTooLow(draft["from"], max(needed, 1), balance)
