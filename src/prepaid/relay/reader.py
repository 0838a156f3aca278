"""Follows one streamed answer: what every API's reader knows, and what each says in its own way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, Protocol, TypeVar

from prepaid.errors import ProviderError
from prepaid.models.failures import refused_in_stream
from prepaid.records import Message, Usage

__all__ = ["Reader"]

S_co = TypeVar("S_co", bound="Streamed", covariant=True)


class Streamed(Protocol):
    """An answer that is put together from its events (``models.codecs``)."""

    usage: Any
    models: list[str]
    least_characters: int
    hides_output: bool

    @property
    def is_ended(self) -> bool:
        """Whether it is said how the answer ends."""


class Reader(ABC, Generic[S_co]):
    """Reads the events of one streamed answer, which ``answer`` puts together."""

    def __init__(self, upstream: str, answer: S_co) -> None:
        self.texts: list[str] = []
        """All output so far, visible reasoning and tools' arguments included."""
        self._upstream = upstream
        self._answer = answer

    @property
    def usage(self) -> Any:
        """As the upstream told it last; ``None`` where it has not."""
        return self._answer.usage

    @property
    def models(self) -> list[str]:
        """Which models have answered, as the upstream says."""
        return self._answer.models

    @property
    def least_characters(self) -> int:
        """Of output in fields that are known to hold nothing else."""
        return self._answer.least_characters

    @property
    def is_ended(self) -> bool:
        """Whether the upstream has said how the answer ends; only usage may still come."""
        return self._answer.is_ended

    @property
    def hides_output(self) -> bool:
        """Whether there was output that cannot be read, such as encrypted reasoning."""
        return self._answer.hides_output

    @property
    @abstractmethod
    def is_answer(self) -> bool:
        """Whether there was any part of an answer of this API."""

    @abstractmethod
    def see(self, event: dict[str, Any]) -> tuple[str, bool]:
        """The output in an event, and whether the client gets the event.

        Raises:
            ProviderError: it is the upstream's own error.
            ProviderResponseInvalid: it is not an event of this API.
        """

    @abstractmethod
    def written(self, data: bytes) -> bytes:
        """The event that was seen last, as the client gets it: its data, and nothing else of it."""

    @abstractmethod
    def cut(self, usage: Usage) -> bytes:
        """The events that end an answer at its limit."""

    @abstractmethod
    def message(self) -> Message:
        """The answer, to be kept in a chat."""

    def _failed_with(self, error: Any) -> ProviderError:
        """The error for one that the upstream told inside its answer."""
        return refused_in_stream(self._upstream, error)
