"""Operations on sessions: opened, paused, closed."""

from __future__ import annotations

from dataclasses import dataclass, field

from prepaid.records import NO_LIMITS, KeyLimits, SessionState
from prepaid.store.operations.base import Operation

__all__ = [
    "ChooseSession",
    "Close",
    "CloseIfDue",
    "Closed",
    "CreateSession",
    "Created",
    "GetOrCreate",
    "Limits",
    "SetIdle",
    "SetState",
]


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
    ``keep_refusal``: the key is the caller's, who may come back with it.
    ``key_digest`` is that of the session's first API key, which has ``key_limits``.
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
    key_limits: KeyLimits = NO_LIMITS
    limits: Limits = field(default_factory=Limits)
    keep_refusal: bool = True


@dataclass(frozen=True, slots=True)
class Created:
    """The session under this key: a new one, or the one that the same key opened before.

    ``held`` is what requests in flight still hold of the session that it replaces.
    """

    session_id: str
    available: int
    held: int = 0


@dataclass(frozen=True, slots=True)
class GetOrCreate(CreateSession):
    """Use the owner's newest active session with money in this asset, or open one. Result: ``Created``.

    Use counts: the found session's ``request_count`` and time of last use move on (spec B2).
    """


@dataclass(frozen=True, slots=True)
class ChooseSession(Operation):
    """Bind an owner's key to the session that ``wanted`` finds or opens. Result: ``Created``.

    ``session_id`` is the owner's deposit. The same key again gets the same session, whatever has become of
    it, since money may have been spent there under the key (spec D3). A refusal binds nothing.
    """

    key: str
    fingerprint: bytes
    wanted: CreateSession


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
class SetIdle(Operation):
    """Give live sessions another idle age, in order from after ``session_id``, at most ``limit``.

    Result: the id of the last one, or ``None`` where there are no more. Sessions without such an age
    keep none.
    """

    idle_ms: int
    limit: int
