"""Operations on money: holds and what becomes of them, deposits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from prepaid.records import HoldState, Message
from prepaid.store.operations.base import Operation

__all__ = [
    "INTERRUPTED",
    "Deposit",
    "Fund",
    "Funded",
    "Held",
    "Hold",
    "Place",
    "PlaceTaken",
    "Progress",
    "Reconcile",
    "Release",
    "Settle",
    "Settled",
    "Turn",
    "Withdraw",
]


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a chat a turn will stand: right after the ``turns`` that are settled so far."""

    chat_no: int
    turns: int
    messages: int
    """How many messages the turn will add at least."""


@dataclass(frozen=True, slots=True)
class Hold(Operation):
    """Reserve ``amount``, or what is there if that is ``minimum`` at least. Result: ``Held``.

    ``lease_id`` spends under a lease of a pooled session, whose taker is then ``owner``.
    ``sent``: the request goes to a provider right after, so a crash must reconcile it.
    ``keep_refusal``: the key is the caller's, who may come back with it.
    ``key_no`` is the API key whose cap it counts against.
    """

    owner: str
    key: str
    fingerprint: bytes
    amount: int
    minimum: int
    expires_ms: int
    sent: bool = False
    keep_refusal: bool = True
    place: Place | None = None
    lease_id: str | None = None
    key_no: int | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A hold as granted.

    ``replayed``: the key had it before; ``state`` says what became of it, ``response`` what was answered.
    """

    key: str
    amount: int
    replayed: bool = False
    state: HoldState = HoldState.OPEN
    response: str | None = None


@dataclass(frozen=True, slots=True)
class PlaceTaken:
    """The chat moved on, or another turn is open: read it again. Not an error of the caller."""

    open_turn: str | None
    expires_ms: int | None


@dataclass(frozen=True, slots=True)
class Turn:
    """Messages that one settled turn adds to its chat, and how long the model took."""

    messages: tuple[Message, ...]
    answering_ms: int


INTERRUPTED: Final = "interrupted"
"""What stands for the model in lines of a hold that was settled for nobody."""


@dataclass(frozen=True, slots=True)
class Settle(Operation):
    """Capture ``cost`` of a hold, at most the hold; the rest is released. Result: ``Settled``.

    What ``cost`` has above the hold is booked as our shortfall, and so is ``unpaid``: what the provider bills
    above the price that was quoted. ``exposure`` is booked too: what the provider may bill, of this attempt
    or of those before it, and nobody pays. ``response`` is kept for the key's next use.
    """

    key: str
    cost: int
    model: str = ""
    input_units: int = 0
    output_units: int = 0
    turn: Turn | None = None
    response: str | None = None
    unpaid: int = 0
    exposure: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """How a hold resolved."""

    key: str
    captured: int
    released: int
    shortfall: int
    available: int
    exposure: int = 0


@dataclass(frozen=True, slots=True)
class Release(Operation):
    """Give a hold back whole. ``loss`` is what the provider of ``model`` may bill for it all the same."""

    key: str
    loss: int = 0
    model: str = ""


@dataclass(frozen=True, slots=True)
class Progress(Operation):
    """A running request is alive until ``expires_ms`` and has delivered what costs ``delivered``."""

    key: str
    delivered: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Reconcile(Operation):
    """Settle a hold past its deadline for what was delivered. Result: ``Settled | None`` (not overdue)."""

    key: str


@dataclass(frozen=True, slots=True)
class Fund(Operation):
    """Add money from outside to a live session; counts as use. Result: ``Funded``."""

    owner: str
    key: str
    fingerprint: bytes
    amount: int
    keep_refusal: bool = True


@dataclass(frozen=True, slots=True)
class Funded:
    """An account after money came in; ``replayed``: the same key brought it before."""

    available: int
    funded: int
    replayed: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Deposit(Operation):
    """Add to an owner's unassigned deposit (``session_id`` is ``deposit_id(owner)``). Result: ``Funded``."""

    owner: str
    asset: str
    key: str
    fingerprint: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class Withdraw(Operation):
    """Take from an owner's unassigned deposit; the money leaves. Result: ``Funded``."""

    owner: str
    key: str
    fingerprint: bytes
    amount: int
    keep_refusal: bool = True
