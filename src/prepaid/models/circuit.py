"""Stops asking an upstream that keeps failing, until it had time to recover."""

from __future__ import annotations

import time
from collections.abc import Callable

from prepaid.errors import UpstreamUnavailable

__all__ = ["Circuit"]


class Circuit:
    """Opens after so many failures in a row; then one request tries again after every pause.

    An open circuit answers in no time, so that a fallback can speak instead (spec C12).
    """

    def __init__(
        self,
        upstream: str,
        failures_max: int,
        pause_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._upstream = upstream
        self._failures_max = failures_max
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._failures = 0
        self.failures = 0
        """All there ever were, for whoever counts them."""
        self._tries_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether it has failed so often that it is left alone, but for a try after each pause."""
        return self._failures >= self._failures_max

    def check(self) -> None:
        """Whether to ask now.

        Raises:
            UpstreamUnavailable: it failed too often, and it is not yet time to try again.
        """
        if not self.is_open:
            return
        seconds = self._tries_at - self._clock()
        if seconds > 0:
            raise UpstreamUnavailable(self._upstream, self._failures, seconds)
        # Whoever comes now tries. Should nobody hear of it again, the next one does after another pause.
        self._tries_at = self._clock() + self._pause_seconds

    def succeeded(self) -> None:
        """It answered: whatever it said, it is there."""
        self._failures = 0

    def failed(self) -> None:
        """It could not be reached, broke off, fell silent, or says that it is broken."""
        self._failures += 1
        self.failures += 1
        if self.is_open:
            self._tries_at = self._clock() + self._pause_seconds
