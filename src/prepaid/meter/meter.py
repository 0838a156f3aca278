"""Opens paid calls: places their holds, and keeps them alive while they run."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final
from weakref import WeakSet

from prepaid.errors import (
    AmountTooLarge,
    ConflictError,
    CurrencyMismatch,
    ManagerClosed,
    ModelNotAllowed,
    PrepaidError,
    RequestInProgress,
    StoreError,
    ValueTooLarge,
)
from prepaid.ledger import SWEEP_BATCH, Ledger, check_key, fingerprint, key_or_new, milliseconds
from prepaid.meter.call import PaidCall, Payer, Replay, to_the_end
from prepaid.meter.underway import Underway
from prepaid.money import AMOUNT_MAX
from prepaid.records import HoldState, Quote
from prepaid.store.operations import (
    INTERRUPTED,
    Held,
    Hold,
    Place,
    PlaceTaken,
    Progress,
    Reconcile,
    Release,
    Settle,
    Settled,
)
from prepaid.store.spaces import key_in_space

__all__ = ["ATTEMPTS_MAX", "REQUEST_KEY_LENGTH_MAX", "Meter"]

REQUEST_KEY_LENGTH_MAX: Final = 200
ATTEMPTS_MAX: Final = 100
"""How often a key may fail and be tried anew; each try asks for all before."""

_logger = logging.getLogger("prepaid.meter")

_HEARTBEATS_PER_HOLD: Final = 3


class Meter:
    """Opens paid calls on a ledger, and tells it while they run that they are alive."""

    def __init__(self, ledger: Ledger, hold_lasts: timedelta) -> None:
        self.ledger = ledger
        self.running: WeakSet[PaidCall] = WeakSet()
        self.owed: dict[PaidCall, Settle | Release] = {}
        """Settlements that the store failed at, to be tried again."""
        self.underway = Underway()
        self.listener: Callable[[str, Settle | Release | None, Settled], None] | None = None
        """Told of each settlement once it is durable, for whoever counts them: the model, what was asked for
        (nothing, where the sweep came first), and how it resolved. It must not fail."""
        self._hold_lasts = hold_lasts
        self._heart: asyncio.Task[None] | None = None

    async def open(
        self,
        payer: Payer,
        quoted: Quote,
        *,
        others: Sequence[Quote] = (),
        key: str | None = None,
        content: bytes | None = None,
        place: Place | None = None,
    ) -> PaidCall | PlaceTaken | Replay:
        """Hold the quote, or what there is of it.

        ``others`` are the quotes of fallback models: the dearest of all is held, and what pays for the
        cheapest will do. With a ``key``, a request that was answered before is replayed, one that failed
        or was broken off is tried anew. ``PlaceTaken``: the chat moved on, nothing was held.

        Raises:
            InsufficientFunds: not even the input and one unit of output can be paid.
            KeyCapReached: nor within the cap of the payer's API key.
            ModelNotAllowed: the payer's key is not for this model.
            RequestInProgress: the key is being worked on.
            CurrencyMismatch: a price is in another currency than the account.
            AmountTooLarge: no account could pay the least of it.
            ManagerClosed: everything was stopped.
            ConflictError, NotFoundError: as ``Ledger.hold``.
        """
        if self.underway.is_over:
            raise ManagerClosed
        if payer.models is not None and quoted.model not in payer.models:
            raise ModelNotAllowed(quoted.model, payer.models)
        quotes = (quoted, *others)
        _check_quotes(payer, quotes)
        if key is not None and len(key) > REQUEST_KEY_LENGTH_MAX:
            raise ValueTooLarge("idempotency key", len(key), REQUEST_KEY_LENGTH_MAX, "characters")
        for attempt in range(1, ATTEMPTS_MAX + 1):
            wanted = self._operation(payer, quotes, key, attempt, content, place)
            held = await self._hold(wanted)
            if isinstance(held, PlaceTaken):
                return held
            if not held.replayed:
                call = PaidCall(self, payer, quoted, held.key, held.amount, key is not None)
                return self._started(call, wanted.expires_ms)
            if held.response is not None:
                return Replay(held.response)
            if held.state is HoldState.OPEN and not await self.reconcile_hold(payer.session_id, held.key):
                raise RequestInProgress(key or held.key)
        raise ConflictError(
            f"The request with key {key!r} has failed {ATTEMPTS_MAX} times.", remedy="Use a new key."
        )

    async def available(self, payer: Payer) -> int:
        """What the payer's session has available now."""
        account = await self.ledger.store.ask(lambda reads: reads.account(payer.session_id))
        return 0 if account is None else account.available

    async def reconcile(self, limit: int = SWEEP_BATCH) -> list[Settled]:
        """``Ledger.reconcile``, after telling that our own calls are alive whose deadline has passed.

        A process that slept, or had no processor for long, wakes to deadlines that it would have pushed. What
        the store failed to settle is tried again before the sweep settles it by what it was told.
        """
        self._settle_owed()
        now_ms = self.ledger.store.clock()
        self._tell_alive(call for call in list(self.running) if call.expires_ms <= now_ms)
        settled = await self.ledger.reconcile(limit)
        for each in settled:
            self.note(INTERRUPTED, None, each)
        return settled

    async def reconcile_hold(self, session_id: str, key: str) -> bool:
        """Settle one hold, if it is past its deadline: a crash left it, and nobody works on it."""
        settled: Settled | None = await self.ledger.store.submit(Reconcile(session_id, key))
        if settled is not None:
            self.note(INTERRUPTED, None, settled)
        return settled is not None

    def note(self, model: str, work: Settle | Release | None, settled: Settled) -> None:
        """A hold has resolved, and that is durable: tell whoever counts, and the operator of a loss."""
        if settled.exposure or settled.shortfall:
            told = {"hold": settled.key, "model": model, "exposure": settled.exposure}
            _logger.info("a loss was booked", extra=told | {"shortfall": settled.shortfall})
        if self.listener is not None:
            self.listener(model, work, settled)

    def owe(self, call: PaidCall, work: Settle | Release) -> None:
        """The store could not settle ``call``: try again at each beat and sweep, until it can.

        Should its deadline pass before, a sweep settles it, whose word counts.
        """
        self.owed[call] = work
        self._keep_beating()

    async def stop(self, seconds: float) -> bool:
        """Break off and settle what runs, within ``seconds``; whether all of it is settled.

        From then on nothing is asked any more.
        """
        return await self.underway.stop(seconds, lambda: not self.running)

    async def aclose(self) -> None:
        """Stop the heartbeat. Calls still running are settled by the sweep, for what is told of them now."""
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.gather(self._heart, return_exceptions=True)
        self._settle_owed()
        for call in list(self.running):
            self._tell(call)

    def _operation(
        self,
        payer: Payer,
        quotes: Sequence[Quote],
        key: str | None,
        attempt: int,
        content: bytes | None,
        place: Place | None,
    ) -> Hold:
        amount = min(max(quoted.amount for quoted in quotes), AMOUNT_MAX)
        minimum = min(quoted.minimum for quoted in quotes)
        checked = key_or_new(key) if key is None else key_in_space(check_key(key), payer.lease_id)
        return Hold(
            payer.session_id,
            payer.owner,
            # A space is in no key that a user can send, so attempts never meet another key.
            key=checked if attempt == 1 else f"{checked} {attempt}",
            fingerprint=content or fingerprint("call", amount, minimum),
            amount=amount,
            minimum=minimum,
            expires_ms=self._deadline(),
            sent=True,
            keep_refusal=key is not None,
            place=place,
            lease_id=payer.lease_id,
            key_no=payer.key_no,
        )

    async def _hold(self, work: Hold) -> Held | PlaceTaken:
        queued = self.ledger.store.submit(work)
        try:
            held: Held | PlaceTaken = await asyncio.shield(queued)
        except asyncio.CancelledError:
            giving_back = asyncio.get_running_loop().create_task(self._give_back(queued, work))
            await to_the_end(giving_back)
            raise
        return held

    async def _give_back(self, queued: asyncio.Future[Held | PlaceTaken], work: Hold) -> None:
        """Release what a queued hold gets after all, unless another request with its key has it."""
        with contextlib.suppress(PrepaidError):  # refused: there is nothing to release; or the sweep will
            held = await queued
            if isinstance(held, Held) and not held.replayed:
                await self.ledger.release(work.session_id, work.key)

    def _deadline(self) -> int:
        return self.ledger.store.clock() + milliseconds(self._hold_lasts)

    def _started(self, call: PaidCall, expires_ms: int) -> PaidCall:
        call.expires_ms = expires_ms
        self.running.add(call)
        self._keep_beating()
        return call

    def _keep_beating(self) -> None:
        if self._heart is None or self._heart.done():
            self._heart = asyncio.get_running_loop().create_task(self._beat())

    async def _beat(self) -> None:
        """Push the deadlines of what runs, and tell how much of it was delivered."""
        interval = self._hold_lasts.total_seconds() / _HEARTBEATS_PER_HOLD
        while self.running or self.owed:
            beating = WeakSet(self.running)
            await asyncio.sleep(interval)
            self._settle_owed()
            self._tell_alive(beating & self.running)  # only those that have run for a whole interval

    def _tell_alive(self, calls: Iterable[PaidCall]) -> None:
        for call in calls:
            call.expires_ms = self._deadline()
            if not self._tell(call):
                return

    def _tell(self, call: PaidCall) -> bool:
        """Tell how much of it was delivered; ``False`` where the store takes nothing more for now."""
        alive = Progress(call.payer.session_id, call.key, call.delivered, call.expires_ms)
        try:
            told = self.ledger.store.submit(alive)
        except StoreError:  # its queue is full; there is another beat before the deadline
            return False
        told.add_done_callback(_observe)
        return True

    def _settle_owed(self) -> None:
        owed, self.owed = self.owed, {}
        for call, work in owed.items():
            try:
                again = self.ledger.store.submit(work)
            except StoreError:
                self.owed[call] = work
            else:
                again.add_done_callback(partial(self._settled_late, call, work))

    def _settled_late(self, call: PaidCall, work: Settle | Release, again: asyncio.Future[Settled]) -> None:
        error = again.exception()
        if error is None:
            call.is_resolved = True
            self.note(call.quoted.model, work, again.result())
        elif isinstance(error, StoreError):
            if not call.is_resolved:  # meanwhile something else may have settled it
                self.owed.setdefault(call, work)
        else:
            _observe(again)


def _check_quotes(payer: Payer, quotes: Sequence[Quote]) -> None:
    for quoted in quotes:
        if quoted.price.asset != payer.asset:
            raise CurrencyMismatch(
                f"The price of {quoted.model} is in {quoted.price.asset}, not {payer.asset}."
            )
    least = min(quoted.minimum for quoted in quotes)
    if least > AMOUNT_MAX:
        raise AmountTooLarge(f"The least that {quotes[0].model} costs for this is {least} base units.")


def _observe(future: asyncio.Future[Any]) -> None:
    """Nobody waits for a heartbeat; a failure shows in the hold's own settlement or in the sweep."""
    if not future.cancelled() and not isinstance(future.exception(), PrepaidError | None):
        future.get_loop().call_exception_handler(
            {"message": "a ledger operation failed", "exception": future.exception()}
        )
