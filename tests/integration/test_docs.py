"""What the documentation says is so: its programs run, its tables are complete, its links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import ClassVar

import pytest

import prepaid
from pages import PAGES, README, ROOT, anchors, blocks, is_output, links, named, read, rows
from prepaid import statements

SOURCE = Path(prepaid.__file__).parent
BIN = Path(sys.executable).parent
TIDY = [page for page in PAGES if page.name != "CONTRIBUTING.md"]
PROGRAMS = [page for page in TIDY if page.parent in {ROOT, ROOT / "docs"}]
"""Those in folders need a server or a chain: their own tests run them."""

OWN_VARIABLES = {"OPENAI_API_KEY": "sk-for-the-examples"}


def is_session(block):
    """Whether it shows commands and what they say, not lines to paste."""
    return block.content.startswith("$ ")


def run(command, directory, **options):
    """A program as a reader would run it: in a folder of its own, with nothing configured."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("PREPAID_") and name != "CI"
    }
    surroundings = kept | OWN_VARIABLES | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}
    return subprocess.run(
        command,
        cwd=directory,
        env=surroundings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        **options,
    )


@pytest.mark.parametrize("page", [page for page in PROGRAMS if [*blocks(page, "python", "toml")]], ids=named)
def test_the_programs_of_a_page_run(page, tmp_path):
    """In the order in which they stand, in one folder, so that each finds what those before it left."""
    for block in blocks(page, "python", "toml"):
        if block.language == "toml":
            (tmp_path / "prepaid.toml").write_text(block.content, encoding="utf-8")
            program = "from prepaid.config import Settings; Settings()"
        else:
            program = block.content
        done = run([sys.executable, "-W", "error", "-c", program], tmp_path)
        assert done.returncode == 0, f"{block.place}\n{done.stderr}"
        if block.output is not None:
            assert is_output(block.output, done.stdout), f"{block.place} says\n{done.stdout}"


@pytest.mark.parametrize(
    "block",
    [block for page in PROGRAMS for block in blocks(page, "console") if is_session(block)],
    ids=lambda block: block.place,
)
def test_the_commands_of_a_page_say_what_it_shows(block, tmp_path):
    """In one shell, each line that begins with a dollar sign; the rest is what they say on standard output."""
    lines = block.content.splitlines()
    script = "\n".join(line.removeprefix("$ ") for line in lines if line.startswith("$ "))
    done = run(["bash", "-e", "-c", script], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    said = "\n".join(line for line in lines if not line.startswith("$ "))
    assert is_output(said, done.stdout), f"{block.place} says\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", [page for page in TIDY if [*blocks(page, "python")]], ids=named)
def test_the_programs_of_a_page_are_tidy(page, tmp_path):
    for number, block in enumerate(blocks(page, "python")):
        (tmp_path / f"block_{number}_at_line_{block.line}.py").write_text(block.content, encoding="utf-8")
    ours = ["--config", 'lint.isort.known-first-party = ["prepaid"]']
    checks = (["format", "--check", "--diff"], ["check", "--select", "A,ASYNC,B,E,F,I,N,RUF,UP,W", *ours])
    for check in checks:
        done = run(["ruff", *check, "--isolated", "--line-length", "110", "."], tmp_path)
        assert done.returncode == 0, f"{named(page)}\n{done.stdout}{done.stderr}"


def test_the_examples_of_style_are_from_the_source():
    """CONTRIBUTING shows excerpts of our own code, which stay true only if it still has them."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    for block in blocks(ROOT / "CONTRIBUTING.md", "python"):
        assert block.content in source, block.place


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_json_is_json(page):
    for block in blocks(page, "json"):
        json.loads(block.content)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    for link in links(page):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{named(page)} links to {link}"
        assert not anchor or anchor in anchors(target), f"{named(page)} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_that_are_named_exist(page):
    """A path in backticks that begins in a folder of ours is the path of something."""
    paths = re.findall(
        r"`((?:src|tests|docs|scripts|benchmarks|\.ci)/[\w./-]*)`", page.read_text(encoding="utf-8")
    )
    assert [path for path in paths if not (ROOT / path).exists()] == []


def set_up():
    """The README's lines to paste."""
    return [block.content.strip() for block in blocks(README, "console") if not is_session(block)]


