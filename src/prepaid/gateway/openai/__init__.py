"""OpenAI's API (spec D2): ``ROUTES`` are its handlers, by path and method."""

from __future__ import annotations

from typing import Final

from prepaid.gateway.parts import Routes

__all__ = ["ROUTES"]

ROUTES: Final[Routes] = {}
