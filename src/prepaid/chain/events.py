"""An event as logs have it, read by types that are worked out once; web3 works them out anew for each log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from eth_abi.codec import ABICodec
from eth_utils.abi import event_abi_to_log_topic, get_abi_input_types

from prepaid.chain.values import address_of
from prepaid.errors import ChainError

__all__ = ["Event"]

_DYNAMIC: Final = ("string", "bytes")


class Event:
    """One event of a contract's interface."""

    def __init__(self, abi: Any, codec: ABICodec) -> None:
        self.topic = f"0x{event_abi_to_log_topic(abi).hex()}"
        self._name: str = abi["name"]
        kinds, inputs = get_abi_input_types(abi), abi["inputs"]
        self._names = [each["name"] for each in inputs]
        self._found = [each["name"] for each in inputs if each["indexed"]]
        self._found_kinds = [kind for kind, each in zip(kinds, inputs, strict=True) if each["indexed"]]
        self._told = [each["name"] for each in inputs if not each["indexed"]]
        self._told_kinds = [kind for kind, each in zip(kinds, inputs, strict=True) if not each["indexed"]]
        self._addresses = [each["name"] for each in inputs if each["type"] == "address"]
        self._codec = codec

    def read(self, log: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a log, in order, be it as ``wire`` or as web3 has it.

        A struct is a tuple, and what is hashed is its hash.

        Raises:
            ChainError: it tells of another event.
            DecodingError: it is no log of Solidity's.
        """
        topic, *topics = (_bytes(each) for each in log["topics"])
        if topic.hex() != self.topic[2:] or len(topics) != len(self._found):
            raise ChainError(f"The log is no {self._name}.", remedy="Ask for logs by their topic.")
        told = self._codec.decode(self._told_kinds, _bytes(log["data"]))
        pairs = zip(self._found_kinds, topics, strict=True)
        found = (self._of_topic(kind, each) for kind, each in pairs)
        values = dict(zip(self._told, told, strict=True)) | dict(zip(self._found, found, strict=True))
        for name in self._addresses:
            values[name] = address_of(values[name])
        return {name: values[name] for name in self._names}

    def _of_topic(self, kind: str, topic: bytes) -> Any:
        is_hash = kind in _DYNAMIC or kind[-1] in "])"
        return topic if is_hash else self._codec.decode([kind], topic)[0]


def _bytes(said: str | bytes) -> bytes:
    return bytes.fromhex(said[2:]) if isinstance(said, str) else bytes(said)
