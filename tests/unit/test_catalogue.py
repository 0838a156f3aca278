"""The catalogue: which models there are, what they cost and who answers for them."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from decimal import Decimal

import pytest

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
from prepaid.records import ChatRequest, Finish, Message, Price, PriceTier, Role, TextDelta, Tool, Unit
from providers.fake_openai import Behaviour, FakeOpenAI

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
    tier = PriceTier(0, 150_000, 600_000, 75_000, 150_000)
    assert info.price == Price("USD", Unit.TOKEN, (tier,), per_search=10_000)
    assert info.price.fees_max == 0  # its searches are a tool's, which nobody is given
    assert (info.context_tokens_max, info.output_tokens_max, info.provider) == (128_000, 128_000, "any")
    assert info.apis == {"chat", "tools", "structured_output", "images"}


@pytest.mark.parametrize(
    ("upstream", "price", "tokens"),
    [
        ({}, None, 50_000),
        ({"image_tokens_max": 1_500}, None, 1_500),
        ({"provider": "deepseek", "models": ("deepseek-chat",)}, None, None),
        ({"provider": "deepseek", "models": ("deepseek-chat",), "image_tokens_max": 9}, None, 9),
        ({}, {}, None),
        ({}, {"image_tokens_max": 700}, 700),
        ({"image_tokens_max": 1_500}, {}, 1_500),
        ({"image_tokens_max": 1_500}, {"image_tokens_max": 700}, 700),
        ({"image_tokens_max": 1_500}, {"apis": ["chat"]}, None),
        ({"models": ("text-embedding-3-small",), "image_tokens_max": 9}, None, None),
    ],
)
def test_images_where_somebody_says_what_they_cost_at_most(upstream, price, tokens):
    """The price book's provider, the upstream's settings, or the model's."""
    told = OPENAI | upstream
    name = told["models"][0]
    prices = {} if price is None else {name: {"input_per_million": "1", "output_per_million": "2"} | price}
    info = catalogue(upstreams={"any": told}, prices=prices).info(name)
    assert (info.image_tokens_max if "images" in info.apis else None) == tokens


@pytest.mark.parametrize(
    ("upstream", "formula"),
    [
        ({}, "gpt-4o-mini"),
        ({"models": (), "prefix": "my/"}, "gpt-4o-mini"),
        ({"base_url": "http://127.0.0.1:1/v1"}, ""),
        ({"base_url": "http://127.0.0.1:1/v1", "provider": "openai"}, "gpt-4o-mini"),
    ],
)
def test_the_formula_for_images_is_the_provider_s(upstream, formula):
    """Spec P7, P11: whoever else serves a model of that name may count otherwise."""
    name = "gpt-4o-mini" if upstream.get("models", True) else "my/gpt-4o-mini"
    info = catalogue(upstreams={"any": OPENAI | upstream}, prices={name: TOKENS}).info(name)
    assert info.image_formula == formula


TOKENS = {"input_per_million": "1", "output_per_million": "2"}


@pytest.mark.parametrize(
    ("name", "fees"),
    [
        ("gpt-4o-search-preview", {"per_request": "0.03"}),
        ("gpt-4o-search-preview", {"per_search": "0.03", "searches_max": 4}),
        ("gpt-4o-mini:online", {"per_request": "0"}),
    ],
)
def test_a_model_that_searches_is_sold_with_a_price_for_that(name, fees):
    """Spec P11: neither the book's tokens nor the operator's are all that is billed."""
    served = {"any": OPENAI | {"models": (name,)}}
    for prices in ({}, {name: TOKENS}):
        with pytest.raises(ModelNotPriced, match="has no price") as caught:
            catalogue(upstreams=served, prices=prices).info(name)
        assert "[prices." in caught.value.remedy
        assert name not in [info.name for info in catalogue(upstreams=served, prices=prices).list()]
    assert "per_request or per_search" in caught.value.remedy
    price = catalogue(upstreams=served, prices={name: TOKENS | fees}).info(name).price
    assert price.per_request == Decimal(fees.get("per_request", 0)) * 10**6
    assert (price.per_search, price.searches_max) == ((30_000, 4) if "per_search" in fees else (0, 0))
    assert price.fees_max == price.per_request + price.per_search * price.searches_max


def test_an_alias_does_not_hide_what_a_model_does():
    served = {"any": OPENAI | {"models": (), "prefix": "my-"}}
    with pytest.raises(ModelNotPriced, match="the searches that it makes by itself"):
        catalogue(upstreams=served, prices={"my-sonar": TOKENS}).info("my-sonar")


