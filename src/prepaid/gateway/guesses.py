"""Limits guesses at API keys: so many a minute from one address, and beyond that the database is not asked.

Keys that have worked here go on working, whatever else comes from their address: many may share it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from typing import Final

from prepaid.errors import TooManyFailedKeys

__all__ = ["Guesses", "block_of"]

_ADDRESSES_MAX: Final = 16_384
_KEYS_MAX: Final = 16_384
_HOST_BITS: Final = 64
"""Of an IPv6 address: one customer has at least as many, so they count as one address."""
_SECONDS: Final = 60.0


class Guesses:
    """Counts failed keys by the sender's address; ``limit`` a minute, 0 for any number.

    What it remembers is bounded: it forgets the addresses and keys that it has not seen for longest.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def check(self, address: str, api_key: str) -> None:
        """Refuse a key that never worked here, from an address that has failed too often.

        Raises:
            TooManyFailedKeys: too many failed; the database must not be asked.
        """
        if not self._spent:  # nobody has guessed
            return
        spent = self._left_over(block_of(address))
        if spent + 1 > self._limit and _digest(api_key) not in self._known:
            after_seconds = (spent + 1 - self._limit) * _SECONDS / self._limit
            raise TooManyFailedKeys("failed_keys_per_minute", self._limit, after_seconds)

    def failed(self, address: str, api_key: str) -> None:
        """Note that a key from there is invalid, or no longer valid."""
        if not self._limit:
            return
        self._known.pop(_digest(api_key), None)
        block = block_of(address)
        self._spent[block] = (self._left_over(block) + 1, self._clock())
        self._spent.move_to_end(block)
        if len(self._spent) > _ADDRESSES_MAX:
            self._spent.popitem(last=False)

    def worked(self, api_key: str) -> None:
        """Note a valid key: its sender does not guess."""
        if not self._limit:
            return
        digest = _digest(api_key)
        self._known[digest] = None
        self._known.move_to_end(digest)
        if len(self._known) > _KEYS_MAX:
            self._known.popitem(last=False)

    def _left_over(self, block: str) -> float:
        """The failures of an address that are not forgiven yet; they are forgiven one by one."""
        spent, at = self._spent.get(block, (0.0, 0.0))
        return max(spent - (self._clock() - at) * self._limit / _SECONDS, 0.0)


def block_of(address: str) -> str:
    """The range within which one client can change its address: the address itself, or an IPv6 /64."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:  # a socket's, or not an address
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(int(parsed) >> _HOST_BITS)
    return str(parsed)


def _digest(api_key: str) -> bytes:
    return sha256(api_key.encode()).digest()
