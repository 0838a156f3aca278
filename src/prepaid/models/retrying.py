"""Retries: with exponential backoff and jitter, and only of what the provider cannot have begun (spec P4).

What was sent and not refused is generated, and billed, once: it is not sent again, whatever becomes of it.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, TypeVar

from prepaid.errors import ProviderError
from prepaid.models.contract import Model
from prepaid.models.failures import retry_after
from prepaid.records import ChatRequest, ModelEvent, ModelInfo

__all__ = ["RetryingModel", "with_retries"]

FIRST_WAIT_SECONDS: Final = 0.25
WAIT_SECONDS_MAX: Final = 8.0
"""Without the jitter, which is at most ``FIRST_WAIT_SECONDS``."""
RETRY_AFTER_SECONDS_MAX: Final = 20.0
"""A provider that asks for a longer pause is given up at once: a fallback answers sooner."""

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]
_Started = tuple[ModelEvent, AsyncGenerator[ModelEvent]]


async def with_retries(
    start: Callable[[], Awaitable[T]], retries_max: int, sleep: Sleep = asyncio.sleep
) -> T:
    """What ``start`` returns, tried up to ``retries_max`` times more while its failures ``can_resend``.

    Raises:
        ProviderError: the last attempt's.
    """
    for attempt in itertools.count(1):
        try:
            return await start()
        except ProviderError as error:
            if attempt > retries_max or not _is_worth_waiting(error):
                raise
            seconds = _pause(error, attempt)
        await sleep(seconds)
    raise AssertionError("it counts without end")


class RetryingModel:
    """``model``, asked again up to ``retries_max`` times while it cannot have begun (spec C12, P4).

    Once a first event was passed on, a failure is passed on too: the user has seen a part of the answer.
    """

    def __init__(self, model: Model, retries_max: int, *, sleep: Sleep = asyncio.sleep) -> None:
        self._model = model
        self._retries_max = retries_max
        self._sleep = sleep

    @property
    def info(self) -> ModelInfo:
        """The wrapped model's."""
        return self._model.info

    def input_tokens_max(self, request: ChatRequest) -> int:
        """The wrapped model's: only the attempt that answers is paid for."""
        return self._model.input_tokens_max(request)

    def estimate_tokens(self, text: str) -> int:
        """The wrapped model's."""
        return self._model.estimate_tokens(text)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ModelEvent]:
        """The answer of the first attempt that says anything.

        Raises:
            ProviderError: the last attempt's.
        """
        first, events = await with_retries(lambda: self._started(request), self._retries_max, self._sleep)
        async with aclosing(events):
            yield first
            async for event in events:
                yield event

    async def _started(self, request: ChatRequest) -> _Started:
        events = self._model.stream(request)
        try:
            return await anext(events), events
        except BaseException:
            await events.aclose()
            raise


def _is_worth_waiting(error: ProviderError) -> bool:
    """Whether it may be sent again at all, and soon: others may answer meanwhile."""
    return error.can_resend and (retry_after(error) or 0.0) <= RETRY_AFTER_SECONDS_MAX


def _pause(error: ProviderError, attempt: int) -> float:
    """The backoff, or longer where the provider asked for it."""
    backoff: float = min(FIRST_WAIT_SECONDS * 2 ** (attempt - 1), WAIT_SECONDS_MAX)
    backoff += random.uniform(0, FIRST_WAIT_SECONDS)  # noqa: S311 -- spreads retries, guards nothing
    return max(backoff, retry_after(error) or 0.0)
