"""The pages of ``docs/examples``, run as a dApp's developer would: on ``prepaid chain up``, with its node.

What each contract stores is in what the pages say (spec A13, A15, B3); and what they cost is what was paid.
"""

from __future__ import annotations

import contextlib
import os
import re
import runpy
import shlex
import subprocess

import pytest
from typer.testing import CliRunner

from chain.anvil import CONTRACTS
from chain.forging import link_packages, tools
from pages import README, ROOT, blocks, is_output, links, named
from prepaid.cli.app import app

PAGES = sorted((ROOT / "docs" / "examples").glob("*.md"))
EXAMPLES = {path.name: path.read_text(encoding="utf-8") for path in (CONTRACTS / "examples").glob("*.sol")}
PROGRAM = "program.py"


def is_session(block):
    """Whether it shows commands and what they say, not lines to paste."""
    return block.language != "console" or block.content.startswith("$ ")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_a_page_shows_is_what_happens(page, shell, capsys):
    """From top to bottom, in one folder: files are saved, programs run, and what they print is on the page."""
    for block in filter(is_session, blocks(page, "solidity", "toml", "python", "javascript", "console")):
        said = DOERS[block.language](block.content, shell, capsys)
        assert is_output(wanted(block), said), f"{block.place} says\n{said}"


def saved_contract(content, shell, _):
    (name,) = re.findall(r"^contract (\w+)", content, re.MULTILINE)
    (shell / "src").mkdir()
    (shell / "src" / f"{name}.sol").write_text(content, encoding="utf-8")
    return ""


def saved_toml(content, shell, _):
    (shell / "foundry.toml").write_text(content, encoding="utf-8")
    return ""


def said_by_python(content, shell, capsys):
    (shell / PROGRAM).write_text(content, encoding="utf-8")
    runpy.run_path(str(shell / PROGRAM), run_name="__main__")
    return capsys.readouterr().out


def said_by_bash(content, shell, _):
    lines = "\n".join(re.findall(r"^\$ (.*)$", content, re.MULTILINE))
    said = said_by_tool(shell, "bash", "-e", "-c", lines)
    for address in re.findall(r"^Deployed to: (0x\w{40})$", said, re.MULTILINE):
        os.environ["CONSUMER"] = address
    return said


def said_by_node(content, shell, _):
    (shell / "program.mjs").write_text(content, encoding="utf-8")
    return said_by_tool(shell, "node", "program.mjs")


def said_by_tool(shell, *command):
    """With the compiler, OpenZeppelin's contracts and ethers from npm, as ``contracts`` has them."""
    with contextlib.suppress(FileExistsError):
        link_packages(shell)
    done = subprocess.run(
        command, env=tools(), cwd=shell, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


DOERS = {
    "solidity": saved_contract,
    "toml": saved_toml,
    "python": said_by_python,
    "javascript": said_by_node,
    "console": said_by_bash,
}


def wanted(block):
    if block.language != "console":
        return block.output or ""
    return "\n".join(line for line in block.content.splitlines() if not line.startswith("$ "))


def test_the_contracts_shown_are_those_that_are_compiled():
    """Each is on one page, and what the README shows of one is in it."""
    shown = [block.content for page in PAGES for block in blocks(page, "solidity")]
    assert sorted(shown) == sorted(EXAMPLES.values())
    (excerpt,) = [block.content for block in blocks(README, "solidity")]
    assert excerpt in EXAMPLES["TextConsumer.sol"]


def test_what_the_readme_tells_to_type(up, shell):
    """The lines after ``chain up``'s folder was read."""
    (block,) = blocks(README, "sh")
    first, *commands = block.content.splitlines()
    assert first == "set -a; . my-chain/chain.env"
    said = ""
    for command in commands:
        session = re.search(r"session +(\d+)", said)
        arguments = [session[1] if each == "SESSION_ID" else each for each in shlex.split(command)]
        result = CliRunner().invoke(app, arguments[1:])
        assert result.exit_code == 0, result.output
        said = result.stdout
    assert "SUCCESS" in said


@pytest.mark.parametrize("leading", ["README.md", "docs/chain.md", "contracts/examples/README.md"])
def test_who_looks_for_them_is_led_there(leading):
    page = ROOT / leading
    found = {(page.parent / link).resolve() for link in links(page) if "://" not in link and "#" not in link}
    assert set(PAGES) <= found
