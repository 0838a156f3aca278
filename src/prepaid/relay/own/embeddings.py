"""Vectors of our models as embeddings."""

from __future__ import annotations

import base64
import struct
from typing import Final

from prepaid.errors import InvalidRequestError
from prepaid.models.contract import EmbeddingModel
from prepaid.relay.embeddings import EMBEDDINGS
from prepaid.relay.wire import Body, count_of

__all__ = ["embeddings"]

DIMENSIONS_MAX: Final = 4_096


def embeddings(model: EmbeddingModel, body: Body) -> Body:
    """A vector for each input.

    Raises:
        InvalidRequestError: too many dimensions, tokens instead of text, or an encoding that cannot be.
    """
    given = body["input"]
    inputs = given if type(given) is list else [given]
    if not all(type(each) is str for each in inputs):
        raise InvalidRequestError(f"{model.info.name} has no tokens of its own.", remedy="Send texts.")
    form = body.get("encoding_format") or "float"
    if form not in ("float", "base64"):
        raise InvalidRequestError(f"encoding_format is {str(form)[:40]!r}.", remedy="Use float or base64.")
    dimensions = count_of(body, "dimensions", DIMENSIONS_MAX)
    data = []
    for index, text in enumerate(inputs):
        vector = model.embed(text, dimensions)
        told = vector if form == "float" else _as_base64(vector)
        data.append({"object": "embedding", "index": index, "embedding": told})
    tokens = sum(model.estimate_tokens(text) for text in EMBEDDINGS.texts(body))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": model.info.name, "usage": usage}


def _as_base64(vector: list[float]) -> str:
    """32-bit floats, the lowest byte first, as OpenAI sends them."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
