"""One paid call of a model, from its hold to its settlement."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Final, TypeVar

from prepaid import pricing
from prepaid.errors import ProviderUsageInvalid, StoreError
from prepaid.money import AMOUNT_MAX
from prepaid.records import Quote, Usage
from prepaid.store.operations import Release, Settle, Settled, Turn

if TYPE_CHECKING:
    from prepaid.meter.meter import Meter

__all__ = ["PaidCall", "Payer", "Replay", "check_usage", "to_the_end"]

USAGE_MAX: Final = 10**12
"""No request counts more tokens or bytes; what claims to is a lie."""

T = TypeVar("T")


_COUNTS: Final = attrgetter(*(each.name for each in fields(Usage)))  # astuple copies deeply, which is slow


@dataclass(frozen=True, slots=True)
class Payer:
    """Whose money is spent: a session's, by its owner or by the taker of a lease on it.

    ``key_no`` is the API key that is used, where it has a cap; ``models`` are those that it may ask.
    """

    session_id: str
    owner: str
    asset: str
    lease_id: str | None = None
    key_no: int | None = None
    models: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """The key was answered before, with this."""

    response: str


def check_usage(usage: Usage, model: str) -> None:
    """Refuse counts that cannot be.

    Raises:
        ProviderUsageInvalid: one is negative, absurd or no integer.
    """
    for count in _COUNTS(usage):
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= USAGE_MAX:
            raise ProviderUsageInvalid(
                f"Model {model!r} claims a usage of {str(count)[:40]}; it must be 0 to {USAGE_MAX}."
            )


@dataclass(slots=True, eq=False, weakref_slot=True)
class PaidCall:
    """A hold with a model call behind it. Settle or abandon it, once.

    One that is dropped without either is not kept alive: the sweep settles it at its deadline.
    """

    meter: Meter
    payer: Payer
    quoted: Quote
    """At the price of the model that speaks: of several, whoever asks the next one sets it."""
    key: str
    granted: int
    is_keyed: bool
    is_resolved: bool = False
    expires_ms: int = 0
    """When the sweep takes it for dead, as far as it was told: every heartbeat moves it on."""
    usage: Usage = field(default_factory=Usage)
    """What was delivered so far, as far as we can tell: kept by whoever reads the model's answer."""
    measure: Callable[[], Usage] | None = None
    """Asked for ``usage`` where counting takes time: at heartbeats, and when the call is abandoned."""
    exposure: int = 0
    """What providers may bill for attempts that have failed, in base units; booked when the call resolves."""

    @property
    def output_limit(self) -> int:
        """The output that the hold pays for, in the price's units."""
        return pricing.affordable_output(self.quoted, self.granted)

    @property
    def is_lowered(self) -> bool:
        """Whether the balance, not the request, sets the output limit."""
        return self.output_limit < self.quoted.output_units

    @property
    def delivered(self) -> int:
        """What that costs which was delivered so far, in base units."""
        usage = self._measured()
        if usage == Usage():
            return 0
        return min(pricing.cost(self.quoted.price, usage), self.granted)

    def _measured(self) -> Usage:
        if self.measure is None:
            return self.usage
        try:
            return self.measure()
        except Exception as error:  # noqa: BLE001 -- a model that cannot count must not stop the heart of all
            loop = asyncio.get_running_loop()
            loop.call_exception_handler({"message": "a model cannot count its answer", "exception": error})
            return self.usage

    async def settle(
        self,
        usage: Usage,
        *,
        quoted: Quote | None = None,
        turn: Turn | None = None,
        response: str | None = None,
        unpaid: int = 0,
        exposure: int = 0,
    ) -> Settled:
        """Capture what ``usage`` costs, at the price of the model that answered in the end.

        ``unpaid`` is what the provider bills above the quoted price, ``exposure`` what it may bill beyond
        ``usage``; both are booked as the operator's loss (spec P2, P3), in base units.

        Queued at once, and waited for: being cancelled meanwhile does not undo it. After an error the call
        can still be abandoned; whatever the store failed at last is tried again (``Meter.owe``).

        Raises:
            ProviderUsageInvalid: the counts cannot be; nothing is settled yet.
            HoldResolved: the sweep came first, because this process had stood still for too long.
        """
        used = quoted or self.quoted
        check_usage(usage, used.model)
        input_units, output_units = pricing.units_of(used.price, usage)
        work = Settle(
            self.payer.session_id,
            self.key,
            min(pricing.cost(used.price, usage), AMOUNT_MAX),
            used.model,
            input_units,
            output_units,
            turn,
            response,
            min(unpaid, AMOUNT_MAX),
            min(self.exposure + exposure, AMOUNT_MAX),
        )
        return await self._resolve(work)

    async def abandon(self, exposure: int | None = None) -> None:
        """Release the hold, unless it was settled: the request failed and costs nothing (spec C12).

        ``exposure`` is what the provider may bill all the same: what was delivered, unless the caller knows
        better. It is booked as the operator's loss.
        """
        if self.is_resolved:
            return
        loss = self.exposure + (self.delivered if exposure is None else exposure)
        work = Release(self.payer.session_id, self.key, min(loss, AMOUNT_MAX), self.quoted.model)
        await self._resolve(work)

    async def _resolve(self, work: Settle | Release) -> Settled:
        try:
            queued: asyncio.Future[Settled] = self.meter.ledger.store.submit(work)
            self.is_resolved = True
            self.meter.running.discard(self)
            self.meter.owed.pop(self, None)
            cancelled = await done_at_last(queued)
            settled = queued.result()
        except Exception as error:
            self.is_resolved = False  # nothing was changed
            if isinstance(error, StoreError):
                self.meter.owe(self, work)
            raise
        self.meter.note(work.model or self.quoted.model, work, settled)
        self.measure = None  # it leads back here, and a circle is freed late
        if cancelled is not None:
            raise cancelled
        return settled


async def to_the_end(future: asyncio.Future[T]) -> T:
    """Its result, waited for however often we are cancelled meanwhile; only then the cancellation goes on."""
    cancelled = await done_at_last(future)
    result = future.result()
    if cancelled is not None:
        raise cancelled
    return result


async def done_at_last(future: asyncio.Future[T]) -> asyncio.CancelledError | None:
    """Wait until it is done, however often we are cancelled meanwhile; the cancellation, to be raised then.

    For settlements, which take one commit or fail with the store: whoever cancels finds nothing held. Some
    cancel again at each step of the loop (anyio's scopes do), so a shield alone would not wait.
    """
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled
