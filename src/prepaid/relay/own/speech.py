"""A model's answer to a request, as every way of writing it down gets it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from prepaid.records import ChatRequest, ModelEvent

__all__ = ["Speaking"]

Speaking = Callable[[ChatRequest], AsyncGenerator[ModelEvent]]
"""Text and tool calls as they come, then one ``Finish``; all of it can be written as JSON."""
