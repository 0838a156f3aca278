"""What a request held and cost, in headers, and for who wants it in the last event of a stream."""

from __future__ import annotations

from typing import Final

from prepaid.errors import InvalidRequestError
from prepaid.gateway.asgi import Header, Request, to_json
from prepaid.meter import Payer
from prepaid.relay import Head, Receipt

__all__ = ["head_headers", "receipt_event", "receipt_headers", "wants_receipt"]

_AS_EVENT: Final = b"event"
_LOWERED: Final[Header] = (b"x-prepaid-lowered", b"true")
_REPLAYED: Final[Header] = (b"x-prepaid-replayed", b"true")


def wants_receipt(request: Request) -> bool:
    """Whether the client asks for ``receipt_event``, which not every library of OpenAI's clients takes.

    Raises:
        InvalidRequestError: it asks for a receipt of a kind that there is not.
    """
    asked = request.header(b"x-prepaid-receipt")
    if asked is None:
        return False
    if asked != _AS_EVENT:
        raise InvalidRequestError(
            f"X-Prepaid-Receipt is {asked.decode('latin-1')[:40]!r}.", remedy="Send event, or leave it out."
        )
    return True


def receipt_headers(payer: Payer, receipt: Receipt) -> list[Header]:
    """Of a whole reply. Amounts are base units of ``x-prepaid-currency``."""
    headers = _common(payer, receipt)
    headers.append((b"x-prepaid-cost", b"%d" % receipt.cost))
    headers.append((b"x-prepaid-available", b"%d" % receipt.available))
    return headers


def head_headers(payer: Payer, head: Head) -> list[Header]:
    """Of a stream, whose cost is not known yet."""
    return [
        (b"content-type", head.content_type.encode("latin-1")),
        (b"x-accel-buffering", b"no"),  # nginx passes on what comes, as it comes
        *_common(payer, head),
    ]


def receipt_event(payer: Payer, receipt: Receipt) -> bytes:
    """The last event of a stream, for who asked for it. It comes after ``[DONE]``, and OpenAI has none."""
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
    if told.replayed:
        headers.append(_REPLAYED)
    return headers
