"""Heavy bodies: their senders can pay for them, and nobody else waits while they are read.

Work that is linear in a body stops the event loop for as long as it takes, and a parser in C stops all
threads. So before a heavy body is read, its payer's balance is checked; before it is parsed, its values are
counted, which costs a hundredth; and it is unpacked and parsed in a thread, one of each owner at a time,
whatever the keys. What bodies take of the memory is limited for each owner, and for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from prepaid import pricing
from prepaid.config import GatewaySettings
from prepaid.errors import (
    InsufficientFunds,
    PrepaidError,
    SessionAlreadyClosed,
    SessionExpired,
    SessionPaused,
)
from prepaid.gateway.asgi import Request
from prepaid.gateway.limits import Kept, Room, Slot
from prepaid.meter import Payer
from prepaid.records import Account, ModelInfo, SessionState
from prepaid.relay import HEAVY_BYTES, check_structure, heavily
from prepaid.sessions.workspace import Workspace

__all__ = ["Heavy", "announces_much", "is_heavy"]

T = TypeVar("T")

_LIGHT_BYTES: Final = 8_192
_OBJECTS_LIGHT: Final = 500
"""A body of medium length with more objects than that is heavy."""

_BYTES_A_SLOT: Final = 256 * 1024
_VALUES_A_SLOT: Final = 4_000
"""A request with a long body counts as several: one for each of these."""

_REST_BODY: Final = "The request body, below /api/v1 (rest_body_values_max),"
_PRICES_KEPT: Final = 256


def announces_much(request: Request) -> bool:
    """Whether a request's body may be heavy, judging by its head alone."""
    length = request.header(b"content-length")
    if length is None:
        return request.header(b"transfer-encoding") is not None
    return request.header(b"content-encoding") is not None or int(length) > HEAVY_BYTES


def is_heavy(raw: bytes) -> bool:
    """Whether parsing a body takes so long that nobody else should wait for it."""
    return len(raw) > HEAVY_BYTES or (len(raw) > _LIGHT_BYTES and raw.count(b"{") > _OBJECTS_LIGHT)


class Heavy:
    """Admits and reads the heavy bodies of one process."""

    def __init__(self, workspace: Workspace, limits: GatewaySettings) -> None:
        self._workspace = workspace
        self._bytes_max = limits.body_bytes_max
        self._values_max = limits.body_values_max
        self._room = Room(limits.bodies_bytes_max, limits.body_bytes_max)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._least = lru_cache(_PRICES_KEPT)(self._least_on)

    async def admit(self, request: Request, payer: Payer, key: str | None, slot: Slot) -> None:
        """Refuse a body that its payer cannot pay for, before it is read; what is not heavy may pass.

        A ``key`` that was used before may pass, too: its answer may be there already.

        Raises:
            InsufficientFunds: there is less than the cheapest request costs, held money included.
            SessionAlreadyClosed, SessionExpired, SessionPaused: it spends nothing now.
            ValueTooLarge, ConcurrencyLimitReached, BodiesLimitReached, GatewayFull: as ``make_room``.
        """
        slot.owner = payer.owner
        if not announces_much(request):
            return
        self.make_room(request, slot)
        store = self._workspace.store
        account = await store.ask(lambda reads: reads.account(payer.session_id))
        refusal = None if account is None else self._refusal(account, payer)
        if refusal is None:
            return
        if key is not None:
            used = await store.ask(lambda reads: reads.hold_state(payer.session_id, key))
            if used is not None:
                return
        raise refusal

    def make_room(self, request: Request, slot: Slot) -> None:
        """Make a request with a long body count as several, before it is read.

        Raises:
            ValueTooLarge: it says that it is longer than any body may be, whatever room there is.
            ConcurrencyLimitReached: its key has no room left for it.
            BodiesLimitReached, GatewayFull: there is no room for the bytes that it says it has.
        """
        request.refuse_longer_than(self._bytes_max, "body_bytes_max")
        length, is_packed = request.header(b"content-length"), request.header(b"content-encoding") is not None
        size = self._bytes_max if length is None or is_packed else int(length)
        slot.grow(size // _BYTES_A_SLOT)
        self._room.check(slot.owner, 0 if length is None else int(length))

    async def body(self, request: Request, slot: Slot | None, limit: int | None = None) -> bytes:
        """The body of a request that was admitted, at most ``limit`` bytes or the configured number.

        Of a long one the bytes count until the slot is given back: packed ones as they arrive, then what they
        are unpacked to, in their owner's turn.

        Raises:
            BodiesLimitReached, GatewayFull: there is no room for them.
            PrepaidError: as ``Request.body``.
        """
        name = "body_bytes_max"
        if limit is None or limit >= self._bytes_max:
            limit = self._bytes_max
        else:
            name = "rest_body_bytes_max"
        if slot is None or not announces_much(request):
            return await request.body(limit, limit_name=name)
        kept = Kept(self._room, slot.owner)
        slot.at_end(kept.end)

        async def unpack(work: Callable[[], bytes]) -> bytes:
            async with self._turn_of(slot.owner):
                content = await heavily(work)
            kept.resize(len(content))
            return content

        return await request.body(limit, kept.resize, unpack, name)

    async def read(
        self, slot: Slot | None, raw: bytes, work: Callable[[], T], values_max: int | None = None
    ) -> T:
        """Run ``work`` on a body: at once, or if it is heavy in a thread, in its owner's turn.

        Raises:
            ValueTooLarge: it has more values than ``values_max``, or than any body may have.
            ConcurrencyLimitReached: its key has no room left for it.
        """
        if not is_heavy(raw):
            return work()

        def count() -> int:
            if values_max is not None and values_max < self._values_max:
                return check_structure(raw, values_max, _REST_BODY)
            return check_structure(raw, self._values_max)

        if slot is None:  # short, but with many values
            await heavily(count)
            return await heavily(work)
        async with self._turn_of(slot.owner):
            slot.grow(await heavily(count) // _VALUES_A_SLOT)
            return await heavily(work)

    def _turn_of(self, owner: str) -> asyncio.Lock:
        """Each owner waits for its own; the thread takes those whose turn it is as they come."""
        turn = self._turns.get(owner)
        if turn is None:
            turn = self._turns[owner] = asyncio.Lock()
        return turn

    def _refusal(self, account: Account, payer: Payer) -> PrepaidError | None:
        match self._workspace.state_of(account):
            case SessionState.PAUSED:
                return SessionPaused(account.session_id)
            case SessionState.CLOSED:
                return SessionAlreadyClosed(account.session_id, account.refunded)
            case SessionState.EXPIRED:
                return SessionExpired(account.session_id)
        needed = self._least(payer.models, self._workspace.store.clock() // 86_400_000)
        if account.available + account.held >= needed:
            return None
        return InsufficientFunds(needed, account.available, account.held)

    def _least_on(self, models: tuple[str, ...] | None, _day: int) -> int:
        """The cost of the cheapest request that a key for these models can send; prices change by day.

        Models behind a prefix cannot be listed, so these count as one base unit; a free one has to be named
        in ``[prices]``.
        """
        catalogue, settings = self._workspace.catalogue, self._workspace.settings
        costs = [_least_of(info) for info in catalogue.list() if models is None or info.name in models]
        if any(each.prefix is not None for each in settings.upstreams.values()):
            costs.append(1)
        return min(costs, default=0)


def _least_of(info: ModelInfo) -> int:
    output_units = 0 if "embeddings" in info.apis else 1
    return pricing.quote(info.name, info.price, 1, output_units).minimum
