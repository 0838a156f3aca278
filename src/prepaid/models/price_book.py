"""The prices that we ship: what providers ask for text, in micro-dollars per million tokens.

``price_book.json`` is written by ``scripts/seed_price_book.py`` from genai-prices. For each provider it has
the pattern of its API's ``url``, other providers whose models it hosts (``fallback``), and its models:

- ``match``: which names mean this model. A text equals the name, a list is any of its clauses, an object
  has one of ``starts_with``, ``ends_with``, ``contains``, ``regex`` and ``and``. Without it, the ``id`` does.
- ``context``: the most tokens it reads, where known.
- ``prices``: ``[from date or null, per request, tiers]``; the last that has begun holds. A tier is ``[above
  input tokens, input, output, cache read, cache write]`` and holds for the whole request. An output of -1
  means that the model only reads, as those for embeddings do.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from datetime import date
from importlib import resources
from typing import Any, Final

from prepaid.records import Price, PriceTier, Unit

__all__ = ["BookEntry", "PriceBook", "shipped_book"]

_NO_OUTPUT: Final = -1


@dataclass(frozen=True, slots=True)
class BookEntry:
    """One model in the book, with the price of a day."""

    model: str
    price: Price
    context_tokens_max: int | None
    answers: bool
    """Whether it writes text at all."""


class PriceBook:
    """A price book in memory."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.source: str = content["source"]
        self.currency: str = content["currency"]
        self._providers: dict[str, dict[str, Any]] = content["providers"]

    @property
    def providers(self) -> tuple[str, ...]:
        """Every provider's id."""
        return tuple(self._providers)

    def provider_at(self, url: str) -> str | None:
        """The provider whose API is at ``url``."""
        return next((name for name, entry in self._providers.items() if re.match(entry["url"], url)), None)

    def find(self, provider: str, model: str, on: date) -> BookEntry | None:
        """What ``provider`` asks for ``model`` on that day (UTC); ``None`` if the book does not say."""
        asked = model.lower()
        for name in (provider, *self._providers[provider].get("fallback", ())):
            for entry in self._providers.get(name, {}).get("models", ()):
                if _matches(entry.get("match", entry["id"]), asked):
                    return self._entry(entry, on)
        return None

    def _entry(self, entry: dict[str, Any], on: date) -> BookEntry:
        eras = entry["prices"]
        begun = [era for era in eras if era[0] is None or date.fromisoformat(era[0]) <= on]
        _, per_request, rows = begun[-1] if begun else eras[0]
        tiers = tuple(PriceTier(row[0], row[1], max(row[2], 0), row[3], row[4]) for row in rows)
        return BookEntry(
            model=entry["id"],
            price=Price(self.currency, Unit.TOKEN, tiers, per_request),
            context_tokens_max=entry.get("context"),
            answers=rows[0][2] != _NO_OUTPUT,
        )


@functools.cache
def shipped_book() -> PriceBook:
    """The book in this package, read when it is first asked for."""
    text = resources.files("prepaid.models").joinpath("price_book.json").read_text(encoding="utf-8")
    return PriceBook(json.loads(text))


def _matches(clause: Any, name: str) -> bool:
    """Whether ``name``, in lower case, fulfils ``clause``."""
    if isinstance(clause, str):
        return name == clause
    if isinstance(clause, list):
        return any(_matches(one, name) for one in clause)
    ((condition, value),) = clause.items()
    match condition:
        case "starts_with":
            fulfilled = name.startswith(value)
        case "ends_with":
            fulfilled = name.endswith(value)
        case "contains":
            fulfilled = value in name
        case "regex":
            fulfilled = re.search(value, name) is not None
        case _:
            fulfilled = all(_matches(one, name) for one in value)
    return fulfilled
