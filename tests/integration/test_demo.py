"""``prepaid demo`` as a newcomer runs it: silent with JSON, and as a story on a terminal."""

import json
import re

import pytest

from cli_running import Terminal, environment, prepaid, result_of

ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture(scope="module")
def as_json(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    (folder / "prepaid.toml").write_text("currency = 'no such thing'")  # the demo does not care
    return folder, prepaid(folder, "demo", "--json")


def test_it_prints_one_object_of_this_shape(as_json):
    _, process = as_json
    told = result_of(process)
    assert list(told) == [
        "funded",
        "spent",
        "refunded",
        "currency",
        "burst",
        "recovered",
        "statement_verified",
    ]
    assert told["burst"] == {"fired": 200, "affordable": 50, "succeeded": 50}
    assert told["recovered"] is True
    assert told["statement_verified"] is True
    assert told["currency"] == "USD"
    assert process.stdout.count("\n") == 1
    assert process.stderr == ""


def test_funded_is_spent_and_refunded(as_json):
    """Spec A6, D1: to the unit."""
    told = json.loads(as_json[1].stdout)
    assert told["funded"] == told["spent"] + told["refunded"]
    assert min(told["funded"], told["spent"], told["refunded"]) > 0


def test_nothing_is_left_behind(as_json):
    folder, _ = as_json
    assert [path.name for path in folder.iterdir()] == ["prepaid.toml"]


def test_on_a_terminal_it_is_a_story_and_what_it_keeps_can_be_looked_at(tmp_path):
    """Spec A5 to A9, B7, B8, C4, C6, C16, D1, D4, each in its chapter."""
    story, code = Terminal(tmp_path, "demo", "--keep").finish()
    assert code == 0, story
    assert "Traceback" not in story
    text = ANSI.sub("", story)
    for line in (
        "1. Ann funds a session",
        "Before that you said: “Where is the treasure?”.",
        '(calls add {"a": 2, "b": 3}) Offline model: add says: 5',
        "InsufficientFunds: 12.10 USD needed at least",
        "200 fired, 50 answered, 150 refused",
        "SessionPaused:",
        "Killed (process ",
        "Settled after",
        "refunded to ann",
        "Line 2 was altered",
        "all of it adds up",
    ):
        assert line in text, line
    chapters = [int(number) for number in re.findall(r"━━ (\d+)\. ", text)]
    assert chapters == list(range(1, len(chapters) + 1))
    (kept,) = tmp_path.glob("prepaid-demo-*")
    assert str(kept) in text.replace("\n", "")
    database = ("--database", str(kept / "demo.db"))
    assert len(result_of(prepaid(tmp_path, "session", "list", "--json", *database))) == 2


def test_ctrl_c_ends_it_quietly_and_leaves_nothing_behind(tmp_path):
    terminal = Terminal(tmp_path, "demo")
    terminal.wait_for("2. Two chats")
    terminal.type("\x03")
    rest, code = terminal.finish()
    assert code == 130
    assert "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []


def test_the_story_wraps_at_the_width_of_the_terminal(capsys):
    from prepaid.cli.demo.story import Story

    story = Story(is_silent=False)
    with story.reply("Somebody") as speak:
        for number in range(100):
            speak(f" {number}")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3
    assert all(len(line) <= 100 for line in lines)
    assert " ".join(lines).split() == ["Somebody", *map(str, range(100))]


def test_a_silent_story_says_nothing(capsys):
    from prepaid.cli.demo.story import Story

    story = Story(is_silent=True)
    story.title("a", "b")
    story.chapter("c")
    story.good("d")
    story.question("e", "f")
    with story.waiting("g"), story.reply("h") as speak:
        speak("i")
    assert capsys.readouterr() == ("", "")


def test_the_outcome_is_good_only_if_everything_is():
    from prepaid.cli.demo.stage import Outcome

    good = {
        "recovered": True,
        "statement_verified": True,
        "is_clean": True,
        "affordable": 50,
        "succeeded": 50,
        "funded": 3,
        "spent": 1,
        "refunded": 2,
    }
    assert Outcome(**good).is_good
    for name, value in good.items():
        assert not Outcome(**good | {name: not value if isinstance(value, bool) else value + 1}).is_good, name


def test_no_settings_of_the_machine_reach_the_demo(monkeypatch):
    import os

    from prepaid.cli.demo.stage import untouched_by_settings
    from prepaid.config import Settings

    monkeypatch.setenv("PREPAID_DATABASE", "elsewhere.db")
    monkeypatch.setenv("PREPAID_CURRENCY", "nothing that is known")
    with untouched_by_settings():
        assert Settings().database == "prepaid.db"
    assert os.environ["PREPAID_CURRENCY"] == "nothing that is known"
    assert "PREPAID_CONFIG" not in os.environ


def test_the_tests_see_no_settings_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("PREPAID_CURRENCY", "EUR")
    assert "PREPAID_CURRENCY" not in environment(tmp_path)
