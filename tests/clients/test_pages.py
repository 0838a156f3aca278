"""The pages of ``docs/clients``, run as a reader would run them, against a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pages import ROOT, blocks, is_output, named

sys.path.insert(0, str(ROOT / "scripts"))
from node import NODE, environment, install

PAGES = sorted((ROOT / "docs" / "clients").glob("*.md"))
NODE_FOLDER = Path(__file__).parent / "node"
END = "--- the end of a program"


@pytest.fixture
def surroundings(gateway):
    """With the two settings that every page begins with."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREPAID_", "OPENAI_"))}
    _, key = gateway.fund("1 USD")
    return kept | {"OPENAI_BASE_URL": f"{gateway.url}/v1", "OPENAI_API_KEY": key, "NO_COLOR": "1"}


def run(command, folder, surroundings):
    done = subprocess.run(
        command, cwd=folder, env=surroundings, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


def said_by_python(programs, folder, surroundings):
    """What each says. One process runs them, as scripts one after the other: their imports take seconds."""
    paths = [folder / f"program_{number}.py" for number in range(len(programs))]
    for path, program in zip(paths, programs, strict=True):
        path.write_text(program, encoding="utf-8")
    runner = "import runpy, sys\nfor path in sys.argv[1:]:\n    runpy.run_path(path, run_name='__main__')\n    print('%s')"
    told = run([sys.executable, "-W", "error", "-c", runner % END, *map(str, paths)], folder, surroundings)
    return told.split(f"{END}\n")[:-1]


def said_by_node(programs, _, surroundings):
    install(NODE_FOLDER)
    told = surroundings | {"PATH": environment()["PATH"]}
    return [run([NODE, "--input-type=module", "--eval", program], NODE_FOLDER, told) for program in programs]


def said_by_bash(sessions, folder, surroundings):
    """What the lines behind a dollar sign say."""
    scripts = ["\n".join(re.findall(r"^\$ (.*)$", session, re.MULTILINE)) for session in sessions]
    return [run(["bash", "-e", "-c", script], folder, surroundings) for script in scripts]


LANGUAGES = {"python": said_by_python, "js": said_by_node, "console": said_by_bash}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_a_page_shows_is_what_happens(page, surroundings, tmp_path):
    check(page, surroundings, tmp_path)


if sys.platform == "linux":  # elsewhere curl is part of the system, and its library no wheel

    def test_what_goes_by_the_name_of_curl_does_the_same(curl_of_ours, surroundings, tmp_path):
        first = {"PATH": f"{curl_of_ours}{os.pathsep}{surroundings['PATH']}"}
        check(ROOT / "docs" / "clients" / "curl.md", surroundings | first, tmp_path)


def check(page, surroundings, tmp_path):
    ran = 0
    for language, said in LANGUAGES.items():
        shown = [block for block in blocks(page, language) if not is_set_up(block)]
        told = said([block.content for block in shown], tmp_path, surroundings) if shown else []
        for block, output in zip(shown, told, strict=True):
            assert is_output(wanted(block), output), f"{block.place} says\n{output}"
        ran += len(shown)
    assert ran >= 4


def is_set_up(block):
    """Lines to paste, which say nothing."""
    return block.language == "console" and not block.content.startswith("$ ")


def wanted(block):
    if block.language != "console":
        return block.output
    return "\n".join(line for line in block.content.splitlines() if not line.startswith("$ "))


def test_the_gateways_page_leads_to_all_of_them():
    told = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\(clients/([\w-]+\.md)\)", told)) == {page.name for page in PAGES}
