"""What a session tells in either realm, on the ledger and on a chain; amounts in base units."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RealmAnswer", "RealmRefund", "RealmStats"]


@dataclass(frozen=True, slots=True)
class RealmAnswer:
    """An answer, and what it cost the session."""

    request_id: str
    session_id: str
    model: str
    text: str
    cost: int


@dataclass(frozen=True, slots=True)
class RealmRefund:
    """What a close paid back at once, and what is held by requests in flight and follows as they settle."""

    session_id: str
    refunded: int
    held: int


@dataclass(frozen=True, slots=True)
class RealmStats:
    """A session in numbers: whose it is, what is free, what is held, whether it can be used."""

    session_id: str
    owner: str
    available: int
    held: int
    is_open: bool
