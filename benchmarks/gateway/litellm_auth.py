"""LiteLLM's custom authentication: a key with a budget, which its common checks then enforce. Runs in its own venv."""

from litellm.proxy._types import UserAPIKeyAuth


async def authenticate(request, api_key):  # noqa: ARG001 -- LiteLLM's signature
    return UserAPIKeyAuth(api_key=api_key, token=api_key, max_budget=1_000_000.0, spend=0.0)
