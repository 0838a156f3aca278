"""API keys of sessions: shown once, kept only as a hash, and naming their session themselves."""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256
from typing import Final

from prepaid.errors import AuthenticationError

__all__ = ["ApiKey", "digest_of", "matches", "new_api_key", "session_of"]

_PREFIX: Final = "pp_"
_KEY_LENGTH_MAX: Final = 256

ApiKey = str


def new_api_key(session_id: str) -> tuple[ApiKey, bytes]:
    """A key for this session and the digest to keep of it. 192 random bits need no slow hash."""
    key = f"{_PREFIX}{session_id.removeprefix('ses_')}_{secrets.token_urlsafe(24)}"
    return key, digest_of(key)


def digest_of(key: ApiKey) -> bytes:
    """What is kept of a key."""
    return sha256(key.encode()).digest()


def session_of(key: ApiKey) -> str:
    """The session that a key names.

    Raises:
        AuthenticationError: it is not one of our keys. The message never repeats it.
    """
    is_text = isinstance(key, str) and len(key) <= _KEY_LENGTH_MAX and key.isascii()
    parts = key.split("_", 2) if is_text else []
    if len(parts) != 3 or parts[0] != "pp":  # noqa: PLR2004
        raise AuthenticationError("This is not a prepaid API key.")
    return f"ses_{parts[1]}"


def matches(key: ApiKey, digest: bytes | None) -> bool:
    """Whether the digest is this key's, in constant time."""
    return digest is not None and hmac.compare_digest(digest_of(key), digest)
