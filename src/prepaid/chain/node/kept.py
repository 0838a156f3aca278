"""Requests, answers and transactions as the journal keeps them: JSON, because fees outgrow its integers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from prepaid.chain.ai import Request
from prepaid.chain.fees import GasPrice
from prepaid.chain.terms import Terms
from prepaid.chain.values import Answer, CallType, DtnRequest, ResponseStatus
from prepaid.chain.watching import Attempt

__all__ = ["Sent", "answer_text", "made_text", "read_answer", "read_made", "read_sent", "sent_text"]


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction that was signed, and what it is signed from."""

    draft: dict[str, Any]
    attempt: Attempt


def made_text(request: Request) -> str:
    """A request, as its event told of it."""
    asked = request.asked
    return json.dumps(
        {
            "model_id": request.model_id,
            "terms": request.encoded_terms.hex(),
            "call": asked.call.hex(),
            "extra_params": asked.extra_params.hex(),
            "call_type": int(asked.call_type),
            "fee_per_byte_req": asked.fee_per_byte_req,
            "block": request.block_number,
            "tx_hash": request.tx_hash,
        }
    )


def read_made(request_id: str, made: str) -> Request:
    """The request again."""
    told = json.loads(made)
    encoded = bytes.fromhex(told["terms"])
    terms = Terms.read(encoded)
    asked = DtnRequest(
        call=bytes.fromhex(told["call"]),
        fee_per_byte_req=told["fee_per_byte_req"],
        fee_per_byte_res=terms.fee_per_byte_res,
        total_fee_per_res=terms.total_fee_per_res,
        extra_params=bytes.fromhex(told["extra_params"]),
        call_type=CallType(told["call_type"]),
    )
    return Request(request_id, told["model_id"], terms, encoded, asked, told["block"], told["tx_hash"])


def answer_text(answer: Answer) -> str:
    """An answer."""
    return json.dumps([int(answer.status), answer.message, answer.response.hex()], ensure_ascii=False)


def read_answer(text: str | None) -> Answer | None:
    """The answer again, if there is one."""
    if text is None:
        return None
    status, message, response = json.loads(text)
    return Answer(ResponseStatus(status), message, bytes.fromhex(response))


def sent_text(sent: Sent) -> str:
    """A transaction; as public as it is once it is sent."""
    attempt = sent.attempt
    told = [attempt.tx_hash, attempt.raw.hex(), attempt.nonce, attempt.price.max_wei, attempt.price.tip_wei]
    return json.dumps([sent.draft, told])


def read_sent(text: str | None) -> Sent | None:
    """The transaction again, if there is one."""
    if text is None:
        return None
    draft, (tx_hash, raw, nonce, max_wei, tip_wei) = json.loads(text)
    return Sent(draft, Attempt(tx_hash, bytes.fromhex(raw), nonce, GasPrice(max_wei, tip_wei)))
