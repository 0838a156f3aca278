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

from prepaid.models.price_book import SEARCHES, PriceBook, searches_by_itself, shipped_book
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


USAGES = [(0, 0, 0, 0, 0), (1, 1, 0, 0, 0), (999, 12_345, 500, 100, 0), (200_000, 77, 0, 0, 0)]
USAGES += [(200_001, 77, 100_000, 3, 2), (272_001, 1000, 0, 272_001, 71), (1_048_577, 3, 1, 2, 0)]


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
            for input_tokens, output_tokens, read, written, hour in USAGES:
                theirs = _theirs(provider, model, day, (input_tokens, output_tokens, read, written, hour))
                used = Usage(input_tokens, output_tokens, read, written, cache_write_1h_tokens=hour)
                ours = cost(entry.price, used)
                # A rate that is no whole number of micro-dollars was rounded up, by less than one per million.
                assert math.ceil(theirs) <= ours
                if not _by_the_hour(model) and "deep-research" not in model.id:
                    assert ours <= math.ceil(theirs + Decimal(input_tokens + output_tokens) / 10**6)
                checked += 1
    assert checked > 10_000


def _theirs(provider, model, day, usage) -> Decimal:
    """Micro-dollars; at the dearest of four hours of that day."""
    names = (
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "cache_write_1h_tokens",
    )
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
                skipped += 1  # it has no price for text, or not for text alone
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


COUNTED = {
    "input_mtok",
    "output_mtok",
    "output_reasoning_mtok",
    "cache_read_mtok",
    "cache_write_mtok",
    "cache_write_1h_mtok",
    "requests_kcount",
    "web_searches_kcount",
}
NEVER_ASKED_FOR = {"storage_searches_kcount", "input_audio_mtok", "cache_audio_read_mtok"}
"""Tools of the provider's, and sound: requests that ask for them are refused."""


def test_what_is_billed_in_units_that_we_do_not_count_is_not_sold():
    """Spec P11: every model of genai-prices, under its own name."""
    book, refused = shipped_book(), 0
    for provider in providers:
        for model in provider.models:
            rows = model.prices if isinstance(model.prices, list) else [None]
            prices = [model.prices if row is None else row.prices for row in rows]
            units = {unit for price in prices for unit, value in vars(price).items() if value is not None}
            others = units - COUNTED - NEVER_ASKED_FOR
            if "output_mtok" not in units:
                others -= {
                    "input_image_mtok",
                    "input_video_mtok",
                }  # models for embeddings are sent text alone
            if not others or provider.id not in book.providers:
                continue
            found = book._found(provider.id, model.id)
            if found and found["id"] == model.id:
                assert book.find(provider.id, model.id, TODAY) is None
                assert book.hole(provider.id, model.id, TODAY)
                refused += 1
    assert refused > 30


SEARCHING = [
    ("openai", "gpt-4o-search-preview"),
    ("openai", "gpt-4o-mini-search-preview-2025-03-11"),
    ("openai", "gpt-5-search-api"),
    ("openai", "o3-deep-research"),
    ("openrouter", "perplexity/sonar-pro"),
    ("openrouter", "openai/o4-mini-deep-research"),
    ("perplexity", "perplexity/sonar"),
]
SHOWING = [
    ("openai", "gpt-4o-audio-preview"),
    ("openai", "gpt-image-1"),
    ("openai", "gpt-realtime"),
    ("openrouter", "google/gemini-2.5-flash-image"),
    ("google", "gemini-2.5-flash-preview-tts"),
    ("google", "gemini-2.5-flash-image"),
]


@pytest.mark.parametrize(("provider", "model"), SEARCHING)
def test_a_model_that_searches_by_itself_is_not_sold_for_tokens_alone(provider, model):
    """Spec P11."""
    assert shipped_book().find(provider, model, TODAY) is None
    assert shipped_book().hole(provider, model, TODAY) == SEARCHES


@pytest.mark.parametrize(("provider", "model"), SHOWING)
def test_a_model_that_answers_with_more_than_text_is_not_sold_for_tokens_alone(provider, model):
    """Spec P11."""
    assert shipped_book().find(provider, model, TODAY) is None
    assert shipped_book().hole(provider, model, TODAY)


def test_a_model_whose_fee_is_known_is_sold_with_it():
    """Perplexity's own: genai-prices has the fee of the dearest search."""
    assert shipped_book().find("perplexity", "sonar", TODAY).price.per_request == 12_000
    assert shipped_book().hole("perplexity", "sonar", TODAY) == ""
    assert shipped_book().context_tokens_max("perplexity", "sonar") == 128_000


def test_an_hour_in_the_cache_and_a_search_are_priced():
    price = shipped_book().find("anthropic", "claude-sonnet-4-5", TODAY).price
    assert (price.tiers[0].cache_write_per_million, price.tiers[0].hour_write_per_million) == (
        3_750_000,
        6_000_000,
    )
    assert (price.per_search, price.searches_max) == (10_000, 0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sonar", True),
        ("Sonar-Pro", True),
        ("compound-beta", True),
        ("groq/compound-mini", True),
        ("openai/gpt-4o:online", True),
        ("gpt-4o-search-preview", True),
        ("alibaba/tongyi-deepresearch-30b", True),
        ("llama-3.1-sonar-small-128k-online", True),
        ("gpt-4o", False),
        ("bytedance-research/ui-tars", False),
        ("nousresearch/hermes-4", False),
        ("sonarqube-helper", False),
        ("compounded", False),
    ],
)
def test_names_tell_who_searches(name, expected):
    assert searches_by_itself(name) is expected


def test_the_book_says_where_it_is_from():
    assert shipped_book().source.startswith("genai-prices ")
    assert json.loads((ROOT / "src/prepaid/models/price_book.json").read_text())["currency"] == "USD"
