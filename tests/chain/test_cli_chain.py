"""``prepaid chain``: the local chain as a process, and every command on it as a user runs it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from eth_account import Account
from eth_utils import to_checksum_address
from typer.testing import CliRunner

from cli_running import environment, prepaid
from prepaid.chain.ai import AiContract
from prepaid.chain.connection import Chain
from prepaid.chain.content import ContentId, fetch_content
from prepaid.chain.wallets import KeyWallet
from prepaid.cli.app import app
from prepaid.models.drawing import drawing

USDT = 10**6


pytestmark = pytest.mark.usefixtures("shell")


def run(*arguments):
    return CliRunner().invoke(app, ("chain", *arguments))


def told(*arguments):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return json.loads(result.stdout)


def read(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments):
    result = run(*arguments, "--json")
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    return json.loads(result.stderr)["error"]


@pytest.fixture
def session():
    return told("session", "start", "5 USDT")["session_id"]


def rpc(up, method, *params):
    async def asked():
        async with await Chain.connect(up["rpc_url"]) as chain:
            answer = await chain.provider.make_request(method, list(params))
            return answer["result"]

    return asyncio.run(asked())


def test_what_stands_on_it(up):
    assert (up["chain_id"], up["decimals"], up["engine"]) == (31_337, 6, "anvil")
    for place in ("token", "ai_contract", "session_manager"):
        assert len(rpc(up, "eth_getCode", up[place], "latest")) > 1_000
    password = Path(up["password_file"]).read_text().strip()
    for role, keystore in up["keystores"].items():
        assert Account.from_key(Account.decrypt(Path(keystore).read_text(), password)).address == up[role]
        assert int(rpc(up, "eth_getBalance", up[role], "latest"), 16) > 99 * 10**18
        assert Path(keystore).stat().st_mode & 0o77 == 0
    assert Path(up["environment"]).stat().st_mode & 0o77 == 0
    assert KeyWallet(bytes.fromhex(os.environ["PREPAID_CHAIN_KEY"][2:])).address == up["account"]


def test_python_asks_its_node(up):
    """The environment of chain.env is what the programs of docs/chain.md run with."""

    async def ask():
        async with await Chain.connect(os.environ["PREPAID_CHAIN__RPC_URL"], poll_seconds=0.05) as chain:
            ai = await AiContract.at(chain, up["ai_contract"], KeyWallet.from_environment())
            assert await ai.token.balance_of(up["account"]) >= 9_000 * USDT
            assert ai.token.address == os.environ["TOKEN"]
            await ai.deposit("1 USDT")

    asyncio.run(ask())
    answered = told("request", "0", "count to 4")
    assert (answered["status"], answered["text"]) == ("SUCCESS", "1 2 3 4")
    books = told("session", "show", answered["session_id"])
    assert (books["available"], books["held"]) == (USDT - answered["cost"], 0)
    assert 0 < answered["cost"] <= answered["hold"]


def test_a_session_from_start_to_end(up, session):
    """Spec A2, A6, A7: what was put in is what was taken and given back."""
    assert told("session", "fund", session, "2.5 USDT")["available"] == 7_500_000
    text = read("request", session, "count to 3")
    assert text.startswith("1 2 3\n")
    listed = told("session", "list")
    assert session in {each["session_id"] for each in listed}
    assert {each["owner"] for each in listed} == {up["account"]}
    assert [each["session_id"] for each in told("session", "list", "--owner", up["account"])] == [
        each["session_id"] for each in listed
    ]
    assert "held" in read("session", "list")
    assert told("session", "list", "--owner", up["operator"]) == []
    before = told("session", "show", session)
    assert (before["is_open"], before["owner"], before["decimals"]) == (True, up["account"], 6)
    closed = told("session", "close", session)
    assert (closed["refunded"], closed["available"], closed["is_open"]) == (before["available"], 0, False)
    again = refused("session", "close", session)
    assert again["code"] == "session_already_closed"
    assert "prepaid chain session start" in again["remedy"]


def test_asked_now_looked_at_later(session):
    asked = told("request", session, "count to 2", "--wait", "0", "--node", "system.node-1")
    assert (asked["status"], asked["text"], asked["cost"]) == ("PENDING", None, 0)
    answered = told("response", asked["request_id"], "--wait", "60")
    assert (answered["status"], answered["text"], answered["session_id"]) == ("SUCCESS", "1 2", session)
    assert "SUCCESS" in read("response", asked["request_id"])


def test_an_answer_by_its_content_id(up, session):
    """Spec A15: the chain has the id; the node's gateway has what it names, which is verified."""
    answered = told("request", session, "Draw a cat.", "--by-content-id")
    assert answered["status"] == "SUCCESS"
    picture = asyncio.run(fetch_content(ContentId.read(answered["text"]), up["gateway_url"]))
    assert picture == drawing("Draw a cat.")


