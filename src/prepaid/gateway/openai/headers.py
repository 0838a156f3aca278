"""What a request held and cost, in headers, and in the last event of a stream."""

from __future__ import annotations

from typing import Final

from prepaid.gateway.asgi import Header, to_json
from prepaid.meter import Payer
from prepaid.relay import Head, Receipt

__all__ = ["head_headers", "receipt_event", "receipt_headers"]

_LOWERED: Final[Header] = (b"x-prepaid-lowered", b"true")
_REPLAYED: Final[Header] = (b"x-prepaid-replayed", b"true")


def receipt_headers(payer: Payer, receipt: Receipt) -> list[Header]:
    """Of a whole reply. Amounts are base units of ``x-prepaid-currency``."""
    headers = _common(payer, receipt)
    headers.append((b"x-prepaid-cost", b"%d" % receipt.cost))
    headers.append((b"x-prepaid-available", b"%d" % receipt.available))
    if receipt.replayed:
        headers.append(_REPLAYED)
    return headers


def head_headers(payer: Payer, head: Head) -> list[Header]:
    """Of a stream, whose cost is not known yet."""
    return [
        (b"content-type", head.content_type.encode("latin-1")),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),  # nginx passes on what comes, as it comes
        *_common(payer, head),
    ]


def receipt_event(payer: Payer, receipt: Receipt) -> bytes:
    """The last event of a stream. It comes after ``[DONE]``, where OpenAI's clients have stopped to read."""
    told = {
        "session": payer.session_id,
        "currency": payer.asset,
        "model": receipt.model,
        "held": receipt.held,
        "cost": receipt.cost,
        "available": receipt.available,
        "output_limit": receipt.output_limit,
        "lowered": receipt.is_lowered,
        "replayed": receipt.replayed,
    }
    return b"event: prepaid.receipt\ndata: " + to_json(told) + b"\n\n"


def _common(payer: Payer, told: Head | Receipt) -> list[Header]:
    headers = [
        (b"x-prepaid-session", payer.session_id.encode()),
        (b"x-prepaid-currency", payer.asset.encode()),
        (b"x-prepaid-held", b"%d" % told.held),
        (b"x-prepaid-output-limit", b"%d" % told.output_limit),
    ]
    if told.is_lowered:
        headers.append(_LOWERED)
    return headers
