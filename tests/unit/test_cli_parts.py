"""The command line's parts: settings with their sources, amounts and durations, errors, and a fast start."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from prepaid import errors
from prepaid.cli.configuring import _amount, _duration, _number
from prepaid.cli.failures import _REMEDIES, report
from prepaid.cli.output import plain, progress, when, write_json
from prepaid.cli.settings_view import effective
from prepaid.config import Settings
from prepaid.errors import InvalidRequestError
from prepaid.money import EUR, USD
from prepaid.records import SessionState, Unit

TOML = """
hold_seconds = 9
[sessions]
pool_size = 3
[upstreams.mine]
base_url = "https://me:secret@example.com/v1?sig=secret"
models = ["m"]
[upstreams.keyed]
base_url = "https://example.com/v1"
api_key = "sk-very-secret"
models = ["m"]
[prices.m]
input_per_million = "1"
output_per_million = "2"
"""


@pytest.fixture
def lines(tmp_path, monkeypatch):
    (tmp_path / "prepaid.toml").write_text(TOML)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREPAID_SWEEP_SECONDS", "2")
    monkeypatch.setenv("PREPAID_SESSIONS__LEASE_SECONDS", "60")
    found = effective(Settings(database="x.db"), {"minimum_balance": "5"}, is_named=True)
    return {line.name: line for line in found}


@pytest.mark.parametrize(
    ("name", "value", "source"),
    [
        ("database", "x.db", "--database"),
        ("hold_seconds", 9, "prepaid.toml"),
        ("sweep_seconds", 2.0, "environment (PREPAID_SWEEP_SECONDS)"),
        ("sessions.pool_size", 3, "prepaid.toml"),
        ("sessions.lease_seconds", 60, "environment (PREPAID_SESSIONS__LEASE_SECONDS)"),
        ("sessions.session_timeout", 86_400.0, "default"),
        ("minimum_balance", "0.000005 USD", "database (prepaid config set)"),
        ("upstreams.mine.models", "m", "prepaid.toml"),
    ],
)
def test_a_setting_is_shown_with_its_source(lines, name, value, source):
    assert (lines[name].value, lines[name].source) == (value, source)


def test_secrets_are_masked(lines):
    shown = json.dumps([(line.name, line.value) for line in lines.values()])
    assert "secret" not in shown.replace("sk-", "")
    assert lines["upstreams.mine.base_url"].value == "https://********@example.com/v1?sig=********"
    assert lines["upstreams.keyed.api_key"].value == "********"


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1.5m", 90), ("12h", 43_200), ("7 d", 604_800)])
def test_durations(text, seconds):
    assert _duration(text) == seconds


@pytest.mark.parametrize("wrong", ["", "h", "-1", "1w", "1 2"])
def test_what_is_no_duration_is_refused(wrong):
    with pytest.raises(InvalidRequestError):
        _duration(wrong)


@pytest.mark.parametrize("wrong", ["", "-1", "1.0", "٣", "1" * 12])
def test_what_is_no_number_is_refused(wrong):
    with pytest.raises(InvalidRequestError):
        _number(wrong)


def test_no_minimum_is_a_minimum_too():
    assert [_amount(text) for text in ("0", "0.00", "0 USD", "1 USD")] == [0, 0, 0, "1 USD"]


def test_config_set_holds_for_every_process(tmp_path, monkeypatch):
    """Spec B11."""
    from typer.testing import CliRunner

    from prepaid.cli.app import app

    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        return CliRunner().invoke(app, arguments)

    assert run("config", "set", "minimum_balance", "2 USD").exit_code == 0
    assert run("session", "create", "ann", "--fund", "1 USD").exit_code == 1
    assert (
        json.loads(run("config", "set", "session_timeout", "1m", "--json").stdout)["session_timeout_ms"]
        == 60_000
    )
    assert run("config", "set", "minimum_balance", "0").exit_code == 0
    assert run("session", "create", "ann", "--fund", "1 USD").exit_code == 0
    assert "known here" in run("config", "set", "currency", "EUR").stderr.lower()
    shown = json.loads(run("config", "show", "--json").stdout)
    assert shown["sessions.session_timeout"] == {"value": 60.0, "source": "database (prepaid config set)"}
    assert "prepaid config set" in run("config", "show").stdout


def test_config_show_refuses_what_serve_would(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from prepaid.cli.app import app

    monkeypatch.chdir(tmp_path)
    upstream = (
        '[upstreams.up]\nbase_url = "http://127.0.0.1:9/v1"\nmodels = ["m"]\nallow_fields = ["Model"]\n'
    )
    (tmp_path / "prepaid.toml").write_text(upstream, "utf-8")
    shown = CliRunner().invoke(app, ("config", "show"))
    assert (shown.exit_code, "take for 'model'" in shown.stderr) == (1, True)


EXAMPLES = {
    errors.AlreadyPooled: ("ses_1",),
    errors.BalanceTooLow: (1, 2),
    errors.LeaseCapReached: ("cap", 5),
    errors.LeaseNotFound: ("lease_1",),
    errors.PoolEmpty: (1,),
    errors.PoolFull: (5,),
    errors.SessionAlreadyClosed: ("ses_1", 5),
    errors.SessionExpired: ("ses_1",),
    errors.SessionNotFound: ("ses_1",),
    errors.SessionPaused: ("ses_1",),
}


@pytest.mark.parametrize("kind", _REMEDIES, ids=lambda kind: kind.__name__)
def test_errors_name_commands_not_methods(kind, capsys):
    report(kind(*EXAMPLES[kind]), EUR, as_json=False)
    told = capsys.readouterr().err
    assert "()" not in told
    assert "base units" not in told
    report(kind(*EXAMPLES[kind]), EUR, as_json=True)
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["code"] == kind.code
    assert error["remedy"] in told


def test_a_shortage_is_told_in_amounts(capsys):
    report(errors.InsufficientFunds(2_000_000, 500_000, 100), USD, as_json=False)
    told = capsys.readouterr().err
    assert "2.00 USD needed, 0.50 USD available (0.0001 USD is held by requests in flight)" in told
    assert "Add at least 1.50 USD" in told


def test_json_of_everything_that_is_shown(capsys):
    write_json(
        [timedelta(seconds=2), datetime(2026, 1, 2, tzinfo=UTC), Unit.BYTE, SessionState.ACTIVE, Path("a")]
    )
    assert json.loads(capsys.readouterr().out) == [2.0, "2026-01-02T00:00:00+00:00", "byte", 0, "a"]
    write_json({"apis": frozenset({"b", "a"})})
    assert json.loads(capsys.readouterr().out) == {"apis": ["a", "b"]}
    with pytest.raises(TypeError):
        write_json(object())


def test_text_of_others_cannot_steer_the_terminal():
    assert plain("a\x1b[31mb\x07\x9bc\r\n\td") == "a[31mbc\n\td"
    assert when(None) == "–"


def test_a_bar_is_only_for_terminals(capsys):
    with progress("work", 3) as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")


def test_help_imports_no_more_than_it_needs():
    code = (
        "import sys; from prepaid.cli.app import app;"
        "print([name for name in ('pydantic_settings', 'pydantic_ai', 'apsw', 'httpx', 'prepaid.sessions.manager')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
