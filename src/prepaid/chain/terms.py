"""A request's terms as the contract publishes them, read: see ``contracts/src/libraries/TermsCodec.sol``.

The bytes themselves are what answers and expiry hand back, untouched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from prepaid.chain.values import CallBack, address_of
from prepaid.errors import InvalidRequestError
from prepaid.routing import Aggregation

__all__ = ["Terms"]

_WORD: Final = 32
_FIXED_WORDS: Final = 6


@dataclass(frozen=True, slots=True)
class Terms:
    """What a request agreed to; fees in base units of one node's answer, ``deadline`` in Unix seconds.

    ``trusted`` are the ids of namespaces and nodes that may answer; ``quorum`` of ``redundancy`` nodes must
    sign one answer; ``callback_wei`` is what pays for the callback's gas.
    """

    session_id: int
    content: str
    user: str
    callback_wei: int
    callback: CallBack
    request_fee: int
    fee_per_byte_res: int
    total_fee_per_res: int
    deadline: int
    slot: int
    serial: int
    callback_gas: int
    redundancy: int
    quorum: int
    aggregation: Aggregation
    keep_response: bool
    trusted: tuple[str, ...]

    @classmethod
    def read(cls, encoded: bytes) -> Terms:
        """The terms in ``encoded``.

        Raises:
            InvalidRequestError: they are none.
        """
        words = [encoded[at : at + _WORD] for at in range(0, len(encoded), _WORD)]
        if len(encoded) < _FIXED_WORDS * _WORD or len(encoded) % _WORD:
            raise InvalidRequestError(
                f"{len(encoded)} bytes are no terms of a request.",
                remedy="Hand back those that the event RequestMade published.",
            )
        user, target, fees, numbers = words[2], words[3], words[4], words[5]
        return cls(
            session_id=_number(words[0]),
            content=_id(words[1]),
            user=address_of(user[:20]),
            callback_wei=_number(user[20:]),
            callback=CallBack(fees[24:28], fees[28:], address_of(target[:20])),
            request_fee=_number(target[20:]),
            fee_per_byte_res=_number(fees[:12]),
            total_fee_per_res=_number(fees[12:24]),
            deadline=_number(numbers[8:16]),
            slot=_number(numbers[16:20]),
            serial=_number(numbers[20:24]),
            callback_gas=_number(numbers[24:28]),
            redundancy=numbers[28],
            quorum=numbers[29],
            aggregation=Aggregation(numbers[30]),
            keep_response=numbers[31] == 1,
            trusted=tuple(_id(word) for word in words[_FIXED_WORDS:]),
        )


def _number(content: bytes) -> int:
    return int.from_bytes(content)


def _id(content: bytes) -> str:
    return f"0x{content.hex()}"
