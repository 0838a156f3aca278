"""The command line in processes of its own: the main path of a user, and what goes wrong on it."""

import json
import signal
import subprocess
import sys

import pytest

from cli_running import SLOW, Terminal, console_script, environment, prepaid, result_of


@pytest.fixture(scope="module")
def talked(tmp_path_factory):
    """A session that was created, shown and talked in, each in a process of its own."""
    folder = tmp_path_factory.mktemp("cli")
    made = result_of(prepaid(folder, "session", "create", "ann", "--fund", "10 USD", "--json"))
    told = prepaid(
        folder, "chat", made["session_id"], stdin="count to 5\n/new Other\nhello\n/switch 1\n/history\n"
    )
    return folder, made, told


def test_create_prints_id_key_and_base_units(talked):
    _, made, _ = talked
    assert made["available"] == 10_000_000
    assert made["api_key"].startswith("pp_")
    assert made["session_id"].startswith("ses_")


def test_chat_through_a_pipe_answers_each_line_and_shows_the_balance(talked):
    """Spec C4, C5."""
    _, _, told = talked
    assert told.returncode == 0, told.stderr
    assert "1 2 3 4 5\n" in told.stdout
    assert "9.999987 USD left" in told.stdout
    assert "You said: “hello”." in told.stdout
    assert "In Chat 1: 2 messages so far." in told.stdout
    assert "hello" not in told.stdout.split("In Chat 1")[1]


def test_show_knows_what_was_spent(talked):
    folder, made, _ = talked
    shown = result_of(prepaid(folder, "session", "show", made["session_id"], "--json"))
    assert shown["funded"] == shown["available"] + shown["spent"]
    assert [chat["message_count"] for chat in shown["chats"]] == [2, 2]
    assert sum(chat["spent"] for chat in shown["chats"]) == shown["spent"] > 0


def test_a_statement_in_a_file_is_verified_by_itself(talked):
    """Spec D4: without the database, in an empty directory."""
    folder, made, _ = talked
    statement = prepaid(folder, "session", "statement", made["session_id"]).stdout
    empty = folder / "empty"
    empty.mkdir()
    assert result_of(prepaid(empty, "verify", "-", "--json", stdin=statement))["verified"] is True
    assert list(empty.iterdir()) == []


def test_a_tampered_statement_does_not_verify(talked, tmp_path):
    """Spec D4; test_cli_commands has the other ways to tamper."""
    folder, made, _ = talked
    document = json.loads(prepaid(folder, "session", "statement", made["session_id"]).stdout)
    document["lines"][1]["amount"] += 1
    (tmp_path / "s.json").write_text(json.dumps(document))
    process = prepaid(tmp_path, "verify", "s.json")
    assert process.returncode == 1
    assert "Line 2 was altered" in process.stdout


def test_two_processes_share_a_lease(talked):
    """Spec B8: taken by one process, spent by another, given back by a third."""
    folder, made, _ = talked
    session_id = made["session_id"]
    result_of(prepaid(folder, "pool", "add", session_id, "--cap", "0.001 USD", "--json"))
    lease = result_of(prepaid(folder, "pool", "take", "bob", "--json"))
    told = result_of(
        prepaid(folder, "chat", "--lease", lease["lease_id"], "--json", stdin="count to 9\n/history\n")
    )
    assert told["available"] == 1000 - told["turns"][0]["cost"]
    back = result_of(prepaid(folder, "pool", "give-back", lease["lease_id"], "--json"))
    assert back["spent"] == told["turns"][0]["cost"] > 0


def test_ctrl_c_stops_the_answer_pays_for_what_came_and_stays(tmp_path):
    """Spec C5: under a terminal, with a model that takes its time."""
    terminal = Terminal(tmp_path, "chat", "--user", "ann", "--fund", "1 USD", program=("-c", SLOW))
    terminal.wait_for("Chat 1 ›")
    terminal.type("count to 500\n")
    terminal.wait_for(" 9 10 11")
    terminal.type("\x03")
    assert terminal.wait_for("for what came").split("stopped: ")[1].endswith("USD ")
    terminal.type("What did I say?\n")
    terminal.wait_for("Before that you said: “count to 500”.")
    terminal.wait_for("USD left")
    terminal.type("/nonsense\n")
    terminal.wait_for("/help lists them.")
    terminal.type("/close\n")
    rest, code = terminal.finish()
    assert code == 0
    assert "refunded" in rest
    assert "Traceback" not in rest
    (session,) = result_of(prepaid(tmp_path, "session", "list", "--json"))
    assert session["state"] == "closed"
    assert 24 < session["spent"] < 500
    assert result_of(prepaid(tmp_path, "check", "--json"))["is_clean"] is True


def test_errors_name_the_remedy_and_show_no_traceback(tmp_path):
    nothing = prepaid(tmp_path, "session", "list")
    assert nothing.returncode == 1
    assert "There is no database" in nothing.stderr
    assert "prepaid session create USER" in nothing.stderr
    assert nothing.stdout == ""
    wrong = prepaid(tmp_path, "session", "create", "ann", "--fund", "10 EUR", "--json")
    assert wrong.returncode == 1
    assert json.loads(wrong.stderr)["error"]["code"] == "currency_mismatch"
    assert wrong.stdout == ""
    assert prepaid(tmp_path, "nonsense").returncode == 2
    usage = prepaid(tmp_path, "session", "create", "--json")
    assert usage.returncode == 2
    assert json.loads(usage.stderr)["error"]["code"] == "usage"
    assert usage.stdout == ""


def test_a_damaged_database_is_said_to_be_damaged(tmp_path):
    (tmp_path / "test.db").write_bytes(b"this is no database at all" * 100)
    process = prepaid(tmp_path, "stats", "--json")
    assert process.returncode == 1
    assert json.loads(process.stderr)["error"]["code"] == "store_corrupted"


def test_whoever_stops_reading_gets_no_traceback(talked):
    folder, _, _ = talked
    writer = subprocess.Popen(
        [console_script(), "session", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=environment(folder),
    )
    writer.stdout.close()
    assert writer.stderr.read() == b""
    writer.stderr.close()
    assert writer.wait(120) == 1


def test_ctrl_c_ends_a_command_quietly(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "chat", "--fund", "1 USD"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(tmp_path),
    )
    process.stdin.write("count to 3\n")
    process.stdin.flush()
    while "left" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)  # it waits for another question
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert told == ""
