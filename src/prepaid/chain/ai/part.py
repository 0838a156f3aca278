"""What the parts of the AI contract's client share: the contract itself, and its token."""

from __future__ import annotations

from prepaid.chain.contracts import Contract
from prepaid.chain.tokens import Token

__all__ = ["Part"]


class Part:
    """A part of ``AiContract``."""

    def __init__(self, contract: Contract, token: Token) -> None:
        self.contract = contract
        self.token = token

    @property
    def address(self) -> str:
        """Where the contract is."""
        return self.contract.address
