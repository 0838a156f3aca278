"""What a provider may bill, and nobody pays, where an answer did not come to its end."""

from __future__ import annotations

from prepaid.errors import MayBill, ProviderError

__all__ = ["exposure"]


def exposure(reason: BaseException | None, worst: int, *, charged: int = 0, delivered: int = 0) -> int:
    """What the provider may bill beyond ``charged``, in base units, where ``reason`` ended its answer.

    ``worst`` is the most that it may bill for the whole answer. Its own error, told inside the answer, bills
    what it ``delivered`` by then; a refusal bills nothing. After anything else, a caller that has left
    included, nobody knows how far it got. Source: spec P3, P4.
    """
    most = worst
    if isinstance(reason, ProviderError):
        if reason.may_bill is MayBill.NOTHING:
            return 0
        if reason.may_bill is MayBill.DELIVERED:
            most = min(delivered, worst)
    return max(most - charged, 0)
