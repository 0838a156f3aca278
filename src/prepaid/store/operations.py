"""Every change there is, as data. A store applies them in batches; nothing else writes.

An operation is accepted or refused on its own. ``key`` makes it safe to send again: the same key
and content give the same result, a different content conflicts (guarantee 5). ``owner`` binds it:
somebody else's session does not exist (spec A5).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from prepaid.records import HoldState, Message, SessionState

__all__ = [
    "AddToPool",
    "AppendMessages",
    "ClearMessages",
    "Close",
    "CloseIfDue",
    "Closed",
    "CreateChat",
    "CreateSession",
    "Created",
    "Deposit",
    "EndLease",
    "Fund",
    "Funded",
    "Held",
    "Hold",
    "Lease",
    "Limits",
    "Operation",
    "Place",
    "PlaceTaken",
    "PopMessage",
    "Progress",
    "Reconcile",
    "Release",
    "RemoveFromPool",
    "SaveSettings",
    "SetKey",
    "SetState",
    "Settle",
    "Settled",
    "SwitchChat",
    "TakeFromPool",
    "Turn",
    "UpdateChat",
    "Withdraw",
]


@dataclass(frozen=True, slots=True)
class Operation:
    """One change to one session's rows."""

    session_id: str


OperationT = TypeVar("OperationT", bound=Operation)


# --- money ---------------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True)
class Settle(Operation):
    """Capture ``cost`` of a hold, at most the hold; the rest is released. Result: ``Settled``.

    What ``cost`` has above the hold is booked as our loss. ``response`` is kept for the key's next use.
    """

    key: str
    cost: int
    model: str = ""
    input_units: int = 0
    output_units: int = 0
    turn: Turn | None = None
    response: str | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """How a hold resolved."""

    key: str
    captured: int
    released: int
    shortfall: int
    available: int


@dataclass(frozen=True, slots=True)
class Release(Operation):
    """Give a hold back whole. ``loss`` is what a provider may bill us for it all the same."""

    key: str
    loss: int = 0


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
    """An account after money came in."""

    available: int
    funded: int


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


# --- sessions ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that a creation must respect in every process at once (spec C11)."""

    active_max: int | None = None
    per_user_max: int | None = None
    chats_max: int | None = None
    pool_max: int | None = None


@dataclass(frozen=True, slots=True)
class CreateSession(Operation):
    """Open a session. Result: ``Created``.

    ``amount`` comes from outside, or from the owner's deposit (all of it when ``amount`` is ``None``).
    ``replaces`` closes that session first and carries over what it refunds (restart, spec A8).
    """

    owner: str
    asset: str
    key: str
    fingerprint: bytes
    amount: int | None
    from_deposit: bool = False
    replaces: str | None = None
    minimum: int = 0
    name: str = ""
    metadata: str = "{}"
    preferences: str = "{}"
    tags: tuple[str, ...] = ()
    expires_ms: int | None = None
    idle_ms: int | None = None
    auto_save: bool = True
    key_digest: bytes | None = None
    limits: Limits = field(default_factory=Limits)
    keep_refusal: bool = True


@dataclass(frozen=True, slots=True)
class Created:
    """The session under this key: a new one, or the one that the same key opened before."""

    session_id: str
    available: int


@dataclass(frozen=True, slots=True)
class SetState(Operation):
    """Pause or resume. Result: ``None``."""

    owner: str
    state: SessionState
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Close(Operation):
    """Close and refund what is free; what is held follows when it settles. Result: ``Closed``.

    With a ``key``, the same close again gives the same result; otherwise a second one is refused with
    ``SessionAlreadyClosed``.
    """

    owner: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class Closed:
    """What a close paid back now, and what is still held by requests in flight."""

    session_id: str
    owner: str
    refunded: int
    held: int
    expired: bool = False


@dataclass(frozen=True, slots=True)
class CloseIfDue(Operation):
    """Close a session that is past its expiry or idle too long; otherwise put off the next look.

    Result: ``Closed | None``. ``idle_ms`` overrides the age that the session was created with.
    """

    idle_ms: int | None = None


@dataclass(frozen=True, slots=True)
class SetKey(Operation):
    """Replace a session's API key by another, whose digest this is."""

    owner: str
    key_digest: bytes


# --- chats ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CreateChat(Operation):
    """Add a chat and make it current. Result: its number, from 1."""

    owner: str
    name: str
    config: str
    metadata: str = "{}"
    tags: tuple[str, ...] = ()
    message_max: int | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class SwitchChat(Operation):
    """Make a chat the current one."""

    owner: str
    chat_no: int


@dataclass(frozen=True, slots=True)
class UpdateChat(Operation):
    """Replace a chat's configuration."""

    owner: str
    chat_no: int
    config: str


@dataclass(frozen=True, slots=True)
class AppendMessages(Operation):
    """Store messages that were not paid for here (imports, other libraries' agents). Result: their count."""

    owner: str
    chat_no: int
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class PopMessage(Operation):
    """Remove and return the chat's last message, or ``None``."""

    owner: str
    chat_no: int


@dataclass(frozen=True, slots=True)
class ClearMessages(Operation):
    """Remove all messages of a chat."""

    owner: str
    chat_no: int


# --- pool and settings ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AddToPool(Operation):
    """Share a session; takers may spend ``cap`` each at most."""

    owner: str
    cap: int | None
    limits: Limits


@dataclass(frozen=True, slots=True)
class RemoveFromPool(Operation):
    """Stop sharing a session; a lease that runs ends at its deadline."""

    owner: str


@dataclass(frozen=True, slots=True)
class TakeFromPool(Operation):
    """Lease the session that has waited longest (``session_id`` is empty). Result: ``Lease``."""

    taker: str
    lease_id: str
    lasts_ms: int


@dataclass(frozen=True, slots=True)
class Lease:
    """A pooled session in one taker's hands until ``expires_ms``."""

    session_id: str
    lease_id: str
    owner: str
    taker: str
    cap: int | None
    expires_ms: int


@dataclass(frozen=True, slots=True)
class EndLease(Operation):
    """Give a pooled session back (``taker``), or take it back once overdue (``taker`` is ``None``)."""

    lease_id: str
    taker: str | None


@dataclass(frozen=True, slots=True)
class SaveSettings(Operation):
    """Keep what ``update_config`` set (``session_id`` is empty)."""

    values: tuple[tuple[str, str], ...]
