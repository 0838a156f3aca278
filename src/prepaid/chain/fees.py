"""What a transaction offers for gas (EIP-1559): from what the chain asks now, within the owner's limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from prepaid.chain.connection import Chain
from prepaid.errors import ChainMismatch, GasPriceTooHigh

__all__ = ["GasPrice", "current_gas_price", "raised"]

_TIP_WEI: Final = 1_000_000_000
"""One gwei, where the endpoint does not say what is usual."""


@dataclass(frozen=True, slots=True)
class GasPrice:
    """The most paid for a unit of gas, and what of that goes to who mines it; in wei."""

    max_wei: int
    tip_wei: int

    def fields(self) -> dict[str, int]:
        """As a transaction has them."""
        return {"maxFeePerGas": self.max_wei, "maxPriorityFeePerGas": self.tip_wei}


async def current_gas_price(chain: Chain, limit_wei: int | None) -> GasPrice:
    """Twice the base fee, which is enough for six full blocks to come, and the usual tip.

    Raises:
        GasPriceTooHigh: the base fee and the tip alone are above the limit.
        ChainMismatch: the chain has no base fee.
    """
    block = await chain.recent_block()
    base = block.base_fee_wei
    if base is None:
        raise ChainMismatch("The chain's gas market", "EIP-1559", "an older one")
    tip = await chain.shared("tip", lambda: _usual_tip(chain))
    if limit_wei is None:
        return GasPrice(2 * base + tip, tip)
    if base + tip > limit_wei:
        raise GasPriceTooHigh(base + tip, limit_wei)
    return GasPrice(min(2 * base + tip, limit_wei), tip)


async def _usual_tip(chain: Chain) -> int:
    """What the endpoint says is usual; not every one does."""
    told = await chain.quantity("eth_maxPriorityFeePerGas")
    return _TIP_WEI if told is None else told


def raised(price: GasPrice, current: GasPrice, limit_wei: int | None) -> GasPrice | None:
    """What replaces a transaction that offered ``price``: an eighth more, at least, as every pool demands.

    ``None`` where the limit does not allow it.
    """
    tip = max(current.tip_wei, price.tip_wei + price.tip_wei // 8 + 1)
    most = max(current.max_wei, price.max_wei + price.max_wei // 8 + 1, tip)
    return GasPrice(most, tip) if limit_wei is None or most <= limit_wei else None
