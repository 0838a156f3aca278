"""Stops asking an upstream that keeps failing until it had time to recover, for those it fails for."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

from prepaid.errors import UpstreamUnavailable

__all__ = ["Circuit", "Seat"]

_K = TypeVar("_K")
_V = TypeVar("_V")

PAYERS_MAX: Final = 4_096
MODELS_MAX: Final = 1_024
"""Of those whose failures are remembered, the ones that failed or tried last."""


class Circuit:
    """One upstream's: closed, open for some payers, or open for everybody, each by model (spec P10).

    So many failures in a row of one payer leave that payer alone; after every pause one request of theirs
    tries again. Only when the failures in a row, with no answer to anybody in between, come from several
    payers, none of whom counts for more than a share, is everybody left alone; then after every pause so many
    payers try once each. So neither what one payer asks, nor how often, closes the way for another.

    An open circuit answers in no time, so that a fallback can speak instead (spec C12).
    """

    def __init__(
        self,
        upstream: str,
        failures_max: int,
        pause_seconds: float,
        payers: int = 3,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._upstream = upstream
        self._failures_max = failures_max
        self._pause_seconds = pause_seconds
        self._payers = payers
        self._clock = clock
        self._rows: OrderedDict[tuple[str, str], _Row] = OrderedDict()
        self._crowds: OrderedDict[str, _Crowd] = OrderedDict()
        self.failures = 0
        """All there ever were, for whoever counts them."""

    @property
    def is_open(self) -> bool:
        """Whether everybody is left alone with one of the models, but for a few tries after each pause."""
        return any(self._is_open(crowd) for crowd in self._crowds.values())

    def seat(self, model: str, payer: str) -> Seat:
        """Where one request to ``model`` on behalf of ``payer`` tells how it went.

        Raises:
            UpstreamUnavailable: it failed too often, and it is not yet time to try again.
        """
        now = self._clock()
        row, crowd = self._rows.get((model, payer)), self._crowds.get(model)
        if row is not None and row.failures >= self._failures_max and now < row.tries_at:
            raise UpstreamUnavailable(self._upstream, row.failures, row.tries_at - now)
        if crowd is not None and self._is_open(crowd):
            self._check_crowd(crowd, payer, now)
        if row is not None and row.failures >= self._failures_max:
            # Whoever comes now tries. Should nobody hear of it again, the next one does after another pause.
            row.tries_at = now + self._pause_seconds
        return Seat(self, model, payer)

    def succeeded(self, model: str, payer: str) -> None:
        """It answered: whatever it said, it is there."""
        self._rows.pop((model, payer), None)
        self._crowds.pop(model, None)

    def failed(self, model: str, payer: str) -> None:
        """It could not be reached, broke off, fell silent, or says that it is broken."""
        self.failures += 1
        until = self._clock() + self._pause_seconds
        row = _remembered(self._rows, (model, payer), _Row, PAYERS_MAX)
        row.failures += 1
        row.tries_at = until
        crowd = _remembered(self._crowds, model, _Crowd, MODELS_MAX)
        was_open = self._is_open(crowd)
        if payer in crowd.failures or len(crowd.failures) < PAYERS_MAX:
            crowd.failures[payer] = crowd.failures.get(payer, 0) + 1
        if not was_open:
            crowd.tries_at = until

    def _is_open(self, crowd: _Crowd) -> bool:
        if len(crowd.failures) < self._payers:
            return False
        share = -(-self._failures_max // self._payers)
        return sum(min(each, share) for each in crowd.failures.values()) >= self._failures_max

    def _check_crowd(self, crowd: _Crowd, payer: str, now: float) -> None:
        if now >= crowd.tries_at:
            crowd.tries_at = now + self._pause_seconds
            crowd.trying = set()
        is_their_turn = (
            crowd.trying is not None and payer not in crowd.trying and len(crowd.trying) < self._payers
        )
        if not is_their_turn:
            failures = sum(crowd.failures.values())
            raise UpstreamUnavailable(self._upstream, failures, crowd.tries_at - now)
        assert crowd.trying is not None
        crowd.trying.add(payer)


class Seat:
    """One request's place in its upstream's circuit."""

    __slots__ = ("_circuit", "_model", "_payer")

    def __init__(self, circuit: Circuit, model: str, payer: str) -> None:
        self._circuit, self._model, self._payer = circuit, model, payer

    def succeeded(self) -> None:
        """It answered: whatever it said, it is there."""
        self._circuit.succeeded(self._model, self._payer)

    def failed(self) -> None:
        """It could not be reached, broke off, fell silent, or says that it is broken."""
        self._circuit.failed(self._model, self._payer)


class _Row:
    """One payer's failures in a row with one model."""

    __slots__ = ("failures", "tries_at")

    def __init__(self) -> None:
        self.failures = 0
        self.tries_at = 0.0


class _Crowd:
    """Everybody's failures in a row with one model, since anybody was answered."""

    __slots__ = ("failures", "tries_at", "trying")

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}
        self.tries_at = 0.0
        self.trying: set[str] | None = None
        """Who has tried since the last pause; ``None`` before the first one."""


def _remembered(known: OrderedDict[_K, _V], key: _K, new: Callable[[], _V], limit: int) -> _V:
    found = known.get(key)
    if found is None:
        found = known[key] = new()
        if len(known) > limit:
            known.popitem(last=False)
    known.move_to_end(key)
    return found
