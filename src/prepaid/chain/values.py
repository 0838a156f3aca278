"""What is said to the contracts and by them: requests, routings, answers, as plain values.

Ids of 32 bytes (requests, models, nodes, namespaces) are text in hexadecimal with ``0x``. Where a node, a
namespace or a model is meant, its name will do as well. Session ids are integers, as in the contracts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError, EncodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from prepaid.errors import InvalidRequestError
from prepaid.routing import SYSTEM_NAMESPACE, Routing

__all__ = [
    "NOBODY",
    "Answer",
    "BatchRequest",
    "CallBack",
    "CallType",
    "ChainModel",
    "DtnRequest",
    "RequestOptions",
    "Response",
    "ResponseStatus",
    "address_of",
    "as_id",
    "decode_text",
    "encode_prompt",
    "encode_text",
    "routing_words",
]

NOBODY: Final = "0x0000000000000000000000000000000000000000"
_ID: Final = re.compile(r"0x[0-9a-fA-F]{64}")
_SYSTEM: Final = "system"
_ADDRESSES_MAX: Final = 4_096


class CallType(IntEnum):
    """How question and answer travel: the bytes are a content id, or the content itself."""

    IPFS = 0
    DIRECT = 1


class ResponseStatus(IntEnum):
    """Where a request stands; PENDING is the only one that changes."""

    PENDING = 0
    SUCCESS = 1
    FAILED = 2
    TIMEOUT = 3


@dataclass(frozen=True, slots=True)
class DtnRequest:
    """What is asked, and the most that it may cost each node's answer (spec A10).

    ``call`` is the prompt as ``encode_prompt`` writes it, ``extra_params`` the ABI-encoded values of its
    placeholders (spec A16). Held is ``bytes * fee_per_byte_req + total_fee_per_res``, in base units.
    """

    call: bytes
    fee_per_byte_req: int
    fee_per_byte_res: int
    total_fee_per_res: int
    extra_params: bytes = b""
    call_type: CallType = CallType.DIRECT

    def words(self) -> tuple[Any, ...]:
        """In the contract's order."""
        fees = (self.fee_per_byte_req, self.fee_per_byte_res, self.total_fee_per_res)
        return (self.call, self.extra_params, int(self.call_type), *fees)


@dataclass(frozen=True, slots=True)
class CallBack:
    """Who is told of the outcome (spec A13): ``target.selector(bytes32 requestId)``. No target: nobody."""

    success_selector: bytes = bytes(4)
    failure_selector: bytes = bytes(4)
    target: str = NOBODY

    @classmethod
    def of(cls, target: str, success: str, failure: str) -> CallBack:
        """The functions called ``success`` and ``failure``, which take a request's id."""
        return cls(keccak(text=f"{success}(bytes32)")[:4], keccak(text=f"{failure}(bytes32)")[:4], target)

    def words(self) -> tuple[Any, ...]:
        """In the contract's order."""
        return (self.success_selector, self.failure_selector, self.target)


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """``timeout_seconds``: 60 to 604,800, 0 for an hour. ``keep_response``: to be fetched for ever."""

    timeout_seconds: int = 0
    keep_response: bool = False

    def words(self) -> tuple[Any, ...]:
        """In the contract's order."""
        return (self.timeout_seconds, self.keep_response)


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One request of a batch (spec B13); fields as the arguments of ``request``. No ``user``: who asks."""

    model: str
    request: DtnRequest
    routing: Routing
    callback: CallBack = field(default_factory=CallBack)
    user: str = NOBODY
    callback_gas: int = 0
    callback_wei: int = 0
    options: RequestOptions = field(default_factory=RequestOptions)

    def words(self) -> tuple[Any, ...]:
        """In the contract's order."""
        return (
            as_id(self.model),
            routing_words(self.routing),
            self.request.words(),
            self.callback.words(),
            self.user,
            self.callback_gas,
            self.callback_wei,
            self.options.words(),
        )


@dataclass(frozen=True, slots=True)
class Response:
    """What became of a request (spec A14); ``response`` is what the node sent, undecoded."""

    status: ResponseStatus
    message: str
    response: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node answers: SUCCESS with a response, or FAILED with a message, which takes no response fee."""

    status: ResponseStatus
    message: str = ""
    response: bytes = b""

    def words(self) -> tuple[Any, ...]:
        """In the contract's order."""
        return (int(self.status), self.message, self.response)


@dataclass(frozen=True, slots=True)
class ChainModel:
    """A model's price, in base units, and how it may be asked; no ``apis``: it is not offered."""

    fee_per_byte_req: int
    fee_per_byte_res: int
    total_fee_per_res: int
    apis: frozenset[CallType] = frozenset({CallType.DIRECT})

    def words(self) -> tuple[Any, ...]:
        """In the contract's order."""
        bits = sum(1 << api for api in self.apis)
        return (self.fee_per_byte_req, self.fee_per_byte_res, self.total_fee_per_res, bits)

    @classmethod
    def of(cls, words: Sequence[int]) -> ChainModel:
        """From the contract's order."""
        request, response, total, bits = words
        return cls(request, response, total, frozenset(api for api in CallType if bits >> api & 1))


@lru_cache(_ADDRESSES_MAX)
def address_of(content: bytes | str) -> str:
    """An address with its checksum, of which web3 makes a hash; the same few come again and again."""
    return str(to_checksum_address(content))


def as_id(name: str) -> str:
    """The 32 bytes that the contracts know a model, node (``namespace.node``) or namespace by (spec A11)."""
    if _ID.fullmatch(name):
        return name
    return "0x" + keccak(text=_SYSTEM if name == SYSTEM_NAMESPACE else name).hex()


def routing_words(routing: Routing) -> tuple[Any, ...]:
    """A routing in the contract's order."""
    return (
        [as_id(name) for name in routing.trust_namespaces],
        [as_id(name) for name in routing.trusted_nodes],
        routing.redundancy,
        routing.confidence,
        int(routing.aggregation),
    )


def encode_prompt(*lines: str) -> bytes:
    """Prompt lines as models on chain expect them: ``abi.encode(string[])``."""
    try:
        return encode(["string[]"], [lines])
    except EncodingError:
        raise InvalidRequestError("The prompt is not lines of text.", remedy="Pass strings.") from None


def encode_text(text: str) -> bytes:
    """An answer's text as contracts decode it: ``abi.encode(string)``."""
    return encode(["string"], [text])


def decode_text(response: bytes) -> str:
    """The text in a response.

    Raises:
        InvalidRequestError: it is no text; read its bytes.
    """
    try:
        return str(decode(["string"], response)[0])
    except (DecodingError, UnicodeDecodeError):
        raise InvalidRequestError(
            f"The response's {len(response)} bytes are no ABI-encoded text.", remedy="Read its bytes."
        ) from None
