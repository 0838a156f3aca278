"""The Model contract: what answers a request, for whatever provider stands behind it.

A model knows nothing of accounts or money. ``turns`` asks it for a bound on the input before the
call, streams the answer, and prices what was used.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from prepaid.records import ChatRequest, ModelEvent, ModelInfo

__all__ = ["EmbeddingModel", "Model"]


class Model(Protocol):
    """Three questions and one stream.

    A stream ends with exactly one ``Finish``. Closing the generator early (``aclose()``) must
    drop the connection to the provider at once.
    """

    @property
    def info(self) -> ModelInfo:
        """Name, pinned price, limits and supported APIs."""

    def input_tokens_max(self, request: ChatRequest) -> int:
        """An upper bound of the input tokens that this request can be billed for."""

    def estimate_tokens(self, text: str) -> int:
        """The likely token count of ``text``, at least 1 unless it is empty.

        Used to cut a stream at its limit and to settle an answer whose provider told no usage.
        """

    def stream(self, request: ChatRequest) -> AsyncGenerator[ModelEvent]:
        """The answer as it comes.

        Raises:
            ProviderError: refused, timed out, broken off, or not what the protocol says.
        """


class EmbeddingModel(Model, Protocol):
    """A model whose ``info.apis`` has ``embeddings`` makes vectors too, in this process."""

    def embed(self, text: str, dimensions: int | None) -> list[float]:
        """The vector of a text, of so many dimensions or of the model's own choice."""
