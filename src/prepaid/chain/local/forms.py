"""Blocks, transactions, receipts and logs as JSON-RPC has them, and its parameters as Python has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from eth.abc import BlockAPI, LogAPI, ReceiptAPI, SignedTransactionAPI

from prepaid.chain.local.evm import GAS_MAX, Asked, Mined
from prepaid.chain.local.refused import Refused

__all__ = ["asked_of", "block_form", "bytes_of", "log_forms", "number_of", "receipt_form", "transaction_form"]

_INVALID: Final = -32_602
_BLOOM_BYTES: Final = 256
_LEGACY: Final = 0


def block_form(block: BlockAPI, *, is_full: bool = False) -> dict[str, Any]:
    """A block; ``is_full``: its transactions whole, otherwise their hashes."""
    header: Any = block.header
    transactions: list[Any] = [transaction_form(block, each) for each in block.transactions]
    return {
        "number": hex(header.block_number),
        "hash": _hex(header.hash),
        "parentHash": _hex(header.parent_hash),
        "nonce": _hex(header.nonce),
        "sha3Uncles": _hex(header.uncles_hash),
        "logsBloom": _bloom(header.bloom),
        "transactionsRoot": _hex(header.transaction_root),
        "stateRoot": _hex(header.state_root),
        "receiptsRoot": _hex(header.receipt_root),
        "miner": _hex(header.coinbase),
        "difficulty": hex(header.difficulty),
        "extraData": _hex(header.extra_data),
        "mixHash": _hex(header.mix_hash),
        "gasLimit": hex(header.gas_limit),
        "gasUsed": hex(header.gas_used),
        "timestamp": hex(header.timestamp),
        "baseFeePerGas": hex(header.base_fee_per_gas),
        "withdrawalsRoot": _hex(header.withdrawals_root),
        "blobGasUsed": hex(header.blob_gas_used),
        "excessBlobGas": hex(header.excess_blob_gas),
        "parentBeaconBlockRoot": _hex(header.parent_beacon_block_root),
        "uncles": [],
        "withdrawals": [],
        "transactions": transactions if is_full else [each["hash"] for each in transactions],
    }


def transaction_form(block: BlockAPI, transaction: SignedTransactionAPI) -> dict[str, Any]:
    """A transaction in its block."""
    kind = transaction.type_id or _LEGACY
    form = {
        "type": hex(kind),
        "hash": _hex(transaction.hash),
        "blockHash": _hex(block.hash),
        "blockNumber": hex(block.number),
        "transactionIndex": hex(block.transactions.index(transaction)),
        "from": _hex(transaction.sender),
        "to": _hex(transaction.to) if transaction.to else None,
        "nonce": hex(transaction.nonce),
        "gas": hex(transaction.gas),
        "gasPrice": hex(_price(block, transaction)),
        "value": hex(transaction.value),
        "input": _hex(transaction.data),
        "r": hex(transaction.r),
        "s": hex(transaction.s),
    }
    if kind == _LEGACY:
        return form | {"v": hex(transaction.v)}  # type: ignore[attr-defined]
    return form | {
        "v": hex(transaction.y_parity),
        "yParity": hex(transaction.y_parity),
        "chainId": hex(transaction.chain_id or 0),
        "accessList": [
            {"address": _hex(address), "storageKeys": [f"0x{key:064x}" for key in keys]}
            for address, keys in transaction.access_list
        ],
        "maxFeePerGas": hex(transaction.max_fee_per_gas),
        "maxPriorityFeePerGas": hex(transaction.max_priority_fee_per_gas),
    }


def receipt_form(mined: Mined) -> dict[str, Any]:
    """What became of a block's only transaction."""
    block, receipt = mined.block, _receipt(mined)
    (transaction,) = block.transactions
    assert mined.computation is not None
    is_creation = not transaction.to
    return {
        "type": hex(transaction.type_id or _LEGACY),
        "transactionHash": _hex(transaction.hash),
        "transactionIndex": "0x0",
        "blockHash": _hex(block.hash),
        "blockNumber": hex(block.number),
        "from": _hex(transaction.sender),
        "to": None if is_creation else _hex(transaction.to),
        "contractAddress": _hex(mined.computation.msg.storage_address) if is_creation else None,
        "status": hex(receipt.state_root == b"\x01"),
        "gasUsed": hex(receipt.gas_used),
        "cumulativeGasUsed": hex(receipt.gas_used),
        "effectiveGasPrice": hex(_price(block, transaction)),
        "logsBloom": _bloom(receipt.bloom),
        "logs": log_forms(mined),
    }


def log_forms(mined: Mined) -> list[dict[str, Any]]:
    """The logs of a block."""
    if mined.receipt is None:
        return []
    block = mined.block
    place = {
        "blockHash": _hex(block.hash),
        "blockNumber": hex(block.number),
        "blockTimestamp": hex(block.header.timestamp),
        "transactionHash": _hex(block.transactions[0].hash),
        "transactionIndex": "0x0",
        "removed": False,
    }
    return [place | _log_form(number, log) for number, log in enumerate(mined.receipt.logs)]


def asked_of(call: Any) -> Asked:
    """A call's parameters.

    Raises:
        Refused: they are none.
    """
    if not isinstance(call, Mapping):
        raise Refused("a call is an object", _INVALID)
    data = call.get("input", call.get("data", "0x"))
    return Asked(
        sender=bytes_of(call.get("from") or f"0x{'0' * 40}"),
        to=bytes_of(call.get("to") or "0x"),
        data=bytes_of(data or "0x"),
        value=number_of(call.get("value") or "0x0"),
        gas=min(number_of(call.get("gas") or hex(GAS_MAX)), GAS_MAX),
    )


def bytes_of(value: Any) -> bytes:
    """Bytes in hexadecimal with 0x.

    Raises:
        Refused: they are not.
    """
    try:
        assert value.startswith("0x")
        return bytes.fromhex(value[2:])
    except (AssertionError, AttributeError, ValueError):
        raise Refused(f"{str(value)[:80]!r} is not bytes in hexadecimal with 0x", _INVALID) from None


def number_of(value: Any) -> int:
    """A number in hexadecimal with 0x; JSON's own will do.

    Raises:
        Refused: it is none.
    """
    try:
        number = int(value, 16) if isinstance(value, str) else int(value)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise Refused(f"{str(value)[:80]!r} is no number", _INVALID)
    return number


def _log_form(number: int, log: LogAPI) -> dict[str, Any]:
    return {
        "logIndex": hex(number),
        "address": _hex(log.address),
        "topics": [f"0x{topic:064x}" for topic in log.topics],
        "data": _hex(log.data),
    }


def _receipt(mined: Mined) -> ReceiptAPI:
    assert mined.receipt is not None, "only blocks with a transaction have one"
    return mined.receipt


def _price(block: BlockAPI, transaction: SignedTransactionAPI) -> int:
    base = block.header.base_fee_per_gas or 0
    return min(transaction.max_fee_per_gas, base + transaction.max_priority_fee_per_gas)


def _hex(content: bytes) -> str:
    return f"0x{content.hex()}"


def _bloom(bloom: int) -> str:
    return f"0x{bloom:0{2 * _BLOOM_BYTES}x}"