def test_a_signer_elsewhere_signs(up, monkeypatch):
    """Anvil signs for an account of its own, whose key no program of ours has."""
    account = to_checksum_address(rpc(up, "eth_accounts")[0])
    mine = KeyWallet(bytes.fromhex(os.environ["PREPAID_CHAIN_KEY"][2:]))

    async def balance_of_account(amount="0.000001 USDT"):
        async with await Chain.connect(up["rpc_url"], poll_seconds=0.05) as chain:
            token = (await AiContract.at(chain, up["ai_contract"], mine)).token
            await token.transfer(account, amount)
            return await token.balance_of(account)

    before = asyncio.run(balance_of_account("3 USDT"))
    for name in ("PREPAID_CHAIN__KEYSTORE", "PREPAID_CHAIN__PASSWORD_FILE", "PREPAID_CHAIN_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PREPAID_CHAIN__SIGNER_URL", up["rpc_url"])
    assert "signer_address" in refused("session", "start", "2 USDT")["message"]
    monkeypatch.setenv("PREPAID_CHAIN__SIGNER_ADDRESS", account)
    started = told("session", "start", "2 USDT")
    assert told("session", "show", started["session_id"])["owner"] == account
    answered = told("request", started["session_id"], "count to 3")
    assert (answered["status"], answered["text"]) == ("SUCCESS", "1 2 3")
    told("session", "close", started["session_id"])
    assert asyncio.run(balance_of_account()) == before + 1 - answered["cost"]


def test_what_nobody_answers_is_expired(up, session):
    """Spec A17, by somebody else's node that never runs."""
    assert told("node", "register", "idle.node-1", "--new-namespace")["operator"] == up["account"]
    asked = told("request", session, "Anybody?", "--wait", "0", "--node", "idle.node-1")
    assert told("response", asked["request_id"])["status"] == "PENDING"
    assert "DtnAi_DeadlineNotPassed" in refused("expire", asked["request_id"])["message"]
    rpc(up, "evm_increaseTime", 3_601)
    rpc(up, "evm_mine")
    ended = told("expire", asked["request_id"])
    assert (ended["status"], ended["cost"], ended["message"]) == ("TIMEOUT", 0, "timeout")
    assert told("session", "show", session)["available"] == 5 * USDT


def test_nodes_and_what_they_earn(up, session, monkeypatch):
    """Spec A11, A12: what sessions paid is what the operator gets."""
    told("request", session, "count to 3")
    node = next(each for each in told("node", "list") if each["name"] == up["node"])
    assert (node["operator"], node["is_retired"]) == (up["operator"], False)
    assert node["earned"] > 0
    assert up["node"] in read("node", "list")
    assert "DtnAi_NotOperator" in refused("withdraw", up["node"])["message"]
    monkeypatch.setenv("PREPAID_CHAIN__KEYSTORE", up["keystores"]["operator"])
    paid = told("withdraw", up["node"])
    assert (paid["amount"], paid["to"]) == (node["earned"], up["operator"])
    assert "DtnAi_NothingEarned" in refused("withdraw", up["node"])["message"]


def test_refusals_name_value_and_remedy(session):
    assert refused("session", "show", "77")["code"] == "session_not_found"
    assert "6 decimals" in refused("session", "start", "1.0000001 USDT")["message"]
    assert "'nope'" in refused("request", session, "x", "--model", "nope")["message"]
    assert refused("session", "start", "1000000 USDT")["code"] == "insufficient_funds"
    assert "--blocks-back" in refused("response", "0x" + "ab" * 32)["remedy"]
    assert run("node", "register", "no-dot").exit_code == 2
    for_people = run("session", "show", "77")
    assert (for_people.exit_code, "Traceback" in for_people.stderr) == (1, False)
    assert "prepaid chain session list" in for_people.stderr


def test_a_wallet_is_never_on_the_command_line(tmp_path, monkeypatch, up):
    """What has no wallet says which there could be; what only looks needs none."""
    for name in ("PREPAID_CHAIN__KEYSTORE", "PREPAID_CHAIN__PASSWORD_FILE", "PREPAID_CHAIN_KEY"):
        monkeypatch.delenv(name)
    error = refused("session", "start", "1 USDT")
    assert (error["code"], "PREPAID_CHAIN_KEY" in error["remedy"]) == ("wallet_unusable", True)
    assert isinstance(told("node", "list"), list)


def test_what_cannot_start_says_why(up, tmp_path):
    port = up["rpc_url"].rpartition(":")[2]
    taken = prepaid(tmp_path, "chain", "up", "--port", port, "--json")
    assert (taken.returncode, taken.stdout) == (1, "")
    assert "port" in json.loads(taken.stderr.splitlines()[-1])["error"]["remedy"]
    assert list(tmp_path.iterdir()) == []


def test_in_this_process_too(tmp_path):
    """Without anvil, as from PyPI; SIGTERM ends it as Ctrl-C does, and nothing stays."""
    process = subprocess.Popen(
        [sys.executable, "-m", "prepaid", "chain", "up", "--port", "0", "--engine", "py-evm"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(tmp_path),
    )
    line = ""
    while line != "Ctrl-C ends it.\n":
        line = process.stdout.readline()
        assert line or process.poll() is None
    assert [path.name[:14] for path in tmp_path.iterdir()] == ["prepaid-chain-"]
    process.terminate()
    _, said = process.communicate(timeout=180)
    assert (process.returncode, "Traceback" in said) == (0, False), said
    assert list(tmp_path.iterdir()) == []
