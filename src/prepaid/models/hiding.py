"""Hides what only the operator may read of a provider's words: keys, accounts, addresses.

Logs get a provider's words with secrets masked. Clients never get them: all that is told here is whether
they are about the operator's affairs, rather than about the request.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from prepaid.config.problems import QUERIES_SHOWN

__all__ = ["Hidden"]

_MASK: Final = "***"
_PART_LENGTH: Final = 6
"""So many characters of a secret's beginning or end give it away; of its middle, two more."""
_KEYS: Final = re.compile(r"\b(sk|pk|rk|gsk|xai|hf|nvapi|r8|AIza|AKIA)([-_]?)[A-Za-z0-9_-]{6,}")
_AFFAIRS: Final = re.compile(
    r"""(?ix)
    \b(?:sk|pk|rk|gsk|nvapi|org|proj|acct)[-_]\w+  # keys and ids by their usual prefixes
    | [\w-]*(?:\*{2,}|•+)[\w-]*                    # masked forms: sk-up***6789
    | (?<![a-z0-9])(?:api[\ _-]?key|credential|password|organi[sz]ation|billing|quota|credit|balance
        |subscription|deployment|tenant|account|workspace|unauthori[sz]ed|authentication|authorization
        |permission)s?(?![a-z])
    """
)
"""What a provider calls things that are between it and the operator."""


class Hidden:
    """What must not be shown of one upstream: its key, and the address and credentials in its base URL."""

    def __init__(self, api_key: str | None = None, base_url: str = "") -> None:
        parts = urlsplit(base_url)
        query = [value for name, value in parse_qsl(parts.query) if name not in QUERIES_SHOWN]
        found = [api_key, parts.password, unquote(parts.password or ""), *query]
        self._secrets = sorted({each for each in found if each}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._secrets)), re.IGNORECASE)
        self._pieces = frozenset(piece for secret in self._secrets for piece in _pieces(secret.lower()))

    def masked(self, text: str) -> str:
        """``text`` for logs: whatever is a secret in it, or looks like a key, is masked."""
        if self._secrets:
            text = self._pattern.sub(_MASK, text)
        return _KEYS.sub(rf"\1\2{_MASK}", text)

    def is_about_us(self, text: str, asked: str = "") -> bool:
        """Whether ``text`` has a part of a secret, or speaks of keys and accounts as ``asked`` does not."""
        lowered = text.lower()
        if any(piece in lowered for piece in self._pieces):
            return True
        return any(found[0] not in asked for found in _AFFAIRS.finditer(text))


def _pieces(secret: str) -> set[str]:
    """The beginning, the end, and longer pieces of the middle; a short secret is its only piece."""
    if len(secret) <= _PART_LENGTH:
        return {secret}
    length = _PART_LENGTH + 2
    middle = {secret[at : at + length] for at in range(len(secret) - length + 1)}
    return {secret[:_PART_LENGTH], secret[-_PART_LENGTH:], *middle}
