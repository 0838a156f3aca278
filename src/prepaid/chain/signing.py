"""EIP-1559 transactions, the one kind that we make, signed: eth-account takes thrice as long for that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from eth_account.signers.local import LocalAccount
from eth_typing import Hash32
from eth_utils.crypto import keccak
from rlp.codec import encode_raw

__all__ = ["signed"]

_KIND: Final = b"\x02"
_NUMBERS: Final = ("chainId", "nonce", "maxPriorityFeePerGas", "maxFeePerGas", "gas")
_FIELDS: Final = frozenset({"type", *_NUMBERS, "to", "value", "data"})
_V_BEFORE: Final = 27
"""What eth-keys adds to the parity of a signature, as Ethereum did in its first transactions."""


def signed(account: LocalAccount, transaction: Mapping[str, Any]) -> bytes:
    """A transaction signed, ready to be sent; one of another kind by eth-account."""
    if transaction.get("type") != _KIND[0] or not _FIELDS.issuperset(transaction):
        return bytes(account.sign_transaction(dict(transaction)).raw_transaction)
    fields = [
        *(_number(transaction[name]) for name in _NUMBERS),
        _bytes(transaction.get("to")),
        _number(transaction.get("value", 0)),
        _bytes(transaction.get("data")),
        [],
    ]
    signature = account.unsafe_sign_hash(Hash32(keccak(_KIND + encode_raw(fields))))
    parity = signature.v - _V_BEFORE
    signature_fields = [_number(each) for each in (parity, signature.r, signature.s)]
    return bytes(_KIND + encode_raw(fields + signature_fields))


def _number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8)


def _bytes(value: str | bytes | None) -> bytes:
    return bytes.fromhex(value.removeprefix("0x")) if isinstance(value, str) else bytes(value or b"")
