"""Idempotency keys of leases: a taker meets neither the owner's keys nor those of other takers.

A key that is sent has no spaces in it (``ledger.check_key``), so nobody can send one that is kept with some.
"""

from __future__ import annotations

__all__ = ["key_in_space", "key_sent"]


def key_in_space(key: str, lease_id: str | None) -> str:
    """A sender's key as the session keeps it: of a lease, with the lease before it, and a space before that.

    Attempts after the first have their number after a space, so the first space tells the two apart.
    """
    return key if lease_id is None else f" {lease_id} {key}"


def key_sent(key: str) -> str:
    """The key as its sender knows it."""
    parts = key.split(" ")
    return parts[2] if key.startswith(" ") and len(parts) > 2 else parts[0]  # noqa: PLR2004 -- as above
