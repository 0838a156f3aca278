"""The catalogue: which models there are, what they cost, and that our price book is the provider's."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from genai_prices.data import providers
from genai_prices.types import StartDateConstraint
from genai_prices.types import Usage as GenaiUsage
from hypothesis import given
from hypothesis import strategies as st

from prepaid.config import Settings
from prepaid.errors import (
    ApiNotSupported,
    ConfigError,
    CurrencyMismatch,
    ModelNotPriced,
    ModelNotSupported,
)
from prepaid.models.apis import check_api, check_apis
from prepaid.models.catalogue import CONTEXT_TOKENS_DEFAULT, Catalogue, model_id
from prepaid.models.offline import OfflineModel
from prepaid.models.price_book import PriceBook, shipped_book
from prepaid.pricing import cost
from prepaid.records import ChatRequest, Finish, Message, Price, PriceTier, Role, TextDelta, Tool, Unit, Usage
from providers.fake_openai import Behaviour, FakeOpenAI

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 11, 21)
HELLO = (Message(Role.USER, "Hello"),)
OPENAI = {
    "base_url": "https://api.openai.com/v1",
    "models": ("gpt-4o-mini", "text-embedding-3-small", "unheard-of"),
}


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path, monkeypatch):
    monkeypatch.delenv("PREPAID_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


def catalogue(models=(), **settings) -> Catalogue:
    return Catalogue(Settings(**settings), models, today=lambda: TODAY)


def test_without_configuration_there_is_the_offline_model():
    """Spec C14."""
    empty = catalogue()
    assert [info.name for info in empty.list()] == ["offline"]
    assert empty.resolve("offline").info is empty.info("offline")
    assert catalogue(currency="EUR").info("offline").price.asset == "EUR"


def test_the_offline_model_can_be_priced_and_replaced():
    price = {"offline": {"input_per_million": "1", "output_per_million": "2", "unit": "byte"}}
    info = catalogue(prices=price).info("offline")
    assert info.price == Price.flat("USD", Unit.BYTE, 1_000_000, 2_000_000)
    scripted = OfflineModel(script=["x"])
    other = OfflineModel(name="other")
    replaced = catalogue([scripted, other], default_model="other")
    assert replaced.resolve("offline") is scripted
    assert replaced.resolve("other") is other
    with pytest.raises(CurrencyMismatch, match="priced in EUR"):
        catalogue([OfflineModel("EUR")])


def test_prices_come_from_the_book():
    info = catalogue(upstreams={"any": OPENAI}).info("gpt-4o-mini")
    assert info.price == Price("USD", Unit.TOKEN, (PriceTier(0, 150_000, 600_000, 75_000, 150_000),))
    assert (info.context_tokens_max, info.output_tokens_max, info.provider) == (128_000, 128_000, "any")
    assert info.apis == {"chat", "tools", "structured_output"}


def test_prices_in_the_settings_come_first():
    own = {
        "gpt-4o-mini": {
            "input_per_million": "0.2",
            "output_per_million": "1",
            "cache_read_per_million": "0.05",
            "per_request": "0.000003",
            "output_tokens_max": 4096,
            "apis": ["chat", "images"],
        }
    }
    info = catalogue(upstreams={"any": OPENAI}, prices=own).info("gpt-4o-mini")
    assert info.price == Price("USD", Unit.TOKEN, (PriceTier(0, 200_000, 1_000_000, 50_000, 200_000),), 3)
    assert (info.context_tokens_max, info.output_tokens_max) == (128_000, 4096)
    assert info.apis == {"chat", "images"}


def test_what_has_no_price_is_not_sold():
    """Spec A11."""
    models = catalogue(upstreams={"any": OPENAI})
    with pytest.raises(ModelNotPriced, match="unheard-of"):
        models.resolve("unheard-of")
    assert "unheard-of" not in [info.name for info in models.list()]
    local = {"local": {"base_url": "http://127.0.0.1:9/v1", "models": ("gpt-4o-mini",)}}
    with pytest.raises(ModelNotPriced):
        catalogue(upstreams=local).info("gpt-4o-mini")
    named = catalogue(upstreams={"openai": local["local"]})
    assert named.info("gpt-4o-mini").price.tiers[0].input_per_million == 150_000
    chosen = catalogue(upstreams={"local": local["local"] | {"provider": "openai"}})
    assert chosen.info("gpt-4o-mini").price == named.info("gpt-4o-mini").price


def test_what_nobody_serves_is_not_supported():
    """Spec A11."""
    models = catalogue(upstreams={"any": OPENAI})
    for unknown in ("gpt-5", "", "0x" + "0" * 64):
        for ask in (models.resolve, models.info):
            with pytest.raises(ModelNotSupported, match="offline"):
                ask(unknown)


def test_book_prices_are_dollars():
    with pytest.raises(CurrencyMismatch, match="USD; the accounts are in EUR"):
        catalogue(upstreams={"any": OPENAI}, currency="EUR").resolve("gpt-4o-mini")
    own = {"gpt-4o-mini": {"input_per_million": "0.2", "output_per_million": "1"}}
    euros = catalogue(upstreams={"any": OPENAI}, currency="EUR", prices=own)
    assert euros.info("gpt-4o-mini").price.asset == "EUR"
    assert [info.name for info in euros.list()] == ["gpt-4o-mini", "offline"]


def test_a_prefix_serves_what_is_behind_it():
    router = {"base_url": "https://openrouter.ai/api/v1", "prefix": "or/"}
    models = catalogue(upstreams={"router": router})
    info = models.info("or/openai/gpt-4o-mini")
    assert (info.name, info.provider) == ("or/openai/gpt-4o-mini", "router")
    assert info.price.tiers[0].input_per_million == 150_000


def test_models_that_only_read_do_not_chat():
    info = catalogue(upstreams={"any": OPENAI}).info("text-embedding-3-small")
    assert info.price.tiers[0].output_per_million == 0
    check_api(info, "embeddings")
    with pytest.raises(ApiNotSupported, match="'chat'; it supports embeddings"):
        check_apis(info, ChatRequest(info.name, HELLO))


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"default_model": "gpt-9"}, "default_model names the model 'gpt-9'"),
        ({"fallbacks": {"offline": ("gpt-9",)}}, 'fallbacks."offline"'),
        ({"fallbacks": {"gpt-9": ("offline",)}}, 'fallbacks."gpt-9"'),
        ({"upstreams": {"any": OPENAI | {"fallbacks": ("gpt-9",)}}}, "upstreams.any.fallbacks"),
        ({"prices": {"gpt-9": {"input_per_million": 1, "output_per_million": 1}}}, 'prices."gpt-9"'),
        ({"upstreams": {"any": OPENAI | {"provider": "opnai"}}}, "'opnai', which is not in the price book"),
    ],
)
def test_names_that_lead_nowhere_are_found_at_start(settings, what):
    with pytest.raises(ConfigError, match=what):
        catalogue(**settings)


def test_models_have_the_ids_that_the_contracts_know():
    """Spec A11: the id is keccak256 of the name."""
    assert model_id("") == "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    models = catalogue(upstreams={"any": OPENAI}, fallbacks={"gpt-4o-mini": ("offline",)})
    assert models.resolve(model_id("offline")) is models.resolve("offline")
    assert models.info(model_id("gpt-4o-mini").upper().replace("X", "x")).name == "gpt-4o-mini"
    assert models.fallbacks(model_id("gpt-4o-mini")) == ("offline",)


def test_prices_change_on_their_day():
    days = [date(2025, 6, 9), date(2025, 6, 10)]
    models = Catalogue(Settings(upstreams={"any": OPENAI | {"models": ["o3"]}}), today=lambda: days[0])
    before = models.resolve("o3")
    assert models.resolve("o3") is before
    days.pop(0)
    after = models.resolve("o3")
    assert before.info.price.tiers[0].input_per_million == 10_000_000
    assert after.info.price.tiers[0].input_per_million == 2_000_000


async def test_upstream_models_are_asked_retried_and_closed():
    """Spec C12."""
    with FakeOpenAI() as fake:
        upstream = {"base_url": fake.base_url, "models": ("gpt-4o-mini",), "retries_max": 1}
        models = catalogue(upstreams={"openai": upstream})
        fake.next(Behaviour(status=503, headers={"Retry-After": "0"}))
        model = models.resolve("gpt-4o-mini")
        assert models.resolve("gpt-4o-mini") is model
        events = [event async for event in model.stream(ChatRequest("gpt-4o-mini", HELLO))]
        assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "Hello from the fake provider."
        assert isinstance(events[-1], Finish)
        assert fake.served == 2
        await models.aclose()
        await models.aclose()
        with pytest.raises(RuntimeError, match="closed"):
            await anext(model.stream(ChatRequest("gpt-4o-mini", HELLO)))


@pytest.mark.parametrize(
    ("extra", "refused"),
    [
        ({}, None),
        ({"seed": 1, "n": 1, "service_tier": "flex", "modalities": ["text"]}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"tools": [{"type": "function", "function": {}}], "service_tier": "auto"}, "tools"),
        ({"functions": [{}]}, "tools"),
        ({"response_format": {"type": "json_schema"}}, "structured_output"),
        ({"n": 3}, "'n'"),
        ({"n": "1"}, "'n'"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"service_tier": {}}, "service_tier"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"web_search_options": {"user_location": None}}, "web_search_options"),
        ({"prediction": {"type": "content"}}, "prediction"),
    ],
)
def test_what_the_price_does_not_cover_is_refused(extra, refused):
    """Spec A11 and D1: nothing is bought that the hold would not pay for."""
    prices = {"m": {"input_per_million": "1", "output_per_million": "1", "apis": ["chat"]}}
    upstreams = {"local": {"base_url": "http://127.0.0.1:9/v1", "models": ["m"]}}
    info = catalogue(prices=prices, upstreams=upstreams).info("m")
    assert info.context_tokens_max == CONTEXT_TOKENS_DEFAULT
    request = ChatRequest("m", HELLO, extra=extra)
    if refused is None:
        check_apis(info, request)
        return
    with pytest.raises(ApiNotSupported, match=refused):
        check_apis(info, request)


def test_tools_need_a_model_that_has_them():
    with_tools = catalogue().info("offline")
    check_apis(with_tools, ChatRequest("offline", HELLO, tools=(Tool("t", "", {}),)))
    builtin = ChatRequest("offline", HELLO, extra={"tools": [{"type": "web_search"}]})
    with pytest.raises(ApiNotSupported, match="that the provider runs"):
        check_apis(with_tools, builtin)


def test_the_book_is_read_only_when_it_is_needed():
    script = """
import sys
from prepaid.models.catalogue import Catalogue
assert "pydantic_settings" not in sys.modules
from prepaid.config import Settings
from prepaid.models.price_book import shipped_book
catalogue = Catalogue(Settings())
catalogue.resolve("offline"), catalogue.list()
assert shipped_book.cache_info().currsize == 0
assert not {"httpx", "httpx_sse", "tenacity", "Crypto"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


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
