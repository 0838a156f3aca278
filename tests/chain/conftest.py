"""One node per run, one state per test: whatever a test does is undone before the next."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from itertools import count

import pytest

from chain.anvil import Anvil, install
from chain.world import ALICE, BOB, OPERATOR, POLL_SECONDS, QUICK, build
from cli_running import environment
from prepaid.chain.ai import AiContract
from prepaid.chain.connection import Chain

STATES = ("--prune-history", "128")
"""Of so many blocks anvil keeps the state, in memory. By default it puts those of old blocks on disk, without
their contracts' code, and a reorganisation that goes back to such a block leaves a chain without contracts."""

_TESTS = count(1)


@pytest.fixture(scope="session")
def started():
    anvil = Anvil(*STATES)
    try:
        yield anvil, asyncio.run(build(anvil))
    finally:
        anvil.stop()


@pytest.fixture
def anvil(started):
    node, _ = started
    before = node.rpc("evm_snapshot")
    # A block of this test alone to go back to: its hash is new, so its state is the youngest that is kept.
    node.rpc("anvil_setBalance", f"0x{1:040x}", hex(next(_TESTS)))
    node.rpc("evm_mine")
    yield node
    node.rpc("anvil_dropAllTransactions")  # or one that was left waiting is mined after all, in the next test
    node.rpc("evm_revert", before)


@pytest.fixture
def world(started, anvil):
    return started[1]


@pytest.fixture
async def chain(world):
    async with await Chain.connect(world.url, poll_seconds=POLL_SECONDS) as connected:
        yield connected


@pytest.fixture
async def alice(chain, world):
    return await AiContract.at(chain, world.ai, ALICE, QUICK)


@pytest.fixture
async def bob(chain, world):
    return await AiContract.at(chain, world.ai, BOB, QUICK)


@pytest.fixture
async def operator(chain, world):
    return await AiContract.at(chain, world.ai, OPERATOR, QUICK)


@pytest.fixture(scope="package")
def up(tmp_path_factory):
    """What ``prepaid chain up --json`` printed, as long as it runs; Ctrl-C ends it with 0."""
    install()
    folder = tmp_path_factory.mktemp("up")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prepaid", "chain", "up", "--port", "0", "--folder", "mine", "--json"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=folder,
            env=environment(folder),
        )
    line = process.stdout.readline()
    assert line, (folder / "log").read_text()
    yield json.loads(line)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=180)
    assert (process.returncode, rest) == (0, ""), (folder / "log").read_text()


@pytest.fixture
def shell(up, tmp_path, monkeypatch):
    """A shell that read chain.env, in a folder of its own; that folder."""
    for name in [name for name in os.environ if name.startswith("PREPAID_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    for name, value in variables(up).items():
        monkeypatch.setenv(name, value)
    return tmp_path


def variables(up):
    """All that the file sets, as a shell tells it."""
    command = ["/bin/sh", "-c", 'set -a; . "$0"; env -0', up["environment"]]
    told = subprocess.run(command, env={}, capture_output=True, text=True, check=True).stdout
    pairs = (each.partition("=") for each in told.split("\0"))
    return {name: value for name, _, value in pairs if name not in {"", "PWD", "SHLVL", "_"}}
