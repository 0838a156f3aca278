"""One paid call of a model: hold before, settle after, and keep the hold alive in between.

``turns`` uses it for our own models, ``agents`` around pydantic-ai's. Nothing here talks to a model.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from prepaid import pricing
from prepaid.errors import CurrencyMismatch, PrepaidError, RequestInProgress, ValueTooLarge
from prepaid.ledger import Ledger, fingerprint, key_or_new, milliseconds
from prepaid.records import HoldState, Quote, Usage
from prepaid.store.operations import Held, Hold, Place, PlaceTaken, Progress, Release, Settle, Settled, Turn

__all__ = ["Meter", "PaidCall", "Payer", "Replay"]

REQUEST_KEY_LENGTH_MAX: Final = 200
_HEARTBEATS_PER_HOLD: Final = 3


@dataclass(frozen=True, slots=True)
class Payer:
    """Whose money is spent: a session's, by its owner or by the taker of a lease on it."""

    session_id: str
    owner: str
    asset: str
    lease_id: str | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """The key was answered before, with this."""

    response: str


@dataclass(slots=True, eq=False)
class PaidCall:
    """A hold with a model call behind it. Settle or abandon it, once."""

    meter: Meter
    payer: Payer
    quoted: Quote
    key: str
    granted: int
    is_keyed: bool
    is_resolved: bool = False
    usage: Usage = field(default_factory=Usage)
    """What was delivered so far, as far as we can tell: kept by whoever reads the model's answer."""

    @property
    def output_limit(self) -> int:
        """The output that the hold pays for, in the price's units."""
        return pricing.affordable_output(self.quoted, self.granted)

    @property
    def is_lowered(self) -> bool:
        """Whether the balance, not the request, sets the output limit."""
        return self.granted < self.quoted.amount

    async def settle(
        self,
        usage: Usage,
        *,
        quoted: Quote | None = None,
        turn: Turn | None = None,
        response: str | None = None,
    ) -> Settled:
        """Capture what ``usage`` costs, at the price of the model that answered in the end.

        Queued at once: being cancelled meanwhile does not undo it.
        """
        used = quoted or self.quoted
        input_units, output_units = pricing.units_of(used.price, usage)
        self._resolve()
        work = Settle(
            self.payer.session_id,
            self.key,
            pricing.cost(used.price, usage),
            used.model,
            input_units,
            output_units,
            turn,
            response,
        )
        return await self.meter.ledger.settle(work)

    async def abandon(self) -> None:
        """Release the hold, unless it was settled: the request failed and costs nothing (spec C12).

        What the provider may bill for what it had delivered is booked as our loss.
        """
        if self.is_resolved:
            return
        self._resolve()
        loss = min(pricing.cost(self.quoted.price, self.usage), self.granted)
        await self.meter.ledger.release(self.payer.session_id, self.key, loss=loss)

    def _resolve(self) -> None:
        self.is_resolved = True
        self.meter.running.discard(self)


class Meter:
    """Opens paid calls on a ledger, and tells it while they run that they are alive."""

    def __init__(self, ledger: Ledger, hold_lasts: timedelta) -> None:
        self.ledger = ledger
        self.running: set[PaidCall] = set()
        self._hold_lasts = hold_lasts
        self._heart: asyncio.Task[None] | None = None

    async def open(
        self,
        payer: Payer,
        quoted: Quote,
        *,
        key: str | None = None,
        content: bytes | None = None,
        place: Place | None = None,
    ) -> PaidCall | PlaceTaken | Replay:
        """Hold the quote, or what there is of it.

        With a ``key``, a request that was answered before is replayed, one that failed before is tried
        anew. ``PlaceTaken``: the chat moved on, nothing was held.

        Raises:
            InsufficientFunds: not even the input and one unit of output can be paid.
            RequestInProgress: the key is being worked on.
            CurrencyMismatch: the price is in another currency than the account.
            ConflictError, NotFoundError: as ``Ledger.hold``.
        """
        if quoted.price.asset != payer.asset:
            raise CurrencyMismatch(
                f"The price of {quoted.model} is in {quoted.price.asset}, not {payer.asset}."
            )
        if key is not None and len(key) > REQUEST_KEY_LENGTH_MAX:
            raise ValueTooLarge("idempotency key", len(key), REQUEST_KEY_LENGTH_MAX, "characters")
        attempt = 1
        while True:
            held = await self._hold(payer, quoted, key, attempt, content, place)
            if isinstance(held, PlaceTaken):
                return held
            if not held.replayed:
                return self._started(PaidCall(self, payer, quoted, held.key, held.amount, key is not None))
            if held.response is not None:
                return Replay(held.response)
            if held.state is HoldState.OPEN:
                raise RequestInProgress(key or held.key)
            attempt += 1  # that one failed, or was cut off by a crash: it cost nothing and may be tried again

    async def aclose(self) -> None:
        """Stop the heartbeat. Calls still running are settled by their own tasks, or by the sweep."""
        if self._heart is not None:
            self._heart.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._heart

    async def _hold(
        self,
        payer: Payer,
        quoted: Quote,
        key: str | None,
        attempt: int,
        content: bytes | None,
        place: Place | None,
    ) -> Held | PlaceTaken:
        checked = key_or_new(key)
        work = Hold(
            payer.session_id,
            payer.owner,
            # A space is in no key that a user can send, so attempts never meet another key.
            key=checked if attempt == 1 else f"{checked} {attempt}",
            fingerprint=content or fingerprint("call", quoted.amount, quoted.minimum),
            amount=quoted.amount,
            minimum=quoted.minimum,
            expires_ms=self._deadline(),
            sent=True,
            keep_refusal=key is not None,
            place=place,
            lease_id=payer.lease_id,
        )
        future = self.ledger.store.submit(work)
        try:
            held: Held | PlaceTaken = await asyncio.shield(future)
        except asyncio.CancelledError:
            # The operation stays queued; what it may hold is given back right behind it.
            _forget(self.ledger.store.submit(Release(payer.session_id, work.key)))
            _forget(future)
            raise
        return held

    def _deadline(self) -> int:
        return self.ledger.store.clock() + milliseconds(self._hold_lasts)

    def _started(self, call: PaidCall) -> PaidCall:
        self.running.add(call)
        if self._heart is None or self._heart.done():
            self._heart = asyncio.get_running_loop().create_task(self._beat())
        return call

    async def _beat(self) -> None:
        """Push the deadlines of what runs, and tell how much of it was delivered."""
        interval = self._hold_lasts.total_seconds() / _HEARTBEATS_PER_HOLD
        while True:
            beating = set(self.running)
            await asyncio.sleep(interval)
            for call in beating & self.running:  # only those that have run for a whole interval
                delivered = min(pricing.cost(call.quoted.price, call.usage), call.granted)
                alive = Progress(call.payer.session_id, call.key, delivered, self._deadline())
                _forget(self.ledger.store.submit(alive))
            if not self.running:
                return


def _forget(future: asyncio.Future[object]) -> None:
    """Nobody waits for this one; a failure shows in the hold's own settlement or in the sweep."""
    future.add_done_callback(_observe)


def _observe(future: asyncio.Future[object]) -> None:
    if not future.cancelled() and not isinstance(future.exception(), PrepaidError | None):
        future.get_loop().call_exception_handler(
            {"message": "a ledger operation failed", "exception": future.exception()}
        )