class TestSetUp:
    """Two commands, and CI runs the second."""

    commands = ("run prepaid demo", "run scripts/check.py")

    def test_the_readme_has_two_commands_of_one_line_each(self):
        found = set_up()
        assert len(found) == len(self.commands)
        for command, end in zip(found, self.commands, strict=True):
            assert len(command.splitlines()) == 1
            assert "pip install" in command
            assert command.endswith(end)

    def test_ci_runs_the_second_and_nothing_less(self):
        command = set_up()[1]
        lines = [line for line in read(".ci/run").splitlines() if line and not line.startswith("#")]
        assert lines == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', command]

    def test_ci_can_be_executed(self):
        assert os.access(ROOT / ".ci/run", os.X_OK)


class TestSkips:
    """In CI a skipped test fails."""

    test = "import pytest\n\n@pytest.mark.skip\ndef test_nothing():\n    pass\n"
    module = "import pytest\n\npytest.skip('not here', allow_module_level=True)\n"
    expected = "import pytest\n\n@pytest.mark.xfail\ndef test_nothing():\n    assert False\n"

    @pytest.mark.parametrize(
        ("content", "ci", "code"),
        [(test, "1", 1), (test, "", 0), (module, "1", 2), (module, "", 5), (expected, "1", 0)],
        ids=["a test in CI", "a test elsewhere", "a file in CI", "a file elsewhere", "a known failure in CI"],
    )
    def test_a_skip(self, content, ci, code, tmp_path):
        (tmp_path / "conftest.py").write_text(read("tests/conftest.py"), encoding="utf-8")
        (tmp_path / "test_it.py").write_text(content, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
            cwd=tmp_path,
            env=os.environ | {"CI": ci, "PYTHONPATH": str(ROOT / "tests")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr


class TestVersion:
    def test_the_changelog_is_of_this_version(self):
        version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
        entries = re.findall(r"^## \[([^\]]+)\]", read("CHANGELOG.md"), re.MULTILINE)
        assert entries[0] == "Unreleased"
        assert entries[1] == version


class TestArchitecture:
    text = read("docs/architecture.md")

    layers: ClassVar = [
        [room.strip() for room in layer.split("|")]
        for layer in tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"][0]["layers"]
    ]

    def test_every_room_has_a_line(self):
        listed = {cells[0].strip("`") for cells in rows(self.text, "## Rooms")}
        modules = {path.stem for path in SOURCE.glob("*.py")} - {"__init__"}
        packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
        assert modules | packages <= listed
        assert listed == {room for layer in self.layers for room in layer}

    def test_the_rooms_stand_in_the_order_of_the_layers(self):
        drawn = [re.split(r" {2,}", line.strip()) for line in drawing(self.text)]
        assert drawn == self.layers


def drawing(text):
    """The lines of the first block under "Layers"."""
    return re.search(r"^## Layers\n.*?^```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[1].splitlines()


class TestGuarantees:
    """The ledger's guarantees are told in the same words everywhere, and each is proved somewhere."""

    def test_they_are_told_in_the_same_words(self):
        told = re.findall(
            r"^(\d)\. (.+)$", (ROOT / "src/prepaid/ledger.py").read_text(encoding="utf-8"), re.MULTILINE
        )
        told = [(number, text.replace("``", "`")) for number, text in told]
        assert [number for number, _ in told] == list("123456")
        assert re.findall(r"^(\d)\. (.+)$", read("README.md"), re.MULTILINE) == told
        assert re.findall(r"^### (\d)\. (.+)$", read("docs/ledger.md"), re.MULTILINE) == told

    @pytest.mark.parametrize("number", range(1, 7))
    def test_the_tests_that_are_named_cite_it(self, number):
        section = re.split(r"^### ", read("docs/ledger.md"), flags=re.MULTILINE)[number]
        files = re.findall(
            r"`(tests/[\w/]+\.py)`", re.search(r"^Proved in .*?\n\n", section, re.MULTILINE | re.DOTALL)[0]
        )
        assert files
        for file in files:
            cited = re.findall(r"[Gg]uarantees? ([\d, to-]*(?:and \d)?)", read(file))
            assert any(str(number) in expanded(each) for each in cited), f"{file} does not cite {number}"


def expanded(numbers):
    """``1 to 4`` as ``1234``; anything else as it is."""
    span = re.match(r"(\d) to (\d)", numbers)
    return "".join(map(str, range(int(span[1]), int(span[2]) + 1))) if span else numbers


class TestLedger:
    """The page on the ledger names every table and every kind of line."""

    text = read("docs/ledger.md")

    def test_every_table_has_a_line(self):
        scripts = (SOURCE / "store/sqlite/migrations").glob("*.sql")
        made = {
            name for path in scripts for name in re.findall(r"CREATE TABLE (\w+)", path.read_text("utf-8"))
        }
        listed = [name for cells in rows(self.text, "## Tables") for name in re.findall(r"`(\w+)`", cells[0])]
        assert made <= set(listed)

    def test_every_kind_of_line_is_told(self):
        found = {
            (kind.strip("`"), debit, credit, total.split(":")[0])
            for kind, debits, credits_, total in rows(self.text, "## Statements")
            for debit in re.findall(r"`(\w+)`", debits)
            for credit in re.findall(r"`(\w+)`", credits_)
        }
        for (kind, debit, credit), total in statements._TOTAL_OF.items():
            said = "nothing" if total in {"shortfall", "exposure"} else total
            assert (kind, debit, credit, said) in found


class TestErrors:
    def test_every_error_is_in_the_table(self):
        listed = [cells[0].split("`")[1] for cells in rows(read("docs/errors.md"), "## All of them")]
        assert sorted(listed) == sorted(prepaid.errors.__all__)


class TestConfiguration:
    text = read("docs/configuration.md")
    tables = ("sessions", "chain", "node", "gateway", "telemetry", "upstreams", "prices", "fallbacks")

    @pytest.mark.parametrize(
        ("heading", "model"),
        [
            ("## Top level", "Settings"),
            ("## `[sessions]`", "SessionSettings"),
            ("## `[chain]`", "ChainSettings"),
            ("## `[node]`", "NodeSettings"),
            ("## `[gateway]`", "GatewaySettings"),
            ("## `[telemetry]`", "TelemetrySettings"),
            ("## `[upstreams.NAME]`", "UpstreamSettings"),
            ('## `[prices."MODEL"]`', "PriceSettings"),
        ],
    )
    def test_every_key_has_a_line_with_its_default(self, heading, model):
        from prepaid import config

        fields = getattr(config, model).model_fields
        tables = set(self.tables) if model == "Settings" else set()
        wanted = {name: default_of(field) for name, field in fields.items() if name not in tables}
        assert {cells[0]: cells[1] for cells in rows(self.text, heading)} == {
            f"`{name}`": default for name, default in wanted.items()
        }

    def test_the_tables_are_named(self):
        from prepaid.config import Settings

        for name in self.tables:
            assert name in Settings.model_fields
            assert f"`[{name}" in self.text


def default_of(field):
    """A setting's default as the page shows it: as TOML."""
    if field.is_required():
        return "required"
    default = field.default
    if default is None:
        return "none"
    if hasattr(default, "total_seconds"):
        return f"`{default.total_seconds():g}`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, int | float | dict):
        return f"`{default}`"
    return f'`"{default}"`' if not isinstance(default, tuple) else "`[]`"


def test_what_is_generated_is_up_to_date(tmp_path):
    done = run([sys.executable, str(ROOT / "scripts/generate_docs.py"), "--check"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
