"""Our own REST API below ``/api/v1``, with its OpenAPI document."""

from __future__ import annotations

from fastapi import FastAPI

from prepaid.gateway.parts import Parts

__all__ = ["create"]


def create(parts: Parts) -> FastAPI:
    """The application for these parts. It is given paths that begin with ``/api/v1``, prefix included."""
    app = FastAPI(title="prepaid", docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json")
    app.state.parts = parts
    return app
