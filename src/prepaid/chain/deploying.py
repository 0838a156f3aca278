"""Deploying the contracts, by the deterministic deployer where the chain has it.

An address then depends on the code and on what the constructor is given, and on nothing else: deploying what
is there already finds it, and nobody can put anything else there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from eth_abi.abi import encode
from eth_utils.abi import collapse_if_tuple
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from prepaid.chain.artefacts import Artefact, artefact
from prepaid.chain.connection import Chain, as_address
from prepaid.chain.refusals import refusals_as_ours
from prepaid.chain.sending import Policy, Sender
from prepaid.chain.wallets import Wallet
from prepaid.errors import ChainError

__all__ = ["Deployer", "ManagerConfig", "creation_code"]

CREATE2_DEPLOYER: Final = "0x4e59b44847b379578588920cA78FbF26c0B4956C"
"""The deterministic deployment proxy, at this address on every chain that has it."""

_SALT: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class ManagerConfig:
    """What the session manager's administrator sets; base units and seconds (spec B11)."""

    minimum_balance: int
    session_age_seconds: int = 86_400
    pool_size: int = 5
    lease_seconds: int = 3_600

    def words(self) -> tuple[int, int, int, int]:
        """In the contract's order."""
        return (self.minimum_balance, self.session_age_seconds, self.pool_size, self.lease_seconds)


class Deployer:
    """Deploys in one wallet's name."""

    def __init__(self, chain: Chain, wallet: Wallet, policy: Policy | None = None) -> None:
        self._chain = chain
        self._sender = Sender(chain, wallet, policy)

    async def ai_contract(self, token: str, administrator: str | None = None) -> str:
        """The AI contract for a fee token, for good; its address.

        ``administrator``, by default the wallet, registers system nodes and models.
        """
        admin = as_address(administrator or self._sender.wallet.address)
        return await self.deploy(artefact("dtn_ai"), as_address(token), admin)

    async def session_manager(self, ai: str, config: ManagerConfig, administrator: str | None = None) -> str:
        """A session manager for an AI contract; its address. ``administrator`` changes its configuration."""
        admin = as_address(administrator or self._sender.wallet.address)
        return await self.deploy(artefact("session_manager"), as_address(ai), admin, config.words())

    async def test_token(self, decimals: int = 6) -> str:
        """A token like Ethereum's USDT, which returns nothing; anybody can mint it. For local chains."""
        return await self.deploy(artefact("test_usdt"), decimals)

    async def mint(self, token: str, to: str, units: int) -> None:
        """Make some of a test token."""
        data = keccak(text="mint(address,uint256)")[:4] + encode(
            ["address", "uint256"], [as_address(to), units]
        )
        await self._sender.send({"to": as_address(token), "data": f"0x{data.hex()}"})

    async def deploy(self, made: Artefact, *arguments: Any) -> str:
        """Any contract; its address, which is the same each time where the chain has the deployer.

        Raises:
            PrepaidError: the constructor refused.
        """
        code = creation_code(made, *arguments)
        if not await self._chain.code_at(CREATE2_DEPLOYER):
            receipt = await self._sender.send({"data": f"0x{code.hex()}"})
            return str(receipt["contractAddress"])
        address = _create2_address(code)
        if not await self._chain.code_at(address):
            await self._rehearse(code)
            await self._sender.send({"to": CREATE2_DEPLOYER, "data": f"0x{(_SALT + code).hex()}"})
        if not await self._chain.code_at(address):
            raise ChainError(
                f"{made.contract} was not created at {address}.", remedy="Look at the transaction."
            )
        return address

    async def _rehearse(self, code: bytes) -> None:
        """The deployer passes on no reasons, so ask what the constructor thinks of it first."""
        asking: Any = {"from": self._sender.wallet.address, "data": f"0x{code.hex()}"}
        with refusals_as_ours():
            await self._chain.w3.eth.call(asking)


def creation_code(made: Artefact, *arguments: Any) -> bytes:
    """What creates the contract: its code, and the constructor's arguments."""
    inputs: list[dict[str, Any]] = next(
        (each["inputs"] for each in made.abi if each["type"] == "constructor"), []
    )
    kinds = [collapse_if_tuple(each) for each in inputs]
    return bytes.fromhex(made.bytecode.removeprefix("0x")) + encode(kinds, arguments)


def _create2_address(code: bytes) -> str:
    packed = b"\xff" + bytes.fromhex(CREATE2_DEPLOYER[2:]) + _SALT + keccak(code)
    return str(to_checksum_address(keccak(packed)[12:]))
