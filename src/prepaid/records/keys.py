"""The nouns of API keys: who holds one, and what is kept of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from prepaid.errors import KeyTooNarrow, ModelNotAllowed

__all__ = ["NO_LIMITS", "OPERATOR", "ApiKeyRecord", "KeyKind", "KeyLimits", "holder_of_user"]

OPERATOR: Final = "op"
"""The holder of the operator's keys."""

_USER: Final = "usr_"
_LAST_MS: Final = 253_402_300_799_999
"""Of the year 9999, after which no time can be told; older versions kept such as well."""


class KeyKind(StrEnum):
    """Whose a key is, which says what it may do (docs/security.md)."""

    OPERATOR = "operator"
    USER = "user"
    SESSION = "session"


def holder_of_user(owner: str) -> str:
    """The holder of a user's keys. It stands in every key, where a name of any script would not do."""
    return _USER + blake2b(owner.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What a key may do at most; ``None`` is no limit (spec M1).

    ``models`` are those that it may ask, ``expires_ms`` is when it ends, ``cap`` what it may spend in all.
    Whatever makes or hands out a secret on behalf of a key asks ``narrowed`` or ``covers``, and nothing else
    decides about that.
    """

    models: tuple[str, ...] | None = None
    expires_ms: int | None = None
    cap: int | None = None

    def narrowed(self, issuer: KeyLimits) -> KeyLimits:
        """The limits of a new key: these, which were asked for, within those of the key that asks.

        Raises:
            KeyTooNarrow: they have no model in common; or the issuer has a cap, which nothing would bind the
                new key to.
        """
        if issuer.cap is not None:
            raise KeyTooNarrow("make another key", str(issuer))
        return KeyLimits(self._models_within(issuer), _earlier(self.expires_ms, issuer.expires_ms), self.cap)

    def covers(self, other: KeyLimits) -> bool:
        """Whether a key with ``other`` can do nothing that one with these limits cannot.

        With a cap they cover no other key: two keys with one cap each may spend twice as much.
        """
        return (
            self.cap is None
            and (self.models is None or (other.models is not None and {*other.models} <= {*self.models}))
            and _earlier(self.expires_ms, other.expires_ms) == other.expires_ms
        )

    def check_models(self, names: Iterable[str]) -> None:
        """Refuse models that the key is not for.

        Raises:
            ModelNotAllowed: one of them is not in the list.
        """
        for name in names:
            if self.models is not None and name not in self.models:
                raise ModelNotAllowed(name, self.models)

    def _models_within(self, issuer: KeyLimits) -> tuple[str, ...] | None:
        if self.models is None or issuer.models is None:
            return issuer.models if self.models is None else self.models
        both = tuple(name for name in self.models if name in issuer.models)
        if not both:
            raise KeyTooNarrow(f"make a key for {_listed(self.models)}", str(issuer))
        return both

    def __str__(self) -> str:
        told = [] if self.models is None else [_listed(self.models)]
        if self.expires_ms is not None:
            until = datetime.fromtimestamp(min(self.expires_ms, _LAST_MS) / 1000, UTC)
            told.append(f"the time until {until.isoformat()}")
        if self.cap is not None:
            told.append(f"a cap of {self.cap} base units")
        return ", ".join(told) or "nothing"


NO_LIMITS: Final = KeyLimits()
"""A key that may do all that its kind may."""

_LISTED_MAX: Final = 8


def _listed(models: tuple[str, ...]) -> str:
    more = ", …" if len(models) > _LISTED_MAX else ""
    return f"{'model' if len(models) == 1 else 'models'} {', '.join(models[:_LISTED_MAX])}{more}"


def _earlier(one_ms: int | None, other_ms: int | None) -> int | None:
    return min((each for each in (one_ms, other_ms) if each is not None), default=None)


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
    def limits(self) -> KeyLimits:
        """What it may do at most."""
        return KeyLimits(self.models, self.expires_ms, self.cap)

    @property
    def kind(self) -> KeyKind:
        """Whose it is."""
        if self.holder == OPERATOR:
            return KeyKind.OPERATOR
        return KeyKind.USER if self.holder.startswith(_USER) else KeyKind.SESSION
