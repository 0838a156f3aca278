"""A contract at its address: called and sent to by name, its refusals ours, its events plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eth_utils.abi import abi_to_signature, function_signature_to_4byte_selector, get_abi_input_types
from web3.types import TxParams, Wei

from prepaid.chain.artefacts import Artefact
from prepaid.chain.connection import Chain, as_address
from prepaid.chain.events import Event
from prepaid.chain.refusals import refusals_as_ours
from prepaid.chain.sending import Sender
from prepaid.chain.wire import Receipt
from prepaid.errors import ConfigError

__all__ = ["Contract"]


class Contract:
    """``function`` is a name, or a whole signature where several functions share it.

    Without a ``sender`` it can only be read.
    """

    def __init__(self, chain: Chain, made: Artefact, address: str, sender: Sender | None = None) -> None:
        self.chain = chain
        self.address: str = as_address(address)
        self.made = made
        self._contract = chain.contract(made, address)
        self._sender = sender
        self._functions: dict[str, tuple[bytes, list[str]]] = {}
        self._events = {
            each["name"]: Event(each, chain.w3.codec) for each in made.abi if each["type"] == "event"
        }

    @property
    def sender(self) -> Sender:
        """Who sends.

        Raises:
            ConfigError: nobody; it was opened for reading.
        """
        if self._sender is None:
            raise ConfigError(
                f"{self.made.contract} was opened without a wallet.", remedy="Pass one to change anything."
            )
        return self._sender

    @property
    def caller(self) -> str:
        """The wallet's address."""
        return self.sender.wallet.address

    async def call(self, function: str, *arguments: Any, value_wei: int = 0) -> Any:
        """What the function would return, without sending anything; asked as the wallet, where there is one.

        Raises:
            PrepaidError: the contract refused.
        """
        asking: TxParams = {} if self._sender is None else {"from": as_address(self.caller)}
        if value_wei:
            asking["value"] = Wei(value_wei)
        with refusals_as_ours():
            return await self._contract.functions[function](*arguments).call(asking)

    async def send(self, function: str, *arguments: Any, value_wei: int = 0) -> Receipt:
        """Call the function in a transaction, and wait until it is confirmed; its receipt.

        Raises:
            PrepaidError: see ``Sender.send``.
        """
        return await self.sender.send(self.draft(function, *arguments, value_wei=value_wei))

    def draft(self, function: str, *arguments: Any, value_wei: int = 0) -> dict[str, Any]:
        """The call, as a transaction has it."""
        selector, kinds = self._made_of(function)
        data = f"0x{(selector + self.chain.w3.codec.encode(kinds, arguments)).hex()}"
        return {"to": self.address, "data": data, "value": value_wei}

    def _made_of(self, function: str) -> tuple[bytes, list[str]]:
        """The selector and the types, which web3 would work out anew for every call."""
        if function not in self._functions:
            found = self._contract.functions[function].abi
            selector = function_signature_to_4byte_selector(abi_to_signature(found))
            self._functions[function] = (selector, get_abi_input_types(found))
        return self._functions[function]

    def events(self, receipt: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
        """The arguments of the contract's own events of this name in a receipt, in order."""
        event, own = self._events[name], self.address.lower()
        return [
            event.read(log)
            for log in receipt["logs"]
            if log["topics"][:1] == [event.topic] and log["address"].lower() == own
        ]

    def topic(self, event: str) -> str:
        """What the logs of this event are found by."""
        return self._events[event].topic

    def decode(self, event: str, log: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of one log, as ``wire`` or web3 has it."""
        return self._events[event].read(log)
