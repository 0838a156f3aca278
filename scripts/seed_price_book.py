"""Write ``src/prepaid/models/price_book.json`` from genai-prices: ``uv run scripts/seed_price_book.py``.

The book has one line for each model. What cannot be represented in whole micro-dollars per million tokens is
rounded up, and of prices that depend on the time of day the dearest counts: we never charge less than the
provider does. Models that are billed by something that we do not count, such as the sound that they answer
with, stand in it without a price and with what is missing, so that no other entry is taken for them. Prices
that start on a date keep that date, so the result depends on nothing but the package.
``prepaid.models.price_book`` reads it and describes its fields.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from genai_prices.data import providers
from genai_prices.types import (
    ClauseAnd,
    ClauseContains,
    ClauseEndsWith,
    ClauseEquals,
    ClauseOr,
    ClauseRegex,
    ClauseStartsWith,
    MatchLogic,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TieredPrices,
)

BOOK: Final = Path(__file__).parents[1] / "src" / "prepaid" / "models" / "price_book.json"
_MICROS: Final = 1_000_000
_THOUSAND: Final = 1_000
_Money = Decimal | TieredPrices | None

_COUNTED: Final = frozenset(
    {
        "input_mtok",
        "output_mtok",
        "output_reasoning_mtok",
        "cache_read_mtok",
        "cache_write_mtok",
        "cache_write_1h_mtok",
        "requests_kcount",
        "web_searches_kcount",
        "storage_searches_kcount",  # of files, by a tool of the provider's; such tools are refused
        "input_audio_mtok",  # sound is not sent to any model
        "cache_audio_read_mtok",
    }
)
_SENT: Final = frozenset({"input_image_mtok", "input_video_mtok"})
"""What only models that answer can be sent: those for embeddings are sent text."""
_WORDS: Final = {
    "audio": "sound",
    "image": "pictures",
    "video": "video",
    "kpages": "pages",
    "mchars": "characters",
    "citation": "citations",
    "messages": "messages",
}


def book_text() -> str:
    """The whole file."""
    lines = [
        "{",
        f'"source": {_json("genai-prices " + version("genai-prices"))},',
        '"currency": "USD",',
        '"providers": {',
        ",\n".join(
            _provider_text(provider)
            for provider in providers
            if any(price.input_mtok is not None for model in provider.models for price in _prices(model))
        ),
        "}",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _provider_text(provider: Provider) -> str:
    head: dict[str, Any] = {"url": provider.api_pattern}
    if provider.fallback_model_providers:
        head["fallback"] = provider.fallback_model_providers
    models = ",\n".join(_json(_model(model)) for model in provider.models)
    return f'{_json(provider.id)}: {{{_json(head)[1:-1]}, "models": [\n{models}\n]}}'


def _model(model: ModelInfo) -> dict[str, Any]:
    eras, hole = _eras(model), _hole(model)
    entry: dict[str, Any] = {"id": model.id}
    if model.name:
        entry["name"] = model.name
    clause = _clause(model.match)
    if clause != model.id:
        entry["match"] = clause
    if model.context_window:
        entry["context"] = model.context_window
    if hole:
        entry["hole"] = hole
    entry["prices"] = eras
    return entry


def _hole(model: ModelInfo) -> str:
    """What the model is billed by that we do not count, in words."""
    keys = sorted(set().union(*map(_uncounted, _prices(model))))
    words = [next((word for part, word in _WORDS.items() if part in key), key) for key in keys]
    return " and ".join(dict.fromkeys(words))


def _prices(model: ModelInfo) -> list[ModelPrice]:
    """Of all times."""
    return [model.prices] if isinstance(model.prices, ModelPrice) else [each.prices for each in model.prices]


def _uncounted(price: ModelPrice) -> set[str]:
    counted = _COUNTED if price.output_mtok is not None else _COUNTED | _SENT
    return {key for key, value in vars(price).items() if value is not None} - counted


def _eras(model: ModelInfo) -> list[list[Any]]:
    """``[start, micro-dollars per request, tiers, per search]``, in the order of precedence, last first."""
    if isinstance(model.prices, ModelPrice):
        dated: list[tuple[str | None, list[ModelPrice]]] = [(None, [model.prices])]
    else:
        dated = []
        for price in model.prices:
            match price.constraint:
                case None:
                    dated.append((None, [price.prices]))
                case StartDateConstraint(start_date=start):
                    dated.append((start.isoformat(), [price.prices]))
                case _:
                    # By time of day: an alternative in all eras before it, whose prices it replaces.
                    dated = [(start, [*alternatives, price.prices]) for start, alternatives in dated]
    eras = [(start, _dearest(alternatives)) for start, alternatives in dated]
    # A time without a price for text must not inherit the one before it: such a model is left out.
    return [[start, *era] for start, era in eras if era is not None] if all(era for _, era in eras) else []


def _dearest(alternatives: Sequence[ModelPrice]) -> list[Any] | None:
    """Each rate at its highest among ``alternatives``; ``None`` if text has no price of its own."""
    priced = [price for price in alternatives if price.input_mtok is not None]
    if not priced or any(_uncounted(price) for price in priced):
        return None
    starts = sorted({0}.union(*(_starts(price) for price in priced)))
    tiers = [
        _short([start, *map(max, zip(*(_rates(price, start) for price in priced), strict=True))])
        for start in starts
    ]
    requests = max(_micros(_at(price.requests_kcount, 0), _THOUSAND) for price in priced)
    searches = max(_micros(_at(price.web_searches_kcount, 0), _THOUSAND) for price in priced)
    return [requests, tiers, searches] if searches else [requests, tiers]


def _short(row: list[int]) -> list[int]:
    """Without the price of an hour in the cache where that is the price of minutes."""
    return row[:-1] if row[-1] == row[-2] else row


def _starts(price: ModelPrice) -> Iterator[int]:
    rates = (price.input_mtok, price.output_mtok, price.cache_read_mtok)
    for value in (*rates, price.cache_write_mtok, price.cache_write_1h_mtok):
        if isinstance(value, TieredPrices):
            yield from (tier.start for tier in value.tiers)


def _rates(price: ModelPrice, start: int) -> tuple[int, int, int, int, int]:
    """Input, output, cache read, write and write for an hour above ``start`` tokens; -1 for no output."""
    plain = _at(price.input_mtok, start)
    written = _either(_at(price.cache_write_mtok, start), plain)
    output = [_at(value, start) for value in (price.output_mtok, price.output_reasoning_mtok)]
    return (
        _micros(plain),
        -1 if price.output_mtok is None else max(map(_micros, output)),
        _micros(_either(_at(price.cache_read_mtok, start), plain)),
        _micros(written),
        _micros(_either(_at(price.cache_write_1h_mtok, start), written)),
    )


def _at(value: _Money, start: int) -> Decimal | None:
    if not isinstance(value, TieredPrices):
        return value
    reached = [tier.price for tier in value.tiers if tier.start <= start]
    return reached[-1] if reached else value.base


def _either(value: Decimal | None, other: Decimal | None) -> Decimal | None:
    return other if value is None else value


def _micros(dollars: Decimal | None, share: int = 1) -> int:
    return math.ceil((dollars or Decimal(0)) * _MICROS / share)


def _clause(clause: MatchLogic) -> Any:
    """A text to equal, a list of alternatives, or an object with the one condition's name."""
    match clause:
        case ClauseEquals(equals=text):
            found: Any = text.lower()
        case ClauseStartsWith(starts_with=text):
            found = {"starts_with": text.lower()}
        case ClauseEndsWith(ends_with=text):
            found = {"ends_with": text.lower()}
        case ClauseContains(contains=text):
            found = {"contains": text.lower()}
        case ClauseRegex(regex=text):
            found = {"regex": text}
        case ClauseOr(or_=clauses):
            found = _clauses(clauses)
        case ClauseAnd(and_=clauses):
            found = {"and": _clauses(clauses)}
    return found


def _clauses(clauses: Iterable[MatchLogic]) -> list[Any]:
    return [_clause(one) for one in clauses]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    BOOK.write_text(book_text(), encoding="utf-8")
    print(f"{BOOK}: {BOOK.stat().st_size:,} bytes from genai-prices {version('genai-prices')}")
