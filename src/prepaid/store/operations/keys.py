"""Operations on API keys. ``session_id`` is the key's holder: a session, a user or the operator."""

from __future__ import annotations

from dataclasses import dataclass

from prepaid.store.operations.base import Operation

__all__ = ["IssueFirstKey", "IssueKey", "RevokeKey", "RotateKey"]


@dataclass(frozen=True, slots=True)
class IssueKey(Operation):
    """Add a key, of whose secret this is the digest. Result: its number.

    ``cap`` bounds what a session's key spends and holds at any moment, in base units; ``models`` are all
    that it may ask; ``live_max`` is how many the holder may have that are neither revoked nor expired.
    """

    owner: str
    digest: bytes
    live_max: int
    name: str = ""
    cap: int | None = None
    models: tuple[str, ...] | None = None
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True)
class IssueFirstKey(IssueKey):
    """Add a key where the holder never had one. Result: its number, or ``None``."""


@dataclass(frozen=True, slots=True)
class RotateKey(Operation):
    """Give a key another secret; what it spent stays. The secret before is valid for ``grace_ms`` more."""

    owner: str
    number: int
    digest: bytes
    grace_ms: int = 0


@dataclass(frozen=True, slots=True)
class RevokeKey(Operation):
    """End a key for good; again does nothing."""

    owner: str
    number: int
