"""JSON-RPC's methods on the chain in this process: those that clients of contracts use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from eth_typing import Address

from prepaid.chain.local.evm import Evm
from prepaid.chain.local.forms import (
    asked_of,
    block_form,
    bytes_of,
    log_forms,
    number_of,
    receipt_form,
    transaction_form,
)
from prepaid.chain.local.refused import Refused

__all__ = ["Methods"]

_NO_SUCH_METHOD: Final = -32_601
_INVALID: Final = -32_602
_TIP_WEI: Final = 10**9
_LATEST: Final = frozenset({"latest", "pending", "safe", "finalized"})
_HISTORY_MAX: Final = 1_024


class Methods:
    """``answer`` one of them; not for several threads at once."""

    def __init__(self, evm: Evm, client: str) -> None:
        self._evm = evm
        self._by_hash: dict[str, int] = {}
        self._by_transaction: dict[str, int] = {}
        self._indexed = 0
        self._methods: dict[str, Callable[..., Any]] = {
            "web3_clientVersion": lambda: client,
            "net_version": lambda: str(evm.chain_id),
            "eth_chainId": lambda: hex(evm.chain_id),
            "eth_syncing": lambda: False,
            "eth_accounts": list,
            "eth_blockNumber": lambda: hex(evm.head),
            "eth_gasPrice": lambda: hex(self._base_fee() + _TIP_WEI),
            "eth_maxPriorityFeePerGas": lambda: hex(_TIP_WEI),
            "eth_feeHistory": self._fee_history,
            "eth_getBalance": lambda who, at="latest": hex(self._state(at).get_balance(_address(who))),
            "eth_getTransactionCount": lambda who, at="latest": hex(self._state(at).get_nonce(_address(who))),
            "eth_getCode": lambda who, at="latest": f"0x{self._state(at).get_code(_address(who)).hex()}",
            "eth_getStorageAt": self._storage,
            "eth_call": self._call,
            "eth_estimateGas": lambda call, *_: hex(evm.estimate(asked_of(call))),
            "eth_sendRawTransaction": self._send,
            "eth_getTransactionByHash": self._transaction,
            "eth_getTransactionReceipt": self._receipt,
            "eth_getBlockByNumber": self._block,
            "eth_getBlockByHash": self._block_of_hash,
            "eth_getLogs": self._logs,
            "evm_increaseTime": lambda seconds: hex(evm.later(number_of(seconds))),
            "evm_mine": self._mine,
            "anvil_setBalance": lambda who, wei: evm.set_balance(_address(who), number_of(wei)),
        }

    def answer(self, method: str, params: Any) -> Any:
        """The result.

        Raises:
            Refused: there is no such method, its parameters are wrong, or the chain says no.
        """
        handler = self._methods.get(method)
        if handler is None:
            raise Refused(f"this chain has no method {method[:80]}", _NO_SUCH_METHOD)
        if not isinstance(params, list):
            raise Refused("params is a list", _INVALID)
        try:
            return handler(*params)
        except TypeError as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:
                raise Refused(f"{method} takes other parameters", _INVALID) from None
            raise

    def heads(self, first: int) -> list[dict[str, Any]]:
        """The blocks from number ``first`` on, as subscribers are told of them."""
        return [block_form(each.block) for each in self._evm.mined[first:]]

    def _state(self, at: Any) -> Any:
        return self._evm.state_at(self._number(at))

    def _storage(self, who: str, slot: Any, at: Any = "latest") -> str:
        return f"0x{self._state(at).get_storage(_address(who), number_of(slot)):064x}"

    def _call(self, call: Any, at: Any = "latest", *_: Any) -> str:
        return f"0x{self._evm.call(asked_of(call), self._number(at)).hex()}"

    def _send(self, raw: Any) -> str:
        return f"0x{self._evm.send(bytes_of(raw)).hex()}"

    def _mine(self, *_: Any) -> str:
        self._evm.mine()
        return "0x0"

    def _base_fee(self) -> int:
        return self._evm.mined[-1].block.header.base_fee_per_gas or 0

    def _fee_history(self, count: Any, newest: Any, percentiles: Any = None) -> dict[str, Any]:
        last = self._number(newest)
        first = max(last - min(number_of(count), _HISTORY_MAX) + 1, 0)
        headers = [each.block.header for each in self._evm.mined[first : last + 1]]
        fees = [hex(each.base_fee_per_gas or 0) for each in headers]
        return {
            "oldestBlock": hex(first),
            "baseFeePerGas": [*fees, hex(self._base_fee())],
            "gasUsedRatio": [each.gas_used / each.gas_limit for each in headers],
            "reward": [[hex(_TIP_WEI) for _ in percentiles or ()] for _ in headers],
        }

    def _block(self, at: Any, is_full: Any = False) -> dict[str, Any] | None:
        number = self._place(at)
        if number > self._evm.head:
            return None
        return block_form(self._evm.mined[number].block, is_full=bool(is_full))

    def _block_of_hash(self, block_hash: Any, is_full: Any = False) -> dict[str, Any] | None:
        self._index()
        number = self._by_hash.get(str(block_hash).lower())
        return None if number is None else self._block(hex(number), is_full)

    def _transaction(self, tx_hash: Any) -> dict[str, Any] | None:
        self._index()
        number = self._by_transaction.get(str(tx_hash).lower())
        if number is None:
            return None
        block = self._evm.mined[number].block
        return transaction_form(block, block.transactions[0])

    def _receipt(self, tx_hash: Any) -> dict[str, Any] | None:
        self._index()
        number = self._by_transaction.get(str(tx_hash).lower())
        return None if number is None else receipt_form(self._evm.mined[number])

    def _logs(self, query: Any) -> list[dict[str, Any]]:
        if not isinstance(query, Mapping):
            raise Refused("a filter is an object", _INVALID)
        first, last = self._range(query)
        wanted = _listed(query.get("address"))
        topics = [_listed(each) for each in query.get("topics") or ()]
        found = [log for mined in self._evm.mined[first : last + 1] for log in log_forms(mined)]
        return [log for log in found if _is_wanted(log, wanted, topics)]

    def _range(self, query: Mapping[str, Any]) -> tuple[int, int]:
        if query.get("blockHash") is not None:
            number = self._number({"blockHash": query["blockHash"]})
            return number, number
        first, last = query.get("fromBlock") or "latest", query.get("toBlock") or "latest"
        return self._place(first), self._place(last)

    def _number(self, at: Any) -> int:
        """The number of a block that is there, by its number, its hash (EIP-1898) or one of its names."""
        if isinstance(at, Mapping) and "blockHash" in at:
            self._index()
            number = self._by_hash.get(str(at["blockHash"]).lower(), len(self._evm.mined))
        else:
            number = self._place(at.get("blockNumber") if isinstance(at, Mapping) else at)
        if number > self._evm.head:
            raise Refused("unknown block")
        return number

    def _place(self, at: Any) -> int:
        """A block's number, be it there or not."""
        if isinstance(at, str) and at in _LATEST:
            return self._evm.head
        return 0 if at == "earliest" else number_of(at)

    def _index(self) -> None:
        """Take in the blocks that came since."""
        for mined in self._evm.mined[self._indexed :]:
            block = mined.block
            self._by_hash[f"0x{block.hash.hex()}"] = block.number
            self._by_transaction |= {f"0x{each.hash.hex()}": block.number for each in block.transactions}
        self._indexed = len(self._evm.mined)


def _address(value: Any) -> Address:
    content = bytes_of(value)
    if len(content) != 20:  # noqa: PLR2004 -- an address
        raise Refused(f"{str(value)[:80]!r} is no address", _INVALID)
    return Address(content)


def _listed(value: Any) -> frozenset[str] | None:
    """What is wanted in one place of a filter; ``None``: anything."""
    if value is None:
        return None
    return frozenset(str(each).lower() for each in (value if isinstance(value, list) else [value]))


def _is_wanted(log: Mapping[str, Any], addresses: frozenset[str] | None, topics: list[Any]) -> bool:
    if addresses is not None and log["address"].lower() not in addresses:
        return False
    found = log["topics"]
    return len(found) >= len(topics) and all(
        wanted is None or topic in wanted for topic, wanted in zip(found, topics, strict=False)
    )
