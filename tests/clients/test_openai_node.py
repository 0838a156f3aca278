"""The official Node.js client; its tests are ``node/client.test.mjs``. Spec D2."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from pages import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from node import NODE, environment, install

FOLDER = Path(__file__).parent / "node"


def test_the_nodejs_client(gateway, session, upstream):
    install(FOLDER)
    session_id, key = session
    _, empty = gateway.fund(1)
    surroundings = environment() | {
        "OPENAI_BASE_URL": f"{gateway.url}/v1",
        "OPENAI_API_KEY": key,
        "EMPTY_KEY": empty,
    }
    command = [NODE, "--test", "--test-reporter=tap", "client.test.mjs"]
    done = subprocess.run(
        command, cwd=FOLDER, env=surroundings, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    written = len(re.findall(r"^ *test\(", (FOLDER / "client.test.mjs").read_text(), re.MULTILINE))
    told = {name: int(count) for name, count in re.findall(r"^# (\w+) (\d+)$", done.stdout, re.MULTILINE)}
    assert told["pass"] == written + 4, "four of them are for each of two models"
    assert told["skipped"] == told["todo"] == 0
    gateway.wait_until(lambda: gateway.account(session_id).held == 0)
    assert gateway.account(session_id).spent > 0
