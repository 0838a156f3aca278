"""API keys as text: ``pp_``, whose it is, a dot, its number, ``_``, 192 random bits (docs/security.md)."""

from __future__ import annotations

import hmac
import re
import secrets
from hashlib import sha256
from typing import Final

from prepaid.errors import AuthenticationError, KeyNotFound
from prepaid.records import ApiKeyRecord

__all__ = ["digest_of", "invalid_key", "matches", "new_secret", "parse_key", "parse_key_id"]

_SECRET_BYTES: Final = 24
_KEY_ID: Final = r"pp_((?:ses|usr)_[0-9a-z]{1,40}|op)\.([1-9][0-9]{0,8})"
_IS_KEY_ID: Final = re.compile(_KEY_ID, re.ASCII)
_IS_KEY: Final = re.compile(_KEY_ID + r"_([A-Za-z0-9_-]{32})", re.ASCII)
_NOBODYS: Final = sha256(secrets.token_bytes(_SECRET_BYTES)).digest()


def new_secret() -> tuple[str, bytes]:
    """The end of a new key, and the digest to keep of it. 192 random bits need no slow hash."""
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    return secret, digest_of(secret)


def digest_of(secret: str) -> bytes:
    """What is kept of a secret."""
    return sha256(secret.encode()).digest()


def parse_key(api_key: str) -> tuple[str, int, bytes]:
    """A key's holder and number, and the digest of its secret.

    Raises:
        AuthenticationError: it is not one of our keys. The message never repeats it.
    """
    match = _IS_KEY.fullmatch(api_key) if isinstance(api_key, str) else None
    if match is None:
        raise AuthenticationError("This is not a prepaid API key.")
    return match[1], int(match[2]), digest_of(match[3])


def parse_key_id(key_id: str) -> tuple[str, int]:
    """A key's holder and number, from its id.

    Raises:
        KeyNotFound: it can be no key's. A whole key is not repeated.
    """
    match = _IS_KEY_ID.fullmatch(key_id) if isinstance(key_id, str) else None
    if match is None:
        whole = _IS_KEY_ID.match(key_id) if isinstance(key_id, str) else None
        raise KeyNotFound(whole[0] if whole else "?")
    return match[1], int(match[2])


def matches(digest: bytes, record: ApiKeyRecord | None, now_ms: int) -> bool:
    """Whether a secret's digest is this key's, or was until a rotation whose grace still runs.

    In constant time, also where there is no such key.
    """
    current = _NOBODYS if record is None else record.digest
    is_current = hmac.compare_digest(digest, current)
    if record is None or record.previous_digest is None or record.previous_until_ms is None:
        return is_current
    is_previous = hmac.compare_digest(digest, record.previous_digest)
    return is_current or (is_previous and now_ms < record.previous_until_ms)


def invalid_key() -> AuthenticationError:
    """One refusal for all that does not match: it tells a guesser nothing."""
    return AuthenticationError("This API key is not valid (any more).")
