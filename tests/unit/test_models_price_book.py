"""The price book: current, and never below what the provider asks."""

from __future__ import annotations

import importlib.util
import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from genai_prices.data import providers
from genai_prices.types import StartDateConstraint
from genai_prices.types import Usage as GenaiUsage
from hypothesis import given
from hypothesis import strategies as st

from prepaid.models.price_book import PriceBook, shipped_book
from prepaid.pricing import cost
from prepaid.records import Usage

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 11, 21)


def test_the_book_is_up_to_date():
    """If this fails: ``uv run scripts/seed_price_book.py``, and say in CHANGELOG.md that prices changed."""
    spec = importlib.util.spec_from_file_location("seed_price_book", ROOT / "scripts" / "seed_price_book.py")
    seed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(seed)
    assert seed.BOOK.read_text(encoding="utf-8") == seed.book_text()


USAGES = [(0, 0, 0, 0), (1, 1, 0, 0), (999, 12_345, 500, 100), (200_000, 77, 0, 0), (200_001, 77, 100_000, 3)]
USAGES += [(272_001, 1000, 0, 272_001), (1_048_577, 3, 1, 2)]


@pytest.mark.parametrize("day", [TODAY, date(2024, 1, 1)])
def test_we_charge_what_the_provider_does_rounded_up(day):
    """Every model in the book, against genai-prices' own calculation."""
    checked = 0
    for provider in providers:
        for model in provider.models:
            entry = (
                shipped_book().find(provider.id, model.id, day)
                if provider.id in shipped_book().providers
                else None
            )
            if entry is None or entry.model != model.id:
                continue
            for input_tokens, output_tokens, read, written in USAGES:
                theirs = _theirs(provider, model, day, (input_tokens, output_tokens, read, written))
                ours = cost(entry.price, Usage(input_tokens, output_tokens, read, written))
                # A rate that is no whole number of micro-dollars was rounded up, by less than one per million.
                assert math.ceil(theirs) <= ours
                if not _by_the_hour(model) and "deep-research" not in model.id:
                    assert ours <= math.ceil(theirs + Decimal(input_tokens + output_tokens) / 10**6)
                checked += 1
    assert checked > 10_000


def _theirs(provider, model, day, usage) -> Decimal:
    """Micro-dollars; at the dearest of four hours of that day."""
    names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    told = GenaiUsage(**dict(zip(names, usage, strict=True)))
    hours = (3, 8, 12, 20) if _by_the_hour(model) else (12,)
    times = [datetime(day.year, day.month, day.day, hour, tzinfo=UTC) for hour in hours]
    prices = [model.calc_price(told, provider, genai_request_timestamp=time).total_price for time in times]
    return max(prices) * 10**6


def _by_the_hour(model) -> bool:
    conditions = model.prices if isinstance(model.prices, list) else []
    return any(one.constraint and not isinstance(one.constraint, StartDateConstraint) for one in conditions)


def test_models_are_found_as_genai_prices_finds_them():
    book, skipped = shipped_book(), 0
    names = [model.id for provider in providers for model in provider.models][::7]
    names += [
        "gpt-4o-2024-08-06",
        "claude-sonnet-4-5-20250929",
        "Gemini-2.5-Flash-Preview",
        "o3-mini-high",
        "x",
    ]
    for provider in providers[::3]:
        for name in names if provider.id in book.providers else ():
            theirs = provider._match_model(name.lower(), all_providers=providers)
            ours = book.find(provider.id, name, TODAY)
            if theirs is not None and ours is None:
                skipped += 1  # it has no price for text
            else:
                assert (ours and ours.model) == (theirs and theirs.id)
    assert skipped < 100


@given(st.dates())
def test_the_last_price_that_has_begun_holds(day):
    rows = [
        [None, 0, [[0, 1, 1, 1, 1]]],
        ["2025-03-01", 0, [[0, 2, 2, 2, 2]]],
        ["2026-01-01", 5, [[0, 3, -1, 3, 3]]],
    ]
    book = PriceBook(
        {
            "source": "s",
            "currency": "USD",
            "providers": {"p": {"url": "x", "models": [{"id": "m", "prices": rows}]}},
        }
    )
    expected = 3 if day >= date(2026, 1, 1) else 2 if day >= date(2025, 3, 1) else 1
    entry = book.find("p", "M", day)
    assert entry.price.tiers[0].input_per_million == expected
    assert entry.answers == (expected < 3)
    assert book.find("p", "mm", day) is None


def test_the_book_says_where_it_is_from():
    assert shipped_book().source.startswith("genai-prices ")
    assert json.loads((ROOT / "src/prepaid/models/price_book.json").read_text())["currency"] == "USD"
