"""The ledger: deposit, hold, capture, release, refund. Nothing else touches money.

Guarantees, cited by number in the tests that prove them:

1. Entries sum to zero.
2. Held equals the sum of open holds.
3. Available is never negative.
4. A hold resolves at most once.
5. Same key and content: same result; different content: conflict.
6. What was acknowledged survives ``kill -9`` and a power cut.

Amounts are integers of the account's base units. Every call is durable when it returns.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from datetime import timedelta
from hashlib import blake2b
from typing import Final

from prepaid.errors import (
    AmountNotExact,
    AmountNotPositive,
    AmountTooLarge,
    InvalidRequestError,
    SessionNotFound,
    ValueTooLarge,
)
from prepaid.money import AMOUNT_MAX, currency
from prepaid.records import Account, SessionState
from prepaid.store.contract import Store
from prepaid.store.operations import (
    Deposit,
    Fund,
    Funded,
    Held,
    Hold,
    Place,
    PlaceTaken,
    Progress,
    Reconcile,
    Release,
    Settle,
    Settled,
    Withdraw,
)

__all__ = [
    "KEY_LENGTH_MAX",
    "SWEEP_BATCH",
    "Ledger",
    "check_key",
    "deposit_id",
    "fingerprint",
    "key_or_new",
    "milliseconds",
    "new_id",
]

KEY_LENGTH_MAX: Final = 255
_KEY = re.compile(r"[\x21-\x7e]+")
_HOLD_LASTS: Final = timedelta(seconds=30)
SWEEP_BATCH: Final = 256
"""How many overdue holds are settled at once."""

_SHOWN_BITS_MAX: Final = 256
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str) -> str:
    """A new id that sorts by time: ``prefix_`` and 22 characters, 60 bits of them random."""
    number = (time.time_ns() // 1_000_000) << 60 | secrets.randbits(60)
    digits = [_ALPHABET[number >> shift & 31] for shift in range(105, -1, -5)]
    return f"{prefix}_{''.join(digits)}"


def deposit_id(owner: str) -> str:
    """The account that keeps an owner's unassigned money."""
    return f"deposit:{owner}"


def check_key(key: str) -> str:
    """The key, if it is 1 to 255 printable ASCII characters without spaces.

    Raises:
        InvalidRequestError: it is not.
    """
    if len(key) > KEY_LENGTH_MAX:
        raise ValueTooLarge("idempotency key", len(key), KEY_LENGTH_MAX, "characters")
    if not _KEY.fullmatch(key):
        raise InvalidRequestError(
            f"{key!r} is not a key.", remedy="Use 1 to 255 printable ASCII characters without spaces."
        )
    return key


def fingerprint(*content: object) -> bytes:
    """16 bytes that tell one request's content from another's under the same key."""
    digest = blake2b(digest_size=16)
    for part in content:
        digest.update(repr(part).encode())
        digest.update(b"\0")
    return digest.digest()


