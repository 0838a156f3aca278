"""Settings: where they come from, in which order, and how wrong ones are refused."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepaid.config import Settings
from prepaid.errors import ConfigError

UPSTREAM = '[upstreams.openai]\nbase_url = "https://api.openai.com/v1/"\nmodels = ["gpt-4o-mini"]\n'


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path, monkeypatch):
    for name in ("PREPAID_CONFIG", "PREPAID_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "prepaid.toml") -> None:
    Path(name).write_text(text, encoding="utf-8")


def refusal(**arguments) -> str:
    with pytest.raises(ConfigError) as caught:
        Settings(**arguments)
    return str(caught.value)


def test_nothing_needs_to_be_configured():
    """Spec C14: defaults, the offline model among them."""
    settings = Settings()
    assert (settings.database, settings.default_model, settings.currency) == ("prepaid.db", "offline", "USD")
    assert settings.sessions.cleanup_interval == timedelta(minutes=5)
    assert settings.sessions.max_active_sessions is None


def test_arguments_win_over_environment_over_file_over_defaults(monkeypatch):
    write('database = "file.db"\ncontext_messages = 7\n[sessions]\npool_size = 2\nlease_seconds = 60\n')
    monkeypatch.setenv("PREPAID_DATABASE", "env.db")
    monkeypatch.setenv("PREPAID_SESSIONS__POOL_SIZE", "3")
    settings = Settings(sessions={"max_active_sessions": 4})
    assert settings.database == "env.db"
    assert settings.context_messages == 7
    sessions = settings.sessions
    assert (sessions.max_active_sessions, sessions.pool_size, sessions.lease_seconds) == (4, 3, 60)
    assert Settings(database="argument.db").database == "argument.db"


def test_another_file_is_named_by_the_environment(monkeypatch):
    write('database = "other.db"', "other.toml")
    monkeypatch.setenv("PREPAID_CONFIG", "other.toml")
    assert Settings().database == "other.db"


def test_settings_are_frozen():
    with pytest.raises(Exception, match="frozen"):
        Settings().database = "other.db"


@pytest.mark.parametrize("value", [timedelta(seconds=90), 90, 90.0, "90", "PT90S"])
def test_durations_are_timedelta_or_seconds(value):
    """Spec C1."""
    assert Settings(sessions={"session_timeout": value}).sessions.session_timeout == timedelta(seconds=90)


@pytest.mark.parametrize(
    ("toml", "parts"),
    [
        (
            "database = 'a'\n\n[sessions]\npool_size = 0\n",
            ["prepaid.toml line 4", "pool_size is 0", "equal to 1"],
        ),
        ("[sessions]\npool_sise = 1\n", ["line 2", "sessions.pool_sise", "Did you mean pool_size?"]),
        ("databse = 'x'\n", ["line 1", "Did you mean database?"]),
        ("a = [\n", ["prepaid.toml", "end of document", "toml.io"]),
        ("a = 1\nb = = 2\n", ["line 2"]),
        ("currency = 'DOGE'\n", ["line 1", "'DOGE'", "USD"]),
        ("database = 'mysql://x/y'\n", ["line 1", "mysql", "sqlite:///"]),
        ("database = 'sqlite:///'\n", ["names no file"]),
        ("[sessions]\nsession_timeout = -5\n", ["line 2", "greater than 0"]),
        ("minimum_balance = 0.5\n", ["line 1", "0.5", "float"]),
        ("[upstreams.a]\nmodels = ['m']\n", ["line 1", "base_url is missing", "Add base_url."]),
        ("[upstreams.a]\nbase_url = 'ftp://x'\nmodels = ['m']\n", ["line 2", "ftp://x", "http"]),
        ("[upstreams.a]\nbase_url = 'http://'\nmodels = ['m']\n", ["line 2", "names no host"]),
        ("[upstreams.a]\nbase_url = 'http://[::x'\nmodels = ['m']\n", ["line 2", "names no host"]),
        (
            "[upstreams.a]\nbase_url = 'http://x:99999'\nmodels = ['m']\n",
            ["line 2", "names no host and port"],
        ),
        (
            "[upstreams.a]\nbase_url = 'http://x'\nmodels = ['m']\napi_key = 'sk\u2003'\n",
            ["line 1", "header"],
        ),
        ("[upstreams.a]\nbase_url = 'http://x'\n", ["line 1", "neither models nor a prefix"]),
        (
            "[upstreams.a]\nbase_url = 'http://x'\nmodels = ['m']\napi_key_env = 'NO_SUCH_KEY'\n",
            ["line 1", "NO_SUCH_KEY", "not set"],
        ),
        (
            '[prices."gpt-4o"]\ninput_per_million = 0.15\noutput_per_million = "1"\n',
            ["line 2", "is 0.15", "float", "in quotes"],
        ),
        (
            '[prices."gpt-4o"]\ninput_per_million = "0.15"\n\noutput_per_million = "0.0000001"\n',
            ["line 4", "6 decimals of USD"],
        ),
        ('[prices.m]\ninput_per_million = "cheap"\noutput_per_million = "1"\n', ["line 2", "'cheap'"]),
        ('[prices.m]\ninput_per_million = "-1"\noutput_per_million = "1"\n', ["line 2", "equal to 0"]),
        ('[prices.m]\ninput_per_million = "NaN"\noutput_per_million = "1"\n', ["line 2", "finite"]),
        ('[prices.m]\ninput_per_million = "1e30"\noutput_per_million = "1"\n', ["line 2", "largest amount"]),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(toml, parts):
    write(toml)
    message = refusal()
    assert [part for part in parts if part not in message] == [], message


def test_a_missing_file_that_was_named_is_refused(monkeypatch):
    monkeypatch.setenv("PREPAID_CONFIG", "missing.toml")
    assert "missing.toml" in refusal()


def test_a_file_that_is_not_text_is_refused():
    Path("prepaid.toml").write_bytes(b"\xff\xfe")
    assert "UTF-8" in refusal()


def test_a_wrong_variable_is_named(monkeypatch):
    monkeypatch.setenv("PREPAID_SESSIONS__POOL_SIZE", "none")
    assert "environment variable PREPAID_SESSIONS__POOL_SIZE: sessions.pool_size is 'none'" in refusal()
    monkeypatch.setenv("PREPAID_SESSIONS__POOL_SIZE", "1")
    monkeypatch.setenv("PREPAID_SESSIONS", "{")
    assert "JSON" in refusal()


def test_a_wrong_argument_is_named():
    assert refusal(hold_seconds=0).startswith("argument: hold_seconds is 0")


def test_many_mistakes_are_listed_together():
    message = refusal(**{f"unknown_{number}": 1 for number in range(8)})
    assert message.count("is not a setting") == 5
    assert "and 3 more" in message


def test_api_keys_are_never_shown(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sk-from-environment")
    write(UPSTREAM + 'api_key_env = "SOME_KEY"\n')
    upstream = Settings().upstreams["openai"]
    assert upstream.secret() == "sk-from-environment"
    assert upstream.base_url == "https://api.openai.com/v1"
    write(UPSTREAM + 'api_key = "sk-in-file"\n')
    settings = Settings()
    assert settings.upstreams["openai"].secret() == "sk-in-file"
    assert "sk-in-file" not in repr(settings) + str(settings.model_dump())
    for wrong in (
        'apikey = "sk-typo"',
        'api_key = ["sk-list"]',
        'api_key = "sk-two"\napi_key_env = "SOME_KEY"',
    ):
        write(UPSTREAM + wrong)
        assert "sk-" not in refusal()
    write('[upstreams.a]\nbase_url = "user:pass@host"\nmodels = ["m"]\n')
    assert "pass" not in refusal()


def test_models_are_routed_to_upstreams():
    write(
        UPSTREAM
        + '[upstreams.router]\nbase_url = "http://r/v1"\nprefix = "r/"\nfallbacks = ["gpt-4o-mini", "r/x"]\n'
        + '[upstreams.deep]\nbase_url = "http://d/v1"\nprefix = "r/deep/"\n'
        + '[fallbacks]\n"gpt-4o-mini" = ["r/x", "offline"]\n'
    )
    settings = Settings()
    assert settings.upstream_of("gpt-4o-mini") == "openai"
    assert settings.upstream_of("r/anything") == "router"
    assert settings.upstream_of("r/deep/model") == "deep"
    assert settings.upstream_of("r/") is None
    assert settings.upstream_of("offline") is None
    assert settings.upstreams["router"].upstream_name("r/anything") == "anything"
    assert settings.fallbacks_of("gpt-4o-mini") == ("r/x", "offline")
    assert settings.fallbacks_of("r/x") == ("gpt-4o-mini",)
    assert settings.fallbacks_of("offline") == ()


def test_the_database_is_a_path_or_url():
    assert Settings(database="sqlite:///a.db").database_file == Path("a.db")
    assert Settings(database="sqlite:////var/a.db").database_file == Path("/var/a.db")
    assert Settings(database="b.db").database_file == Path("b.db")
    assert Settings(database="postgresql://ann@db.example/prepaid").database_file is None
    assert Settings(database="postgres:///prepaid").database_file is None


@given(st.integers(0, 10**12))
def test_prices_survive_as_text(micros):
    text = f"{micros // 10**6}.{micros % 10**6:06d}"
    price = Settings(prices={"m": {"input_per_million": text, "output_per_million": "0"}}).prices["m"]
    assert int(price.input_per_million * 10**6) == micros


def test_prepaid_itself_imports_no_settings():
    script = "import prepaid, prepaid.models, sys; print('pydantic_settings' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", ["failed_keys_per_minute", "requests_per_key_max"])
def test_a_wrong_number_is_shown_whatever_its_name(name):
    with pytest.raises(ConfigError, match=f"{name} is -1: "):
        Settings(gateway={name: -1})


def test_searches_without_a_price_are_refused():
    price = {"input_per_million": "1", "output_per_million": "2", "searches_max": 3}
    with pytest.raises(ConfigError, match="searches_max without per_search"):
        Settings(prices={"m": price})
    assert Settings(prices={"m": price | {"per_search": "0"}}).prices["m"].searches_max == 3
