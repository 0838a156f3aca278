"""The prices that we ship: what providers ask for text, in micro-dollars per million tokens.

``price_book.json`` is written by ``scripts/seed_price_book.py`` from genai-prices. For each provider it has
the pattern of its API's ``url``, other providers whose models it hosts (``fallback``), and its models:

- ``match``: which names mean this model. A text equals the name, a list is any of its clauses, an object
  has one of ``starts_with``, ``ends_with``, ``contains``, ``regex`` and ``and``. Without it, the ``id`` does.
- ``context``: the most tokens it reads, where known.
- ``prices``: ``[from date or null, per request, tiers, per search]``; the last that has begun holds. A tier
  is ``[above input tokens, input, output, cache read, cache write, cache write for an hour]`` and holds for
  the whole request. The last of a list may be left out: searches cost nothing then, and an hour what minutes
  do. An output of -1 means that the model only reads, as those for embeddings do.
- ``hole``: what the provider bills that no price here covers; then there are no prices, and it is not sold.

Some models are billed for what their tokens do not show, whatever the book says of their tokens: those that
search by themselves, unless the book has their fee, and those that answer with sound or pictures. Their
names tell.
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

__all__ = ["BookEntry", "PriceBook", "searches_by_itself", "shipped_book"]

_NO_OUTPUT: Final = -1

SEARCHES: Final = "the searches that it makes by itself"
_SEARCHES = re.compile(
    r"(?:^|[-/_.:])(?:compound|deep-?research|deepsearch|online|search|sonar)(?:[-/_.:]|$)", re.IGNORECASE
)
"""Perplexity's models, OpenAI's for search and research, Groq's compound ones, OpenRouter's ``:online``."""

_SHOWS = re.compile(
    r"(?:^|[-/_.:])(?:audio|banana|images?|realtime|speech|transcribe|tts|video|voice)(?:[-/_.:]|$)"
)
"""Models that answer with more than text, for which the book may have the tokens alone."""


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
        entry = self._found(provider, model)
        if entry is None or not entry["prices"] or _hole(entry, model, on):
            return None
        _, per_request, rows, *others = _era(entry, on)
        tiers = tuple(PriceTier(above, taken, max(given, 0), *rest) for above, taken, given, *rest in rows)
        per_search = others[0] if others else 0
        return BookEntry(
            model=entry["id"],
            price=Price(self.currency, Unit.TOKEN, tiers, per_request, per_search=per_search),
            context_tokens_max=entry.get("context"),
            answers=rows[0][2] != _NO_OUTPUT,
        )

    def hole(self, provider: str, model: str, on: date) -> str:
        """What ``provider`` bills for ``model`` that has no price here; empty where nothing is known."""
        entry = self._found(provider, model)
        return "" if entry is None else _hole(entry, model, on)

    def context_tokens_max(self, provider: str, model: str) -> int | None:
        """The most tokens that ``model`` reads there, where known, whether it is sold or not."""
        entry = self._found(provider, model)
        return None if entry is None else entry.get("context")

    def _found(self, provider: str, model: str) -> dict[str, Any] | None:
        asked = model.lower()
        for name in (provider, *self._providers[provider].get("fallback", ())):
            for entry in self._providers.get(name, {}).get("models", ()):
                if _matches(entry.get("match", entry["id"]), asked):
                    return entry  # type: ignore[no-any-return]
        return None


def searches_by_itself(model: str) -> bool:
    """Whether a model of this name searches without being told to, at a fee that its tokens do not show."""
    return _SEARCHES.search(model) is not None


def _era(entry: dict[str, Any], on: date) -> list[Any]:
    eras: list[list[Any]] = entry["prices"]
    begun = [era for era in eras if era[0] is None or date.fromisoformat(era[0]) <= on]
    return begun[-1] if begun else eras[0]


def _hole(entry: dict[str, Any], model: str, on: date) -> str:
    """What is billed for a model of this name that the entry has no price for."""
    known: str = entry.get("hole", "")
    if known or not entry["prices"]:
        return known
    names = f"{model} {entry['id']}".lower().split()
    if any(map(_SHOWS.search, names)):
        return "sound and pictures"
    return SEARCHES if any(map(searches_by_itself, names)) and not _era(entry, on)[1] else ""


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
