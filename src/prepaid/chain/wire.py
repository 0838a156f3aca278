"""What an endpoint says of blocks, receipts and logs, read: numbers as numbers, all else as it came.

web3 does the same in milliseconds, with a formatter for each field; a node reads thousands of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from eth_utils.address import to_checksum_address

from prepaid.errors import ChainError

__all__ = ["Block", "Log", "Receipt", "read_block", "read_log", "read_receipt"]


@dataclass(frozen=True, slots=True)
class Block:
    """A block's header; ``base_fee_wei`` is ``None`` on chains from before EIP-1559."""

    number: int
    hash: str
    timestamp: int
    base_fee_wei: int | None


class Log(TypedDict):
    """What a contract told."""

    address: str
    topics: list[str]
    data: str
    blockNumber: int
    blockHash: str
    transactionHash: str
    logIndex: int


class Receipt(TypedDict):
    """What became of a transaction in its block."""

    transactionHash: str
    blockNumber: int
    status: int
    gasUsed: int
    effectiveGasPrice: int
    contractAddress: str | None
    logs: list[Log]


_UNTOLD: Final = "0x0"


def read_block(said: Any) -> Block:
    """A block, as ``eth_getBlockByNumber`` tells of it.

    Raises:
        ChainError: it is none.
    """
    try:
        base = said.get("baseFeePerGas")
        base_fee = None if base is None else _number(base)
        return Block(_number(said["number"]), str(said["hash"]), _number(said["timestamp"]), base_fee)
    except _UNREADABLE as error:
        raise _unreadable("block") from error


def read_receipt(said: Any) -> Receipt:
    """A receipt, as ``eth_getTransactionReceipt`` tells of it.

    Raises:
        ChainError: it is none.
    """
    try:
        made = said.get("contractAddress")
        return {
            "transactionHash": str(said["transactionHash"]),
            "blockNumber": _number(said["blockNumber"]),
            "status": _number(said["status"]),
            "gasUsed": _number(said["gasUsed"]),
            "effectiveGasPrice": _number(said.get("effectiveGasPrice", _UNTOLD)),
            "contractAddress": None if made is None else to_checksum_address(made),
            "logs": [read_log(each) for each in said["logs"]],
        }
    except _UNREADABLE as error:
        raise _unreadable("receipt") from error


def read_log(said: Mapping[str, Any]) -> Log:
    """A log, as ``eth_getLogs`` and receipts tell of it.

    Raises:
        ChainError: it is none.
    """
    try:
        return {
            "address": str(said["address"]),
            "topics": [str(each) for each in said["topics"]],
            "data": str(said["data"]),
            "blockNumber": _number(said["blockNumber"]),
            "blockHash": str(said["blockHash"]),
            "transactionHash": str(said["transactionHash"]),
            "logIndex": _number(said["logIndex"]),
        }
    except _UNREADABLE as error:
        raise _unreadable("log") from error


_UNREADABLE: Final = (AttributeError, KeyError, TypeError, ValueError)


def _number(said: Any) -> int:
    return int(said, 16) if isinstance(said, str) else int(said)


def _unreadable(what: str) -> ChainError:
    return ChainError(f"The endpoint says something that is no {what}.", remedy="Use another endpoint.")
