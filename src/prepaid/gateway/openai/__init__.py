"""OpenAI's API (spec D2): ``ROUTES`` are its handlers, by path and method.

``relaying`` answers requests to models, ``models`` lists them, ``headers`` tells what a request cost. What
happens to a request in between is the ``relay``'s.
"""

from __future__ import annotations

from typing import Final

from prepaid.gateway.openai.models import list_models, show_model
from prepaid.gateway.openai.relaying import relaying
from prepaid.gateway.parts import Routes
from prepaid.relay import CHAT, EMBEDDINGS, RESPONSES

__all__ = ["ROUTES"]

ROUTES: Final[Routes] = {
    "/v1/chat/completions": {"POST": relaying(CHAT)},
    "/v1/responses": {"POST": relaying(RESPONSES)},
    "/v1/embeddings": {"POST": relaying(EMBEDDINGS)},
    "/v1/models": {"GET": list_models},
    "/v1/models/*": {"GET": show_model},
}
