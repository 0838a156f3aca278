"""One wallet's transactions on their way out.

Those that wait at the same time are numbered, signed and recorded together, and then handed in one by one:
no number is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from web3.exceptions import Web3RPCError

from prepaid.chain.fees import current_gas_price
from prepaid.chain.refused import is_cheap, is_taken, is_underpriced
from prepaid.chain.watching import Attempt, Recorder
from prepaid.errors import ChainUnreachable, TransactionReplaced

if TYPE_CHECKING:
    from prepaid.chain.connection import Chain
    from prepaid.chain.sending import Sender

__all__ = ["Outbox", "outbox_of"]

_TOGETHER_MAX: Final = 64
_UNSENT_MAX: Final = 32
_TRIES_MAX: Final = 8


@dataclass(slots=True)
class _Parcel:
    """What one task wants sent; it is told what was."""

    sender: Sender
    draft: Mapping[str, Any]
    record: Recorder | None
    told: asyncio.Future[Attempt]
    tries: int = 0

    def fail(self, error: BaseException) -> None:
        if not self.told.done():
            self.told.set_exception(error)


class Outbox:
    """One wallet's on one chain."""

    def __init__(self, chain: Chain, address: str) -> None:
        self._chain = chain
        self._address = address
        self._lane = chain.lane(address)
        self._waiting: list[_Parcel] = []
        self._working: asyncio.Task[None] | None = None
        self.unsent = 0
        """Transactions that wait here."""
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._least = 0

    async def room(self) -> None:
        """Wait while many are here: what is made of them would only wait, too."""
        await self._has_room.wait()

    async def send(self, sender: Sender, draft: Mapping[str, Any], record: Recorder | None) -> Attempt:
        """Send it, and say under which number; its lane counts it as in flight until ``Lane.done``.

        Raises:
            GasPriceTooHigh, WalletUnusable, EtherTooLow, ChainError: it was not sent.
            TransactionReplaced: others took every number that it got.
        """
        parcel = _Parcel(sender, draft, record, asyncio.get_running_loop().create_future())
        self._waiting.append(parcel)
        self._count(1)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        try:
            return await parcel.told
        except asyncio.CancelledError:
            if parcel.told.done() and not parcel.told.cancelled() and parcel.told.exception() is None:
                self._lane.done(parcel.told.result().nonce)
            raise
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        self.unsent += more
        if self.unsent < _UNSENT_MAX:
            self._has_room.set()
        else:
            self._has_room.clear()

    async def _work(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_TOGETHER_MAX], self._waiting[_TOGETHER_MAX:]
            try:
                left = await self._together(batch)
            except Exception as error:  # noqa: BLE001 -- it is raised where the transactions come from
                for parcel in batch:
                    parcel.fail(error)
            else:
                self._waiting = [*left, *self._waiting]

    async def _together(self, batch: Sequence[_Parcel]) -> list[_Parcel]:
        """Send them; those that are left, behind one that could not be sent, need other numbers."""
        batch = [parcel for parcel in batch if not parcel.told.done()]
        if not batch:
            return []
        signed = await self._recorded(await self._signed(batch))
        sent: list[tuple[_Parcel, Attempt]] = []
        for parcel, attempt in signed:
            if not await self._is_out(parcel, attempt):
                break
            self._lane.sent(attempt.nonce)
            sent.append((parcel, attempt))
        self._chain.stir()
        for parcel, attempt in sent:
            if parcel.told.done():  # cancelled: nobody sees it through
                self._lane.done(attempt.nonce)
            else:
                parcel.told.set_result(attempt)
        return [parcel for parcel in batch if not parcel.told.done()]

    async def _signed(self, batch: Sequence[_Parcel]) -> list[tuple[_Parcel, Attempt]]:
        """Each with a number of its own, without gaps."""
        pending = await self._chain.transactions_of(self._address, "pending")
        number = max(self._lane.next(pending), self._least)
        signed: list[tuple[_Parcel, Attempt]] = []
        for parcel in batch:
            try:
                price = await current_gas_price(self._chain, parcel.sender.policy.gas_price_max_wei)
                attempt = await parcel.sender.signed(parcel.draft, number + len(signed), price)
            except Exception as error:  # noqa: BLE001 -- as above
                parcel.fail(error)
            else:
                signed.append((parcel, attempt))
        return signed

    async def _recorded(self, signed: Sequence[tuple[_Parcel, Attempt]]) -> list[tuple[_Parcel, Attempt]]:
        """Those before the first that could not be recorded, since its number is not used."""
        outcomes = await asyncio.gather(
            *(
                parcel.record(parcel.draft, attempt)
                for parcel, attempt in signed
                if parcel.record is not None
            ),
            return_exceptions=True,
        )
        recorded: list[tuple[_Parcel, Attempt]] = []
        kept = iter(outcomes)
        for parcel, attempt in signed:
            outcome = None if parcel.record is None else next(kept)
            if isinstance(outcome, BaseException):
                parcel.fail(outcome)
                break
            recorded.append((parcel, attempt))
        return recorded

    async def _is_out(self, parcel: _Parcel, attempt: Attempt) -> bool:
        """Whether the chain has it, as far as can be known; if not, its number is not used."""
        if parcel.told.done():
            return False
        try:
            await parcel.sender.push(attempt)
        except ChainUnreachable:
            pass  # it may have arrived: whoever watches it hands it in again
        except Web3RPCError as error:
            try:
                await self._refused(parcel, attempt, error)
            except Exception as unknown:  # noqa: BLE001 -- those before it are out, and must be told
                parcel.fail(unknown)
            return False
        except Exception as error:  # noqa: BLE001 -- as above
            parcel.fail(error)
            return False
        self._least = 0
        return True

    async def _refused(self, parcel: _Parcel, attempt: Attempt, error: Web3RPCError) -> None:
        """Make it ready for another try, if there is any use in one."""
        parcel.tries += 1
        self._least = 0
        if is_taken(error):  # by another program with the same wallet
            self._least = attempt.nonce + 1 if is_underpriced(error) else 0
        elif is_cheap(error):
            await self._chain.next_head()  # the price has changed
        else:
            draft = {**parcel.draft, **attempt.price.fields()}
            parcel.fail(await parcel.sender.as_ours(error, draft))
        if parcel.tries == _TRIES_MAX:
            self._least = 0
            parcel.fail(TransactionReplaced(attempt.tx_hash, attempt.nonce))


def outbox_of(chain: Chain, address: str) -> Outbox:
    """Where the transactions of one wallet leave."""
    lane = chain.lane(address)
    if lane.outbox is None:
        lane.outbox = Outbox(chain, address)
    return lane.outbox
