"""Limits guesses at API keys: so many a minute from one address, and beyond that few look-ups.

Behind one address there may be many: all of a proxy's customers. So keys that worked here go on working,
whatever else comes from there. One that has not been here yet, as none has when the process has just started,
is looked up if it has the form of a key and something is left of the second's look-ups.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from typing import Final

from prepaid.errors import AuthenticationError, TooManyFailedKeys
from prepaid.sessions.api_keys import parse_key

__all__ = ["Guesses", "block_of"]

_ADDRESSES_MAX: Final = 16_384
_KEYS_MAX: Final = 16_384
_HOST_BITS: Final = 64
"""Of an IPv6 address: one customer has at least as many, so they count as one address."""
_SECONDS: Final = 60.0
_LOOK_UPS_A_SECOND: Final = 100
"""For all addresses together that have failed too often."""
_LOOK_UPS_OF_ONE: Final = 5
"""How many of them are for one key's id: who guesses one key leaves the others to customers."""


class Guesses:
    """Counts failed keys by the sender's address; ``limit`` a minute, 0 for any number.

    What it remembers is bounded: it forgets the addresses and keys that it has not seen for longest.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._look_ups = _LookUps()

    def check(self, address: str, api_key: str) -> None:
        """Refuse a key that never worked here, from an address that has failed too often and asks too much.

        Raises:
            TooManyFailedKeys: too many failed; the database must not be asked.
        """
        if not self._spent:  # nobody has guessed
            return
        block = block_of(address)
        spent = self._left_over(block)
        if spent + 1 <= self._limit or _digest(api_key) in self._known:
            return
        key_id = _id_of(api_key)
        if key_id is not None and self._look_ups.take(block, key_id, self._clock()):
            return
        after_seconds = (spent + 1 - self._limit) * _SECONDS / self._limit
        if key_id is not None:
            after_seconds = min(after_seconds, 1.0)  # there are others then
        raise TooManyFailedKeys("failed_keys_per_minute", self._limit, after_seconds)

    def failed(self, address: str, api_key: str) -> None:
        """Note that a key from there is invalid, or no longer valid."""
        if not self._limit:
            return
        self._known.pop(_digest(api_key), None)
        block = block_of(address)
        self._spent[block] = (min(self._left_over(block) + 1, self._limit), self._clock())
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


class _LookUps:
    """Those of one second, shared among the addresses that ask, and within each among the keys' ids."""

    def __init__(self) -> None:
        self._second = 0
        self._left = 0
        self._asking = 0
        """How many addresses asked in the second before."""
        self._by_block: Counter[str] = Counter()
        self._by_id: Counter[tuple[str, str]] = Counter()

    def take(self, block: str, key_id: str, now: float) -> bool:
        """Whether there is one left for this id, from this address."""
        self._begin(int(now))
        self._by_block[block] += 0  # it asks, whether it gets any or none
        share = max(_LOOK_UPS_A_SECOND // max(self._asking, len(self._by_block)), 1)
        has_some = self._left and self._by_block[block] < share
        if not has_some or self._by_id[block, key_id] >= _LOOK_UPS_OF_ONE:
            return False
        self._left -= 1
        self._by_block[block] += 1
        self._by_id[block, key_id] += 1
        return True

    def _begin(self, second: int) -> None:
        if second != self._second:
            self._asking = len(self._by_block) if second == self._second + 1 else 0
            self._second = second
            self._left = _LOOK_UPS_A_SECOND
            self._by_block.clear()
            self._by_id.clear()


def _id_of(api_key: str) -> str | None:
    """What stands before the secret; nothing, of what can be no key."""
    try:
        holder, number, _ = parse_key(api_key)
    except AuthenticationError:
        return None
    return f"{holder}.{number}"


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
