"""The deploy script, run against a real node (issue 4, point 6)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chain.anvil import Anvil, install
from prepaid.chain.connection import Chain
from prepaid.chain.deploying import Deployer, ManagerConfig
from prepaid.chain.wallets import KeyWallet

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = ROOT / "contracts"
COPIED = ("sdk", "src", "script", "foundry.toml", "package.json", "package-lock.json")
BUILT = ("out", "cache")
PROOFS = shutil.ignore_patterns("symbolic")
"""They may be compiled at this moment."""
KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"  # anvil's first account
ADMINISTRATOR = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
MINIMUM = 10_000_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The contracts in a folder of their own, so that nothing is compiled or written where others work.

    What is built there already comes along. A link to the libraries would lead forge to files it has not built.
    """
    install()
    folder = tmp_path_factory.mktemp("contracts")
    libraries = folder / "node_modules"
    libraries.mkdir()
    for each in (CONTRACTS / "node_modules").iterdir():
        if each.name == "@openzeppelin":
            shutil.copytree(each, libraries / each.name)
        else:
            (libraries / each.name).symlink_to(each)
    for name in (*COPIED, *BUILT):
        source = CONTRACTS / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=PROOFS)
        elif source.exists():
            shutil.copy2(source, folder / name)
    (folder / "tools").symlink_to(CONTRACTS / "tools")
    return folder


@pytest.fixture
def anvil():
    node = Anvil()
    yield node
    node.stop()


@pytest.fixture
async def deployer(anvil):
    async with await Chain.connect(anvil.url, poll_seconds=0.02) as chain:
        yield Deployer(chain, KeyWallet(bytes.fromhex(KEY[2:])))


def run(project, anvil, script, token, **settings):
    """One of the npm scripts with these settings."""
    settings = {
        "FEE_TOKEN": token,
        "ADMINISTRATOR": ADMINISTRATOR,
        "MIN_SESSION_BALANCE": str(MINIMUM),
    } | settings
    node = [sys.executable, str(ROOT / "scripts" / "node.py"), str(project)]
    return subprocess.run(
        [*node, script, "--rpc-url", anvil.url, "--private-key", KEY],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def written(project):
    return json.loads((project / "deployments" / "31337.json").read_text())


def sent(anvil):
    return int(
        anvil.rpc("eth_getTransactionCount", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "latest"), 16
    )


async def test_it_deploys_where_the_python_client_does_and_once_only(project, anvil, deployer):
    """The addresses are told before, are those of ``prepaid.chain.deploying``, and a second run sends nothing."""
    token = await deployer.test_token()
    told = run(project, anvil, "deploy:addresses", token)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "NotDeployed" in run(project, anvil, "deploy:verify", token).stderr

    done = run(project, anvil, "deploy", token)
    assert done.returncode == 0, done.stdout + done.stderr
    made = written(project)
    assert made["dtnAi"] in told.stdout
    assert made["sessionManager"] in told.stdout

    before = sent(anvil)
    assert run(project, anvil, "deploy:verify", token).returncode == 0
    assert run(project, anvil, "deploy", token).returncode == 0
    ai = await deployer.ai_contract(token, ADMINISTRATOR)
    manager = await deployer.session_manager(ai, ManagerConfig(MINIMUM), ADMINISTRATOR)
    assert {"feeToken": token, "dtnAi": ai, "sessionManager": manager, "chainId": 31337} == written(project)
    assert sent(anvil) == before


async def test_it_refuses_what_it_did_not_make(project, anvil, deployer):
    """Other code at the address, though the address should make that impossible: told, and nothing is sent."""
    token = await deployer.test_token()
    assert run(project, anvil, "deploy", token).returncode == 0
    anvil.rpc("anvil_setCode", written(project)["dtnAi"], "0x60006000fd")
    before = sent(anvil)
    for script in ("deploy", "deploy:verify"):
        assert "CodeDiffers" in run(project, anvil, script, token).stderr
    assert sent(anvil) == before


async def test_it_says_what_is_wrong_with_the_settings(project, anvil, deployer):
    token = await deployer.test_token()
    before = sent(anvil)
    assert "TokenNotSupported" in run(project, anvil, "deploy", ADMINISTRATOR).stderr
    assert "TokenNotSupported" in run(project, anvil, "deploy", await deployer.test_token(24)).stderr
    assert "OutOfRange" in run(project, anvil, "deploy", token, SESSION_POOL_SIZE=str(2**32)).stderr
    assert "ConstructorReverted" in run(project, anvil, "deploy", token, SESSION_POOL_SIZE="10001").stderr
    assert sent(anvil) == before + 1  # the token with 24 decimals
    anvil.rpc("anvil_setCode", "0x4e59b44847b379578588920cA78FbF26c0B4956C", "0x")
    assert "NoProxy" in run(project, anvil, "deploy", token).stderr
