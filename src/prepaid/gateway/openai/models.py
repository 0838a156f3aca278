"""``GET /v1/models``: the catalogue, with prices."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

from prepaid.errors import ModelNotAllowed
from prepaid.gateway.asgi import Request
from prepaid.gateway.parts import Parts
from prepaid.records import ModelInfo

__all__ = ["list_models", "show_model"]

_CREATED: Final = 0
"""Nobody tells us when a model was made; clients only want a number."""


async def list_models(request: Request, parts: Parts) -> None:
    """Every model that is configured by name and that the key may ask."""
    allowed = (await parts.callers.key(request)).models
    infos = parts.workspace.catalogue.list()
    data = [_told(info) for info in infos if allowed is None or info.name in allowed]
    await request.reply_json(200, {"object": "list", "data": data})


async def show_model(request: Request, parts: Parts) -> None:
    """One model, also one that a prefix serves.

    Raises:
        ModelNotSupported: nobody serves it.
        ModelNotAllowed: the key is not for it.
    """
    allowed = (await parts.callers.key(request)).models
    name = unquote(request.tail)
    if allowed is not None and name not in allowed:  # nor is it told what else there is
        raise ModelNotAllowed(name, allowed)
    info = parts.workspace.catalogue.info(name)
    await request.reply_json(200, _told(info))


def _told(info: ModelInfo) -> dict[str, Any]:
    """As OpenAI has it; what it has no field for stands under ``prepaid``. Amounts are base units."""
    price = info.price
    tiers = [
        {
            "input_above": tier.input_above,
            "input_per_million": tier.input_per_million,
            "output_per_million": tier.output_per_million,
            "cache_read_per_million": tier.cache_read_per_million,
            "cache_write_per_million": tier.cache_write_per_million,
            "cache_write_1h_per_million": tier.hour_write_per_million,
        }
        for tier in price.tiers
    ]
    own = {
        "currency": price.asset,
        "unit": price.unit,
        "per_request": price.per_request,
        "per_search": price.per_search,
        "tiers": tiers,
        "context_tokens_max": info.context_tokens_max,
        "output_tokens_max": info.output_tokens_max,
        "apis": sorted(info.apis),
    }
    return {
        "id": info.name,
        "object": "model",
        "created": _CREATED,
        "owned_by": info.provider,
        "prepaid": own,
    }
