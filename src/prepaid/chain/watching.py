"""A transaction that is out, until it is confirmed, refused, replaced, taken back, or out of time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from web3.exceptions import Web3RPCError

from prepaid.chain.fees import GasPrice, current_gas_price, raised
from prepaid.chain.refusals import refusals_as_ours
from prepaid.chain.wire import Block, Receipt
from prepaid.errors import (
    ChainUnreachable,
    ContractReverted,
    GasPriceTooHigh,
    TransactionReorganised,
    TransactionReplaced,
    TransactionUnconfirmed,
    WalletUnusable,
)

if TYPE_CHECKING:
    from prepaid.chain.sending import Sender

__all__ = ["Attempt", "Recorder", "Watch"]

_STRIKES: Final = 3
"""How often the number must be seen taken while no receipt is found: nodes behind one endpoint may differ."""
_OUT_OF_GAS_PERCENT: Final = 98
_PAUSE_SECONDS: Final = 0.1
"""Between two tries to bump what could not be bumped."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A signed transaction; a bumped one is another with the same number."""

    tx_hash: str
    raw: bytes
    nonce: int
    price: GasPrice


Recorder = Callable[[Mapping[str, Any], Attempt], Awaitable[None]]
"""Awaited with a transaction's draft and its signed form before that is sent."""


class Watch:
    """``until_confirmed`` once; ``draft`` is what to sign again when it must pay more."""

    def __init__(
        self, sender: Sender, draft: Mapping[str, Any], attempt: Attempt, record: Recorder | None = None
    ) -> None:
        self._record = record
        self._sender = sender
        self._chain = sender.chain
        self._draft = draft
        self._attempts = [attempt]
        self._sent_at = time.monotonic()
        self._deadline = self._sent_at + sender.policy.timeout_seconds
        self._mined_in: int | None = None
        self._was_taken_back = False
        self._looked_at: str | None = None
        self._strikes = 0

    async def until_confirmed(self) -> Receipt:
        """The receipt, once as many blocks have it as the policy says.

        Raises:
            PrepaidError: it was refused in its block; what the contract said, where that can be found out.
            TransactionReplaced, TransactionReorganised, TransactionUnconfirmed, ChainUnreachable.
        """
        silence: ChainUnreachable | None = None
        newest: Block | None = None
        while True:
            try:
                newest = await self._newest_after(newest, is_soon=silence is not None or self._strikes > 0)
                receipt = await self._look(newest)
                if receipt is not None:
                    return await self._judged(receipt)
                silence = None
            except ChainUnreachable as error:
                silence = error
            if time.monotonic() >= self._deadline:
                raise self._out_of_time(silence)

    async def _newest_after(self, looked_at: Block | None, *, is_soon: bool) -> Block:
        """The newest block: ``is_soon``, or when there is another, or when it is time to do something."""
        if looked_at is None:
            return await self._chain.recent_block()
        if is_soon:
            return await self._chain.next_block()
        until = min(self._sent_at + self._sender.policy.bump_after_seconds, self._deadline)
        seconds = max(until - time.monotonic(), _PAUSE_SECONDS)
        return await self._chain.block_after(looked_at.hash, seconds) or looked_at

    async def _look(self, newest: Block) -> Receipt | None:
        """The receipt, if it is confirmed; else do what helps. While no block comes, there is nothing new."""
        is_stuck = time.monotonic() - self._sent_at >= self._sender.policy.bump_after_seconds
        if newest.hash == self._looked_at and not is_stuck and not self._strikes:
            return None
        used = await self._counted("latest")
        is_used = used > self._attempts[-1].nonce
        receipt = await self._receipt() if is_used else None
        self._was_taken_back = receipt is None and self._mined_in is not None
        if receipt is not None:
            self._mined_in, self._strikes = receipt["blockNumber"], 0
            deep = newest.number - receipt["blockNumber"] + 1
            if max(deep, 1) >= self._sender.policy.confirmations:
                return receipt
        else:
            self._strike(is_used=is_used)
            if is_stuck and not self._strikes:
                await self._bump()
            elif not self._strikes and not await self._is_waiting():
                await self._hand_in_again()  # a node forgets, and takes blocks back
        self._looked_at = newest.hash
        return None

    async def _receipt(self) -> Receipt | None:
        for attempt in reversed(self._attempts):
            receipt = await self._chain.receipt(attempt.tx_hash)
            if receipt is not None:
                return receipt
        return None

    def _strike(self, *, is_used: bool) -> None:
        """Count how often the number was used, and not by ours.

        Raises:
            TransactionReplaced: often enough.
        """
        newest = self._attempts[-1]
        self._strikes = self._strikes + 1 if is_used else 0
        if self._strikes >= _STRIKES:
            raise TransactionReplaced(newest.tx_hash, newest.nonce)

    async def _is_waiting(self) -> bool:
        """Whether the pool has a transaction with this number."""
        return await self._counted("pending") > self._attempts[-1].nonce

    async def _counted(self, block: Literal["latest", "pending"]) -> int:
        """The wallet's transactions; all that wait with it share the answer."""
        sender = self._draft["from"]
        return await self._chain.fresh(
            f"{block} of {sender}", lambda: self._chain.transactions_of(sender, block)
        )

    async def _bump(self) -> None:
        """Offer more for it; what was offered again, where the limit forbids more or nobody signs."""
        self._sent_at = time.monotonic()
        with contextlib.suppress(GasPriceTooHigh, WalletUnusable):  # it is out, whatever becomes of this
            bumped = await self._more()
            if bumped is not None:
                self._attempts.append(bumped)
        await self._hand_in_again()

    async def _more(self) -> Attempt | None:
        newest, limit = self._attempts[-1], self._sender.policy.gas_price_max_wei
        price = raised(newest.price, await current_gas_price(self._chain, limit), limit)
        if price is None:
            return None
        bumped = await self._sender.signed(self._draft, newest.nonce, price)
        if self._record is not None:
            await self._record(self._draft, bumped)
        return bumped

    async def _hand_in_again(self) -> None:
        try:
            await self._sender.push(self._attempts[-1])
        except Web3RPCError:
            await asyncio.sleep(0)  # why not shows in the number, or in time

    async def _judged(self, receipt: Receipt) -> Receipt:
        """The receipt of a success.

        Raises:
            PrepaidError: it was refused.
        """
        if receipt["status"] == 1:
            return receipt
        if receipt["gasUsed"] * 100 >= self._draft["gas"] * _OUT_OF_GAS_PERCENT:
            raise ContractReverted("out of gas")
        again: Any = {name: value for name, value in self._draft.items() if name != "gas"}
        with refusals_as_ours():
            await self._chain.w3.eth.call(again, receipt["blockNumber"])
        raise ContractReverted("something that has changed since")

    def _out_of_time(self, silence: ChainUnreachable | None) -> Exception:
        newest = self._attempts[-1]
        if silence is not None:
            return silence
        if self._was_taken_back and self._mined_in is not None:
            return TransactionReorganised(newest.tx_hash, self._mined_in)
        return TransactionUnconfirmed(newest.tx_hash, self._sender.policy.timeout_seconds)
