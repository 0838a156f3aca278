"""``prepaid chat`` through a pipe: who pays, what its commands do, and how it ends."""

import json
import os

import pytest
from typer.testing import CliRunner

from prepaid.cli.app import app


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("PREPAID_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def run(*arguments, stdin=None):
    return CliRunner().invoke(app, arguments, input=stdin)


def chat(*arguments, stdin=""):
    result = run("chat", "--user", "ann", *arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


def turns(*arguments, stdin=""):
    result = run("chat", "--user", "ann", "--json", *arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_first_money_opens_a_session_and_more_goes_into_it():
    assert turns("--fund", "1 USD")["available"] == 1_000_000
    told = turns("--fund", "1 USD", stdin="count to 3\n")
    assert told["available"] == 2_000_000 - told["turns"][0]["cost"]
    assert told["turns"][0]["answer"] == "1 2 3"
    assert len(json.loads(run("session", "list", "--json").stdout)) == 1


def test_without_money_it_says_how_to_add_some():
    run("session", "create", "bob", "--fund", "1")
    result = run("chat", "--user", "ann", stdin="hello\n")
    assert result.exit_code == 1
    assert "ann has no session with money in it." in result.stderr
    assert 'prepaid chat --fund "1 USD"' in result.stderr


def test_where_nothing_is_yet_it_says_so_and_makes_nothing(tmp_path):
    result = run("chat", "--user", "ann", stdin="hello\n")
    assert result.exit_code == 1
    assert 'prepaid chat --fund "1 USD"' in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_failed_stands_among_the_turns():
    result = run("chat", "--user", "ann", "--fund", "1", "--json", stdin="/switch 5\ncount to 2\n")
    assert result.exit_code == 1
    assert json.loads(result.stderr)["error"]["code"] == "chat_not_found"
    failed, answered = json.loads(result.stdout)["turns"]
    assert (failed["question"], failed["error"]) == ("/switch 5", "chat_not_found")
    assert answered["answer"] == "1 2"


def test_somebody_elses_session_does_not_exist():
    """Spec A5."""
    made = json.loads(run("session", "create", "bob", "--fund", "1", "--json").stdout)
    result = run("chat", made["session_id"], "--user", "ann", stdin="hello\n")
    assert result.exit_code == 1
    assert "Session not found" in result.stderr


def test_a_system_prompt_or_model_opens_a_chat_of_its_own():
    chat("--fund", "1 USD", stdin="hello\n")
    told = chat("--system", "You are a pirate.", "--model", "offline", stdin="what did I say\n/switch\n")
    assert "“You are a pirate.”" in told
    assert "You said nothing before." in told
    assert "→ 2  Chat 2" in told
    unknown = run("chat", "--user", "ann", "--model", "nonsense", stdin="hello\n")
    assert unknown.exit_code == 1
    assert "not configured" in unknown.stderr


def test_commands_that_are_none_and_chats_that_are_none_fail_but_do_not_end_it():
    result = run("chat", "--user", "ann", "--fund", "1", stdin="/nope\n/switch 7\n/switch x\ncount to 2\n")
    assert result.exit_code == 1
    assert result.stderr.count("✗") == 3
    assert "1 2\n" in result.stdout


def test_history_balance_and_help():
    told = chat(
        "--fund",
        "1 USD",
        stdin="/history\ncount to 2\n/history 1\n/history\n/balance\n\n/help\n/quit\nhello\n",
    )
    assert "Nothing was said yet." in told
    assert told.count("assistant") == 2
    assert "0.999993 USD left" in told
    assert "/switch [NUMBER]" in told
    assert "You said" not in told


def test_close_refunds_and_ends_it():
    told = turns("--fund", "1 USD", stdin="count to 2\n/close\nhello\n")
    assert len(told["turns"]) == 1
    assert told["refunded"] == 1_000_000 - told["turns"][0]["cost"]
    assert told["available"] == 0


def test_what_cannot_be_paid_is_refused_with_its_numbers():
    result = run("chat", "--user", "ann", "--fund", "0.000005 USD", stdin="one two three four five six\n")
    assert result.exit_code == 1
    assert "Insufficient balance: 0.000008 USD needed, 0.000005 USD available." in result.stderr


def test_an_answer_that_was_cut_says_so():
    """Spec D1."""
    told = chat("--fund", "0.000013 USD", stdin="count to 500\n")
    assert "1 2 3 4 5\n" in told
    assert "cut to what the balance could pay" in told
    assert "0.00 USD left" in told


def test_a_paused_session_names_the_command_that_resumes_it():
    made = json.loads(run("session", "create", "ann", "--fund", "1", "--json").stdout)
    run("session", "pause", made["session_id"])
    result = run("chat", made["session_id"], stdin="hello\n")
    assert f"prepaid session resume {made['session_id']}" in result.stderr


def test_bytes_that_are_no_text_are_refused():
    result = CliRunner().invoke(
        app, ["chat", "--user", "ann", "--fund", "1"], input=b"\xff\xfe\ncount to 1\n"
    )
    assert result.exit_code == 1
    assert "surrogate" in result.stderr
    assert "1\n" in result.stdout


def test_control_characters_never_reach_the_terminal():
    told = chat("--fund", "1 USD", stdin="a\x1b[2Jb\n")
    assert "\x1b" not in told
    assert "a[2Jb" in told


def test_a_lease_excludes_a_session_and_money():
    run("session", "create", "ann", "--fund", "1")
    assert run("chat", "--lease", "lease_x", "--fund", "1").exit_code == 1
    assert run("chat", "--lease", "lease_x").exit_code == 1
