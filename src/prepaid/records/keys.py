"""The nouns of API keys: who holds one, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Final

__all__ = ["OPERATOR", "ApiKeyRecord", "KeyKind", "holder_of_user"]

OPERATOR: Final = "op"
"""The holder of the operator's keys."""

_USER: Final = "usr_"


class KeyKind(StrEnum):
    """Whose a key is, which says what it may do (docs/security.md)."""

    OPERATOR = "operator"
    USER = "user"
    SESSION = "session"


def holder_of_user(owner: str) -> str:
    """The holder of a user's keys. It stands in every key, where a name of any script would not do."""
    return _USER + blake2b(owner.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class ApiKeyRecord:
    """What is kept of a key: of its secret only the SHA-256, amounts in base units.

    ``holder`` is a session's id, ``holder_of_user`` of a user, or ``OPERATOR``; ``number`` counts the
    holder's keys from 1. ``owner`` is the session's, or the user, or empty for the operator; ``asset`` is
    the session's. ``previous_digest`` is valid until ``previous_until_ms``, after a rotation with a grace.
    """

    holder: str
    number: int
    owner: str
    asset: str | None
    name: str
    digest: bytes = field(repr=False)
    previous_digest: bytes | None = field(repr=False)
    previous_until_ms: int | None
    cap: int | None
    reserved: int
    spent: int
    models: tuple[str, ...] | None
    created_ms: int
    expires_ms: int | None
    revoked_ms: int | None

    @property
    def key_id(self) -> str:
        """The key without its secret: it may stand in lists and logs."""
        return f"pp_{self.holder}.{self.number}"

    @property
    def kind(self) -> KeyKind:
        """Whose it is."""
        if self.holder == OPERATOR:
            return KeyKind.OPERATOR
        return KeyKind.USER if self.holder.startswith(_USER) else KeyKind.SESSION
