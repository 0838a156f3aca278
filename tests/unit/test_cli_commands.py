"""Every command, in this process: what it prints for programs, what for people, and how it is refused."""

import json
import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from prepaid.cli.app import app


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """An empty directory, and no settings of the machine."""
    for name in [name for name in os.environ if name.startswith("PREPAID_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def run(*arguments, stdin=None):
    return CliRunner().invoke(app, arguments, input=stdin)


def told(*arguments, stdin=None):
    """What it prints for programs: one JSON value, nothing else."""
    result = run(*arguments, "--json", stdin=stdin)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return json.loads(result.stdout)


def read(*arguments, stdin=None):
    """What it prints for people."""
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments):
    """The error, as a program reads it; people get the same message and remedy, without a traceback."""
    result = run(*arguments, "--json")
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    error = json.loads(result.stderr)["error"]
    for_people = run(*arguments)
    assert for_people.exit_code == 1
    assert error["remedy"] in for_people.stderr
    assert "Traceback" not in for_people.stderr
    return error


@pytest.fixture
def ann():
    return told("session", "create", "ann", "--fund", "10 USD", "--name", "work", "--tag", "a", "--tag", "b")


def leaves(command, path=()):
    subcommands = getattr(command, "commands", {})
    for name, each in subcommands.items():
        yield from leaves(each, (*path, name))
    if not subcommands:
        yield path, command


LEAVES = dict(leaves(typer.main.get_command(app)))
WITHOUT_DATABASE = {("demo",), ("verify",), ("migrate",)}
SERVERS = {("serve",), ("node",)}
"""They end only when they are told to."""
ON_CHAIN = {path for path in LEAVES if path[0] == "chain"}
"""tests/chain/test_cli_chain.py runs each of them."""


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_has_json_help_and_a_database(path):
    options = {option for parameter in LEAVES[path].params for option in parameter.opts}
    assert ("--json" in options) is (path not in SERVERS)
    assert ("--database" in options) is (path not in WITHOUT_DATABASE | ON_CHAIN)
    assert LEAVES[path].help
    assert "Usage: " in read(*path, "--help")


def test_every_command_prints_one_json_value(ann):
    """All but demo, which test_demo runs, and servers."""
    session = ann["session_id"]
    statement = told("session", "statement", session)
    Path("s.json").write_text(json.dumps(statement))
    lease = []

    def take():
        lease.append(told("pool", "take", "bob")["lease_id"])
        return {}

    runs = {
        ("session", "create"): lambda: told("session", "create", "bob", "--fund", "1"),
        ("session", "list"): lambda: told("session", "list"),
        ("session", "show"): lambda: told("session", "show", session),
        ("session", "fund"): lambda: told("session", "fund", session, "5 USD"),
        ("session", "pause"): lambda: told("session", "pause", session),
        ("session", "resume"): lambda: told("session", "resume", session),
        ("chat",): lambda: told("chat", session, stdin="count to 3\n"),
        ("session", "usage"): lambda: told("session", "usage", session),
        ("session", "statement"): lambda: statement,
        ("key", "create"): lambda: told("key", "create", "--session", session, "--cap", "1 USD"),
        ("key", "list"): lambda: told("key", "list", "--session", session),
        ("key", "rotate"): lambda: told("key", "rotate", f"pp_{session}.1", "--grace", "60"),
        ("key", "revoke"): lambda: told("key", "revoke", f"pp_{session}.1"),
        ("pool", "add"): lambda: told("pool", "add", session, "--cap", "1 USD"),
        ("pool", "take"): take,
        ("pool", "status"): lambda: told("pool", "status"),
        ("pool", "give-back"): lambda: told("pool", "give-back", lease[0]),
        ("pool", "remove"): lambda: told("pool", "remove", session),
        ("stats",): lambda: told("stats"),
        ("verify",): lambda: told("verify", "s.json"),
        ("check",): lambda: told("check"),
        ("backup",): lambda: told("backup", "saved.db"),
        ("restore",): lambda: told("restore", "saved.db", "--database", "again.db"),
        ("migrate",): lambda: told("migrate", "--from", "again.db", "--to", "moved.db"),
        ("models",): lambda: told("models"),
        ("config", "show"): lambda: told("config", "show"),
        ("config", "set"): lambda: told("config", "set", "pool_size", "7"),
        ("deposit",): lambda: told("deposit", "ann", "3 USD"),
        ("withdraw",): lambda: told("withdraw", "ann", "1 USD"),
        ("cleanup",): lambda: told("cleanup", "--max-age", "0.001"),
        ("session", "close"): lambda: told("session", "close", told("session", "create", "cy")["session_id"]),
    }
    assert {*runs} == {*LEAVES} - {("demo",), *SERVERS, *ON_CHAIN}
    for each in runs.values():
        assert isinstance(each(), dict | list)


def test_a_session_from_its_creation_to_its_refund(ann):
    """Spec B1, B4, B6, C2, C6."""
    session = ann["session_id"]
    assert (ann["available"], ann["name"], ann["tags"]) == (10_000_000, "work", ["a", "b"])
    assert told("session", "fund", session, "2.50 USD")["available"] == 12_500_000
    assert told("session", "pause", session)["state"] == "paused"
    assert refused("session", "pause", session)["code"] == "transition_refused"
    assert told("session", "resume", session)["state"] == "active"
    closed = told("session", "close", session)
    assert (closed["state"], closed["refunded"], closed["available"]) == ("closed", 12_500_000, 0)
    again = refused("session", "close", session)
    assert (again["code"], again["refunded"]) == ("session_already_closed", 12_500_000)


def test_people_read_amounts_and_programs_base_units(ann):
    text = read("session", "show", ann["session_id"])
    assert "10.00 USD" in text
    assert "10000000" not in text
    assert "ann" in read("session", "list")
    assert told("session", "show", ann["session_id"])["available"] == 10_000_000


def test_the_key_is_replaced(ann):
    session = ann["session_id"]
    new = told("key", "rotate", f"pp_{session}.1")["api_key"]
    assert new != ann["api_key"]
    assert "pp_" in read("key", "create", "--session", session)


def test_a_key_makes_funding_safe_to_repeat(ann):
    """Spec D3."""
    for _ in range(2):
        assert told("session", "fund", ann["session_id"], "1 USD", "--key", "k1")["available"] == 11_000_000
    assert (
        refused("session", "fund", ann["session_id"], "2 USD", "--key", "k1")["code"]
        == "idempotency_conflict"
    )


def test_lists_are_filtered_and_paged(ann):
    """Spec C7."""
    others = [told("session", "create", user, "--fund", "1")["session_id"] for user in ("bob", "cy", "cy")]
    assert len(told("session", "list")) == 4
    assert [each["session_id"] for each in told("session", "list", "--user", "cy")] == others[:0:-1]
    assert [each["name"] for each in told("session", "list", "--tag", "a")] == ["work"]
    assert told("session", "list", "--status", "closed") == []
    page = read("session", "list", "--limit", "2")
    assert f"--before {others[1]}" in page
    assert len(told("session", "list", "--limit", "2", "--before", others[1])) == 2
    assert refused("session", "list", "--status", "odd")["code"] == "invalid_request_error"
    assert "No sessions" in read("session", "list", "--user", "nobody")


def test_deposits_open_sessions(ann):
    """Spec A2."""
    assert told("deposit", "ann", "3 USD")["available"] == 3_000_000
    assert "2.00 USD" in read("withdraw", "ann", "1 USD")
    assert refused("withdraw", "ann", "5 USD")["needed"] == 5_000_000
    assert told("session", "create", "ann", "--from-deposit", "--fund", "0.5 USD")["available"] == 500_000
    assert told("session", "create", "ann", "--from-deposit")["available"] == 1_500_000
    assert refused("session", "create", "ann", "--from-deposit")["code"] == "insufficient_funds"
    assert run("session", "create", "ann", "--from-deposit", "--name", "x").exit_code == 2


def test_the_pool(ann):
    """Spec B7, B8."""
    session = ann["session_id"]
    assert "1 of at most 5 sessions shared, 0 on lease" in read("pool", "add", session, "--cap", "0.01 USD")
    assert refused("pool", "add", session)["code"] == "already_pooled"
    text = read("pool", "take", "bob", "--for", "60")
    lease = next(word for word in text.split() if word.startswith("lease_"))
    assert "0.01 USD" in text
    assert refused("pool", "take", "cy")["code"] == "pool_empty"
    spent = read("chat", "--lease", lease, stdin="hello\n/new Second\nwhat did I say\n/switch\n/close\n")
    assert "You said nothing before." in spent
    assert "given back" in spent
    assert refused("pool", "give-back", lease)["code"] == "lease_not_found"
    assert told("pool", "status") == {"pooled": 1, "leased": 0, "capacity": 5}
    assert "bob" in read("session", "usage", session)
    assert read("pool", "remove", session).startswith("0 of at most 5")


def test_statements_are_tables_for_people_and_json_in_files(ann, monkeypatch):
    session = ann["session_id"]
    assert json.loads(read("session", "statement", session))["session_id"] == session
    monkeypatch.setattr("prepaid.cli.reports.is_terminal", lambda: True)
    text = read("session", "statement", session)
    assert "fund" in text
    assert f"prepaid session statement {session} > s.json" in text


@pytest.mark.parametrize(
    ("tamper", "what"),
    [
        (lambda lines: lines[1].update(amount=1), "Line 2 was altered"),
        (lambda lines: lines.pop(1), "Line 2 was removed"),
        (lambda lines: lines.insert(1, lines.pop(2)), "Line 2 was reordered"),
        (lambda lines: lines.append(lines[0]), "Line 5 was added"),
    ],
    ids=["altered", "removed", "reordered", "added"],
)
def test_verify_names_the_line_that_was_tampered_with(ann, tmp_path, tamper, what):
    """Spec D4."""
    for amount in ("1", "2", "3"):
        told("session", "fund", ann["session_id"], amount)
    document = told("session", "statement", ann["session_id"])
    (tmp_path / "s.json").write_text(json.dumps(document))
    assert "✓ Verified: 4 lines" in read("verify", "s.json")
    tamper(document["lines"])
    (tmp_path / "s.json").write_text(json.dumps(document))
    result = run("verify", "s.json", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["problem"].startswith(what)
    assert what in run("verify", "s.json").stdout


def test_verify_of_what_is_no_statement(tmp_path):
    (tmp_path / "s.json").write_bytes(b"\xff{")
    assert run("verify", "s.json").exit_code == 1
    assert run("verify", "nothing.json").exit_code == 2
    assert run("verify", "-", stdin="{}").exit_code == 1


def test_stats_of_all_and_of_one(ann):
    """Spec C8, C9."""
    assert told("stats")["active_sessions"] == 1
    assert "10.00 USD" in read("stats")
    assert told("stats", "--user", "ann")["total_sessions"] == 1
    assert "user id" in read("stats", "--user", "ann")


def test_cleanup_refunds_what_is_idle(ann):
    """Spec B9."""
    assert "0 sessions closed" in read("cleanup")
    done = told("cleanup", "--max-age", "0.001")
    assert (done["closed"], done["refunded"]) == (1, 10_000_000)


def test_a_session_may_be_given_an_end():
    made = told("session", "create", "ann", "--fund", "1", "--expires-in", "3600")
    assert made["expires_at"] > made["created_at"]


def test_books_that_do_not_add_up_are_told_by_session_and_guarantee(ann, tmp_path):
    import apsw

    with apsw.Connection(str(tmp_path / "prepaid.db")) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("UPDATE account SET available = available + 1")
    result = run("check", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["is_clean"] is False
    assert (ann["session_id"], 1) in {(each["session_id"], each["guarantee"]) for each in report["findings"]}
    text = run("check").stdout
    assert f"{ann['session_id']}: " in text
    assert "(guarantee 1)" in text
    saved = run("backup", "saved.db")
    assert saved.exit_code == 1
    assert "In both" in saved.stdout
    assert refused("migrate", "--to", "moved.db")["code"] == "store_corrupted"


def test_a_database_moves_and_what_was_left_says_where_to(ann):
    read("backup", "saved.db")
    assert refused("backup", "saved.db")["code"] == "store_not_empty"
    assert refused("backup", "other.db", "--database", "nowhere.db")["code"] == "not_found_error"
    assert refused("restore", "saved.db")["code"] == "store_not_empty"
    assert "restored and compared" in read("restore", "saved.db", "--database", "again.db")
    assert refused("migrate", "--from", "prepaid.db", "--abandon")["code"] == "conflict_error"
    assert run("migrate", "--to", "prepaid.db").exit_code == 2
    assert run("migrate").exit_code == 2
    assert "takes no changes any more" in read("migrate", "--to", "sqlite:///moved.db")
    assert told("migrate", "--to", "sqlite:///moved.db")["moved"] is False
    refusal = refused("session", "fund", ann["session_id"], "5 USD")
    assert (refusal["code"], refusal["retryable"]) == ("store_moved", False)
    assert "moved.db" in refusal["message"]
    assert told("session", "show", ann["session_id"], "--database", "moved.db")["available"] == 10_000_000


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        ("0", "amount_not_positive"),
        ("-1", "amount_not_positive"),
        ("nan", "amount_not_finite"),
        ("1e40", "amount_too_large"),
        ("0.0000001", "amount_too_precise"),
        ("1.0.0", "amount_not_exact"),
        ("1 EUR", "currency_mismatch"),
    ],
)
def test_amounts_that_are_none_are_refused(amount, code):
    assert refused("session", "create", "ann", "--fund", amount)["code"] == code


def test_a_misspelt_database_is_not_made(tmp_path):
    assert refused("session", "list", "--database", "nowhere.db")["code"] == "not_found_error"
    assert list(tmp_path.iterdir()) == []


def test_models_have_prices():
    assert told("models")[0]["price"]["tiers"][0]["output_per_million"] == 2_000_000
    assert "2.00 USD" in read("models")


def test_models_with_tiers_have_a_row_for_each(tmp_path):
    (tmp_path / "prepaid.toml").write_text(
        '[upstreams.google]\nbase_url = "https://generativelanguage.googleapis.com/v1beta/openai"\n'
        'models = ["gemini-2.5-pro"]\n'
    )
    assert "above 200,000" in read("models")


def test_the_version():
    assert read("--version").startswith("prepaid ")
