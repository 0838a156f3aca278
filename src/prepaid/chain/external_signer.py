"""A wallet whose key is elsewhere: a signer that is asked over JSON-RPC, such as clef or web3signer.

What it hands back is read before it is used: the signed transaction must be the one that was asked for, and
the signature one of the account's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.address import to_checksum_address
from hexbytes import HexBytes
from web3.types import RPCEndpoint

from prepaid.chain.rpc import HttpRpc, Patience, place_of
from prepaid.errors import ChainUnreachable, WalletUnusable

__all__ = ["ExternalSigner"]

_EIP_1559: Final = 2
_NUMBERS: Final = ("nonce", "gas", "maxFeePerGas", "maxPriorityFeePerGas", "value", "chainId")


class ExternalSigner:
    """``namespace`` is ``account`` for clef's own API, ``eth`` for everybody else's.

    ``timeout_seconds`` is long: somebody may have to press a key.
    """

    def __init__(
        self,
        url: str,
        address: str,
        *,
        namespace: Literal["eth", "account"] = "eth",
        timeout_seconds: float = 120.0,
    ) -> None:
        self._rpc = HttpRpc(url, Patience(timeout_seconds, retries_max=0))
        self._address = to_checksum_address(address)
        self._sign_transaction = f"{namespace}_signTransaction"
        self._sign_typed_data = f"{namespace}_signTypedData" + ("_v4" if namespace == "eth" else "")

    @property
    def address(self) -> str:
        """The account, with its checksum."""
        return str(self._address)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rpc.disconnect()

    async def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """The signed transaction, if it is the one that was asked for.

        Raises:
            WalletUnusable: the signer refused, is not there, or signed something else.
        """
        wanted = {name: value for name, value in transaction.items() if name != "type"}
        asked = {name: hex(value) if isinstance(value, int) else value for name, value in wanted.items()}
        asked["from"] = self._address
        answer = await self._ask(self._sign_transaction, asked)
        raw = HexBytes(answer["raw"] if isinstance(answer, Mapping) else answer)
        if not self._is_signed(raw, wanted):
            raise WalletUnusable(f"The signer at {place_of(self._rpc.url)} signed another transaction.")
        return bytes(raw)

    async def sign_typed_data(self, typed: Mapping[str, Any]) -> bytes:
        """The signature of an EIP-712 message, if it is the account's.

        Raises:
            WalletUnusable: the signer refused, is not there, or signed something else.
        """
        plain = json.loads(json.dumps(typed, default=lambda value: "0x" + bytes(value).hex()))
        signature = HexBytes(await self._ask(self._sign_typed_data, self._address, plain))
        try:
            signer = Account.recover_message(encode_typed_data(full_message=dict(typed)), signature=signature)
        except Exception:  # noqa: BLE001 -- by what is wrong, a signature fails in many ways
            signer = None
        if signer != self._address:
            raise WalletUnusable(f"The signer at {place_of(self._rpc.url)} signed for somebody else.")
        return bytes(signature)

    async def _ask(self, method: str, *params: Any) -> Any:
        try:
            answer = await self._rpc.make_request(RPCEndpoint(method), list(params))
        except ChainUnreachable as error:
            raise WalletUnusable(f"The signer at {error.place} cannot be reached: {error.why}.") from error
        if "result" not in answer:
            said = str(answer.get("error"))[:200]
            raise WalletUnusable(f"The signer at {place_of(self._rpc.url)} refused: {said}")
        return answer["result"]

    def _is_signed(self, raw: HexBytes, wanted: Mapping[str, Any]) -> bool:
        try:
            typed = TypedTransaction.from_bytes(raw)
            signer = Account.recover_transaction(raw)
        except Exception:  # noqa: BLE001 -- whatever cannot be read is not what was asked for
            return False
        signed = typed.as_dict()
        if (
            typed.transaction_type != _EIP_1559 or signed["accessList"]
        ):  # other types carry more than was asked
            return False
        same = all(int(signed[name]) == int(wanted[name]) for name in _NUMBERS)
        to = HexBytes(wanted.get("to") or b"")
        data = HexBytes(wanted.get("data") or b"")
        return (
            same and signer == self._address and bytes(signed["to"]) == to and bytes(signed["data"]) == data
        )

    def __repr__(self) -> str:
        return f"<ExternalSigner {self._address} at {place_of(self._rpc.url)}>"
