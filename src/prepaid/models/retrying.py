"""Retries around a model: with exponential backoff and jitter, and only while nothing was said yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.stop import stop_base
from tenacity.wait import wait_base, wait_exponential, wait_random

from prepaid.errors import ProviderError
from prepaid.models.contract import Model
from prepaid.models.failures import retry_after
from prepaid.records import ChatRequest, ModelEvent, ModelInfo

__all__ = ["RetryingModel"]

FIRST_WAIT_SECONDS: Final = 0.25
WAIT_SECONDS_MAX: Final = 8.0
"""Without the jitter, which is at most ``FIRST_WAIT_SECONDS``."""
RETRY_AFTER_SECONDS_MAX: Final = 20.0
"""A provider that asks for a longer pause is given up at once: a fallback answers sooner."""

_Started = tuple[ModelEvent, AsyncGenerator[ModelEvent]]


class RetryingModel:
    """``model``, asked again up to ``retries_max`` times while its failures are retryable (spec C12).

    Once a first event was passed on, a failure is passed on too: the user has seen a part of the answer.
    """

    def __init__(
        self,
        model: Model,
        retries_max: int,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._model = model
        self._retrying = AsyncRetrying(
            retry=retry_if_exception(_is_retryable),
            stop=_StopUnlessSoon(retries_max + 1),
            wait=_WaitAsAsked(),
            sleep=sleep,
            reraise=True,
        )

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
        # A copy, because tenacity keeps the state of the attempts in the object.
        started: _Started = await self._retrying.copy()(self._started, request)
        first, events = started
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


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, ProviderError) and error.retryable


def _asked_wait(state: RetryCallState) -> float | None:
    error = state.outcome.exception() if state.outcome is not None else None
    return retry_after(error) if error is not None else None


class _WaitAsAsked(wait_base):
    """The backoff, or longer where the provider asked for it."""

    _backoff = wait_exponential(multiplier=FIRST_WAIT_SECONDS, max=WAIT_SECONDS_MAX) + wait_random(
        0, FIRST_WAIT_SECONDS
    )

    def __call__(self, retry_state: RetryCallState) -> float:
        return max(self._backoff(retry_state), _asked_wait(retry_state) or 0.0)


class _StopUnlessSoon(stop_base):
    """After so many attempts, or when the provider asks for too long a pause."""

    def __init__(self, attempts: int) -> None:
        self._attempts = stop_after_attempt(attempts)

    def __call__(self, retry_state: RetryCallState) -> bool:
        return self._attempts(retry_state) or (_asked_wait(retry_state) or 0.0) > RETRY_AFTER_SECONDS_MAX
