"""The database's time, as near as it can be told without asking."""

from __future__ import annotations

import time

__all__ = ["DatabaseClock"]


class DatabaseClock:
    """Milliseconds since the epoch on the server, as of its last answer and what has passed here since."""

    def __init__(self, server_ms: int) -> None:
        self._ahead_ms = server_ms - _here_ms()

    def __call__(self) -> int:
        """What time it is there now."""
        return _here_ms() + self._ahead_ms

    def told(self, server_ms: int) -> None:
        """The server has said what time it is."""
        self._ahead_ms = server_ms - _here_ms()


def _here_ms() -> int:
    return time.monotonic_ns() // 1_000_000
