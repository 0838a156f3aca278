"""The fee token as we need it: amounts in its own decimals, allowances, and the two signed ways to pay.

Nothing it returns is believed but what it says of balances and allowances: Ethereum's USDT returns nothing.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from eth_account.messages import encode_typed_data

from prepaid.chain.artefacts import artefact
from prepaid.chain.connection import Chain, as_address
from prepaid.chain.contracts import Contract
from prepaid.chain.sending import Sender
from prepaid.chain.wire import Receipt
from prepaid.errors import ChainError, ChainMismatch, ContractReverted, InsufficientFunds
from prepaid.money import Currency, parse_amount

__all__ = ["Amount", "Authorization", "Permit", "Token"]

Amount = int | Decimal | str
"""Base units as ``int``; whole units as ``Decimal`` or text such as "10 USDT"; never a float."""

_UNITS_MAX: Final = 2**96 - 1
"""What a session's word has room for."""
_CODE: Final = re.compile(r"[A-Za-z]{3,10}")
_CODE_UNKNOWN: Final = "USDT"
_VERSIONS: Final = ("1", "2")
_SIGNATURE_SECONDS: Final = 3600
_CLOCKS_APART_SECONDS: Final = 600

_DOMAIN: Final = (
    ("name", "string"),
    ("version", "string"),
    ("chainId", "uint256"),
    ("verifyingContract", "address"),
)
_PERMIT: Final = (
    ("owner", "address"),
    ("spender", "address"),
    ("value", "uint256"),
    ("nonce", "uint256"),
    ("deadline", "uint256"),
)
_AUTHORIZATION: Final = (
    ("from", "address"),
    ("to", "address"),
    ("value", "uint256"),
    ("validAfter", "uint256"),
    ("validBefore", "uint256"),
    ("nonce", "bytes32"),
)


@dataclass(frozen=True, slots=True)
class Permit:
    """A signed allowance (EIP-2612)."""

    value: int
    deadline: int
    v: int
    r: bytes
    s: bytes


@dataclass(frozen=True, slots=True)
class Authorization:
    """A signed payment (EIP-3009) that anybody may hand in, and that only its receiver can take."""

    owner: str
    value: int
    valid_after: int
    valid_before: int
    nonce: bytes
    signature: bytes