class Ledger:
    """Money operations on one store. Cheap to make; keeps nothing of its own."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def account(self, session_id: str, owner: str) -> Account:
        """The owner's account.

        Raises:
            SessionNotFound: unknown, or somebody else's (spec A5).
        """
        account = self.store.reads.account(session_id)
        if account is None or account.owner != owner or account.state is SessionState.DEPOSIT:
            raise SessionNotFound(session_id)
        return account

    async def fund(self, session_id: str, owner: str, amount: int, key: str | None = None) -> Funded:
        """Add money from outside.

        Raises:
            SessionNotFound, SessionAlreadyClosed, SessionExpired: there is nothing to fund.
            IdempotencyConflict: the key was used for another amount.
        """
        _check_amount(amount)
        content = fingerprint("fund", amount)
        work = Fund(session_id, owner, key_or_new(key), content, amount, keep_refusal=key is not None)
        funded: Funded = await self.store.submit(work)
        return funded

    async def deposit(self, owner: str, asset: str, amount: int, key: str | None = None) -> Funded:
        """Add to the owner's unassigned money, from which sessions can be started (spec A2).

        Raises:
            CurrencyMismatch: what the owner deposited before is in another currency, or there is none such.
        """
        _check_amount(amount)
        code = currency(asset).code
        work = Deposit(
            deposit_id(owner), owner, code, key_or_new(key), fingerprint("deposit", code, amount), amount
        )
        funded: Funded = await self.store.submit(work)
        return funded

    async def withdraw(self, owner: str, amount: int, key: str | None = None) -> Funded:
        """Pay unassigned money out.

        Raises:
            InsufficientFunds: less is there.
        """
        _check_amount(amount)
        work = Withdraw(
            deposit_id(owner),
            owner,
            key_or_new(key),
            fingerprint("withdraw", amount),
            amount,
            keep_refusal=key is not None,
        )
        funded: Funded = await self.store.submit(work)
        return funded

    async def hold(
        self,
        session_id: str,
        owner: str,
        amount: int,
        *,
        minimum: int | None = None,
        key: str | None = None,
        content: bytes | None = None,
        lasts: timedelta = _HOLD_LASTS,
        sent: bool = False,
        place: Place | None = None,
        lease_id: str | None = None,
    ) -> Held | PlaceTaken:
        """Reserve ``amount``; or, where less is there, all that is, if that is ``minimum`` at least.

        ``key`` makes a retry safe: it gets the same hold, or the same refusal. ``content`` is the
        fingerprint of what the key stands for, the amounts where it is not given. ``sent`` says that
        the request goes to a provider next, so that a crash must reconcile it. Only with ``place``,
        the result may be ``PlaceTaken``: another turn of the chat came first, and nothing was held.

        Raises:
            InsufficientFunds: with needed and available (spec A9).
            SessionNotFound, SessionPaused, SessionAlreadyClosed, SessionExpired: not spendable.
            IdempotencyConflict: the key was used for something else.
        """
        _check_amount(amount, zero=True)
        least = amount if minimum is None else minimum
        _check_amount(least, zero=True)
        if least > amount:
            raise InvalidRequestError(
                f"The minimum of {least} base units is above the {amount} to hold.", remedy="Lower it."
            )
        work = Hold(
            session_id,
            owner,
            key=key_or_new(key),
            fingerprint=content or fingerprint("hold", amount, least),
            amount=amount,
            minimum=least,
            expires_ms=self.store.clock() + milliseconds(lasts),
            sent=sent,
            keep_refusal=key is not None,
            place=place,
            lease_id=lease_id,
        )
        held: Held | PlaceTaken = await self.store.submit(work)
        return held

    async def settle(self, work: Settle) -> Settled:
        """Capture what a hold's request cost, at most the hold; release the rest; save its turn.

        Doing the same again gives the same result, with what is available by then.

        Raises:
            HoldNotFound: there is no such hold.
            HoldResolved: it was resolved before, differently (guarantee 4).
        """
        for amount in (work.cost, work.unpaid, work.exposure):
            _check_amount(amount, zero=True)
        settled: Settled = await self.store.submit(work)
        return settled

    async def capture(self, session_id: str, key: str, cost: int) -> Settled:
        """``settle`` without anything to remember but the money."""
        return await self.settle(Settle(session_id, key, cost))

    async def release(self, session_id: str, key: str, *, loss: int = 0) -> Settled:
        """Give a hold back whole. ``loss`` is what a provider may bill us all the same.

        Raises:
            HoldNotFound, HoldResolved: as for ``settle``.
        """
        _check_amount(loss, zero=True)
        settled: Settled = await self.store.submit(Release(session_id, key, loss))
        return settled

    async def progress(self, session_id: str, key: str, delivered: int, lasts: timedelta) -> bool:
        """Keep a running request's hold; ``False`` if it was settled meanwhile."""
        _check_amount(delivered, zero=True)
        alive: bool = await self.store.submit(
            Progress(session_id, key, delivered, self.store.clock() + milliseconds(lasts))
        )
        return alive

    async def reconcile(self, limit: int = SWEEP_BATCH) -> list[Settled]:
        """Settle holds past their deadline, whoever placed them; at most ``limit``.

        What was delivered is captured, the rest released, and what a provider may still bill booked
        as our loss.
        """
        now_ms = self.store.clock()
        overdue = await self.store.ask(lambda reads: reads.overdue_holds(now_ms, limit))
        outcomes: list[Settled | None] = await asyncio.gather(
            *(self.store.submit(Reconcile(session_id, key)) for session_id, key in overdue)
        )
        return [outcome for outcome in outcomes if outcome is not None]


def key_or_new(key: str | None) -> str:
    """The key, checked; or a new one, in the order of time, so that the newest holds share a few pages."""
    if key is not None:
        return check_key(key)
    return f"{(time.time_ns() // 1_000_000) << 40 | secrets.randbits(40):021x}"


def _check_amount(amount: int, *, zero: bool = False) -> None:
    if not isinstance(amount, int) or isinstance(amount, bool):
        raise AmountNotExact(f"A {type(amount).__name__} is not an int of base units.")
    shown = amount if amount.bit_length() <= _SHOWN_BITS_MAX else f"An integer of {amount.bit_length()} bits"
    if amount < 0 or (amount == 0 and not zero):
        raise AmountNotPositive(f"{shown} is {'below' if zero else 'not above'} zero.")
    if amount > AMOUNT_MAX:
        raise AmountTooLarge(f"{shown} is above the limit of {AMOUNT_MAX} base units.")


def milliseconds(duration: timedelta) -> int:
    """A duration as the database counts it."""
    return duration // timedelta(milliseconds=1)