def test_an_hour_in_the_cache_may_have_a_price_of_its_own():
    prices = {"gpt-4o-mini": TOKENS | {"cache_write_1h_per_million": "3", "per_search": "0.01"}}
    price = catalogue(upstreams={"any": OPENAI}, prices=prices).info("gpt-4o-mini").price
    assert price.tiers[0].hour_write_per_million == 3_000_000
    assert (price.per_search, price.searches_max) == (10_000, 1)


@pytest.mark.parametrize(
    ("asked", "answered", "cost"),
    [
        ("gpt-4o", "gpt-4o", None),
        ("gpt-4o", "gpt-4o-2024-08-06", (2_500_000, 2_500_000)),  # a dated snapshot at the same price
        ("gpt-4o", "gpt-4o-2024-05-13", (2_500_000, 5_000_000)),  # one that is dearer
        ("gpt-4o", "gpt-4o-mini", (2_500_000, 150_000)),
        ("gpt-4o", "my-deployment", None),  # nobody knows its price
        ("gpt-4o", "cheap", (2_500_000, 1_000_000)),
        ("cheap", "dear", (1_000_000, 100_000_000)),
        ("cheap", "behind", (1_000_000, 7_000_000)),
        ("cheap", "dear-2026-01-15", (1_000_000, 100_000_000)),
        ("cheap", "Dear", (1_000_000, 100_000_000)),
        ("cheap", "acme/dear", (1_000_000, 100_000_000)),
        ("cheap", "acme/Cheap-20260115", None),
        ("cheap", "gpt-4o", (1_000_000, 2_500_000)),
        ("discounted", "gpt-4o-mini-2024-07-18", None),
    ],
)
def test_the_model_that_answered_is_compared_by_price(asked, answered, cost):
    """Spec P2: own prices with own ones, the book's with the book's; a discount of one's own is no alarm."""
    served = OPENAI | {
        "models": ("gpt-4o", "gpt-4o-mini", "cheap", "dear"),
        "prefix": "up/",
        "provider": "openai",
    }
    prices = {
        "cheap": {"input_per_million": "1", "output_per_million": "2"},
        "dear": {"input_per_million": "100", "output_per_million": "200"},
        "up/behind": {"input_per_million": "7", "output_per_million": "7"},
    }
    if asked == "discounted":
        asked, prices["gpt-4o-mini"] = (
            "gpt-4o-mini",
            {"input_per_million": "0.01", "output_per_million": "0.01"},
        )
    found = catalogue(upstreams={"openai": served}, prices=prices).compared_prices(asked, "openai", answered)
    assert cost == (found and tuple(price.tiers[0].input_per_million for price in found))


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
        ({"default_model": "gpt-9"}, "argument: default_model names 'gpt-9', which nobody serves"),
        ({"fallbacks": {"offline": ("gpt-9",)}}, "fallbacks.offline"),
        ({"fallbacks": {"gpt-9": ("offline",)}}, "fallbacks.gpt-9"),
        ({"upstreams": {"any": OPENAI | {"fallbacks": ("gpt-9",)}}}, "upstreams.any.fallbacks"),
        ({"prices": {"gpt-9": {"input_per_million": 1, "output_per_million": 1}}}, "prices.gpt-9"),
        ({"upstreams": {"any": OPENAI | {"provider": "opnai"}}}, "'opnai', which is not in the price book"),
    ],
)
def test_names_that_lead_nowhere_are_found_at_start(settings, what):
    with pytest.raises(ConfigError, match=what):
        catalogue(**settings)


def test_names_that_lead_nowhere_are_found_with_their_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prepaid.toml").write_text('currency = "USD"\n[fallbacks]\noffline = ["gpt-9"]\n', "utf-8")
    with pytest.raises(ConfigError, match=r"prepaid.toml line 3: fallbacks.offline names 'gpt-9'"):
        catalogue()
    monkeypatch.setenv("PREPAID_DEFAULT_MODEL", "gpt-8")
    with pytest.raises(ConfigError, match="variable PREPAID_DEFAULT_MODEL: default_model names 'gpt-8'"):
        catalogue()


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
    with pytest.raises(ApiNotSupported, match="A tool of type 'web_search' is not supported"):
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
assert not {"aiohttp", "Crypto"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