class Token:
    """An ERC-20, in the hands of ``sender``'s wallet if there is one. ``Token.at`` opens it."""

    def __init__(self, contract: Contract, currency: Currency) -> None:
        self.currency = currency
        self._contract = contract

    @classmethod
    async def at(cls, chain: Chain, address: str, sender: Sender | None = None) -> Token:
        """The token at an address, its decimals asked for.

        Raises:
            ChainMismatch: there is no token.
        """
        contract = Contract(chain, artefact("test_usd"), address, sender)  # has all that a fee token can have
        decimals = int(await contract.call("decimals"))
        try:
            symbol = str(await contract.call("symbol"))
        except ChainError:
            symbol = _CODE_UNKNOWN
        code = symbol.upper() if _CODE.fullmatch(symbol) else _CODE_UNKNOWN
        return cls(contract, Currency(code, decimals, _UNITS_MAX))

    @property
    def address(self) -> str:
        """Where it is."""
        return self._contract.address

    def units(self, amount: Amount) -> int:
        """An amount in base units, above zero (``money.parse_amount``).

        Raises:
            InvalidAmount: one of its subclasses, by what is wrong.
        """
        return parse_amount(amount, self.currency)

    async def balance_of(self, owner: str) -> int:
        """What somebody has, in base units."""
        return int(await self._contract.call("balanceOf", as_address(owner)))

    async def allowance(self, owner: str, spender: str) -> int:
        """What ``spender`` may take from ``owner``, in base units."""
        return int(await self._contract.call("allowance", as_address(owner), as_address(spender)))

    async def transfer(self, to: str, amount: Amount) -> Receipt:
        """Pay from the wallet.

        Raises:
            InsufficientFunds: it has less.
        """
        units = self.units(amount)
        await self._require(units)
        return await self._contract.send("transfer", as_address(to), units)

    async def approve(self, spender: str, amount: Amount) -> Receipt:
        """Allow ``spender`` to take this much, instead of whatever it was allowed before."""
        units = self.units(amount)
        if await self.allowance(self._contract.caller, spender) > 0:
            await self._contract.send("approve", as_address(spender), 0)  # USDT takes no change but from zero
        return await self._contract.send("approve", as_address(spender), units)

    async def allow(self, spender: str, amount: Amount) -> None:
        """See that ``spender`` may take at least this much; sends nothing where that is so already.

        Raises:
            InsufficientFunds: the wallet has less.
        """
        units = self.units(amount)
        await self._require(units)
        if await self.allowance(self._contract.caller, spender) < units:
            await self.approve(spender, units)

    async def permit(self, spender: str, amount: Amount) -> Permit:
        """Sign an allowance that is valid for an hour.

        Raises:
            ChainMismatch: the token has no EIP-2612.
            WalletUnusable: the wallet cannot, or will not.
        """
        owner, units = self._contract.caller, self.units(amount)
        message: dict[str, Any] = {
            "owner": owner,
            "spender": as_address(spender),
            "value": units,
            "nonce": await self._signed_so_far(owner),
            "deadline": await self._contract.chain.time() + _SIGNATURE_SECONDS,
        }
        signature = await self._signed("Permit", _PERMIT, message)
        return Permit(units, message["deadline"], signature[64], signature[:32], signature[32:64])

    async def authorize(self, to: str, amount: Amount) -> Authorization:
        """Sign a payment to ``to`` that is valid for an hour; who hands it in pays the gas.

        Raises:
            ChainMismatch: the token has no typed signatures.
            WalletUnusable: the wallet cannot, or will not.
        """
        now = await self._contract.chain.time()
        message: dict[str, Any] = {
            "from": self._contract.caller,
            "to": as_address(to),
            "value": self.units(amount),
            "validAfter": now - _CLOCKS_APART_SECONDS,
            "validBefore": now + _SIGNATURE_SECONDS,
            "nonce": secrets.token_bytes(32),
        }
        signature = await self._signed("ReceiveWithAuthorization", _AUTHORIZATION, message)
        owner, _, value, after, before, nonce = message.values()
        return Authorization(owner, value, after, before, nonce, signature)

    async def _signed(self, name: str, fields: tuple[tuple[str, str], ...], message: dict[str, Any]) -> bytes:
        typed = {
            "types": {"EIP712Domain": _typed(_DOMAIN), name: _typed(fields)},
            "primaryType": name,
            "domain": {},
            "message": message,
        }
        try:
            separator = bytes(await self._contract.call("DOMAIN_SEPARATOR"))
        except (ChainMismatch, ContractReverted):
            raise ChainMismatch("The token", "one with typed signatures", "one without") from None
        token_name = await self._contract.call("name")
        for version in _VERSIONS:  # few tokens tell theirs, all tell what comes of it
            typed["domain"] = {
                "name": token_name,
                "version": version,
                "chainId": self._contract.chain.chain_id,
                "verifyingContract": self.address,
            }
            if encode_typed_data(full_message=typed).header == separator:
                return await self._contract.sender.wallet.sign_typed_data(typed)
        raise ChainMismatch("The token's signing domain", f"version {' or '.join(_VERSIONS)}", "another")

    async def _signed_so_far(self, owner: str) -> int:
        try:
            return int(await self._contract.call("nonces", owner))
        except (ChainMismatch, ContractReverted):
            raise ChainMismatch("The token", "one with EIP-2612", "one without") from None

    async def _require(self, units: int) -> None:
        balance = await self.balance_of(self._contract.caller)
        if balance < units:
            raise InsufficientFunds(units, balance).reworded(
                f"{self._contract.caller} has {balance} base units of the token; {units} are needed.",
                "Get more of it, or pass a smaller amount.",
            )


def _typed(fields: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [{"name": name, "type": kind} for name, kind in fields]
