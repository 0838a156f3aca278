"""``prepaid demo --chain``: its figures against the chain's own, its table, and what it leaves behind."""

from __future__ import annotations

import dataclasses
import re
import shutil
import signal
import socket
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from eth_utils import keccak

import prepaid as source
from chain.anvil import install
from cli_running import Terminal, prepaid, result_of
from prepaid.chain.local import Engine
from prepaid.cli.demo.onchain.books import Books, Line
from prepaid.cli.demo.onchain.ending import Outcome, as_object
from prepaid.cli.demo.onchain.play import on_stage, perform
from prepaid.cli.demo.story import Story

ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
AMOUNT = re.compile(r"([\d.]+) USDT")
KEYS = ["deposited", "paid_to_nodes", "refunded", "held", "answers", "timeouts", "decimals"]


@pytest.fixture(scope="module", autouse=True)
def installed():
    install()


@pytest.mark.parametrize("engine", list(Engine))
async def test_its_figures_are_the_chains_own(engine, tmp_path):
    """Read again without any code of the demo's: raw logs, raw calls."""
    async with on_stage(tmp_path, Story(is_silent=True), engine) as cast:
        outcome = await perform(cast)
        told, local, stage = as_object(outcome), cast.stage.local, cast.stage

        async def balance(address):
            data = f"0x{keccak(text='balanceOf(address)')[:4].hex()}{address[2:]:>064}"
            return int(await local.rpc("eth_call", {"to": stage.token, "data": data}, "latest"), 16)

        async def logs(signature):
            query = {"address": stage.ai, "topics": [f"0x{keccak(text=signature).hex()}"], "fromBlock": "0x0"}
            return await local.rpc("eth_getLogs", query)

        deposits = await logs("SessionStarted(uint256,address,uint256)")
        refunds = await logs("SessionClosed(uint256,address,uint256,uint256)")
        assert told == {
            "deposited": sum(int(log["data"], 16) for log in deposits),
            "paid_to_nodes": await balance(cast.operator.address),
            "refunded": sum(int(log["data"][:66], 16) for log in refunds),
            "held": await balance(stage.ai),
            "answers": len(await logs("ResponseDelivered(bytes32,uint8,uint256,string,bytes)")),
            "timeouts": len(await logs("RequestExpired(bytes32)")),
            "decimals": int(
                await local.rpc("eth_call", {"to": stage.token, "data": "0x313ce567"}, "latest"), 16
            ),
        }
        assert told["deposited"] == told["paid_to_nodes"] + told["refunded"] + told["held"]
        assert await balance(cast.ann.address) == 100 * 10**6 - told["paid_to_nodes"]
        assert outcome.is_good
    assert (told["held"], told["answers"], told["timeouts"], told["decimals"]) == (0, 3, 1, 6)


def test_as_json_it_is_one_object_with_nothing_but_python(tmp_path):
    """Installed elsewhere than in a checkout, on a machine without anvil; nothing is left behind."""
    installed, here = tmp_path / "installed", tmp_path / "here"
    shutil.copytree(Path(source.__file__).parent, installed / "prepaid")
    here.mkdir()
    surroundings = {"PATH": str(here), "PYTHONPATH": str(installed), "TMPDIR": str(here)}

    def python(*arguments):
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=here, env=surroundings, capture_output=True, text=True, timeout=600, check=False
        )

    found = python("-c", "from prepaid.chain.local.anvil import find_anvil; print(find_anvil())")
    assert (found.stdout, found.stderr) == ("None\n", "")
    process = python("-m", "prepaid", "demo", "--chain", "--json")
    told = result_of(process)
    assert list(told) == KEYS
    assert told["deposited"] == told["paid_to_nodes"] + told["refunded"] + told["held"]
    assert (process.stderr, process.stdout.count("\n")) == ("", 1)
    assert list(here.iterdir()) == []


def test_on_a_terminal_it_is_a_story_whose_table_adds_up(tmp_path):
    """Spec A1 to A6, A9, A10, A13, A14, A17, B1, B7, B8, each in its chapter."""
    story, code = Terminal(tmp_path, "demo", "--chain", "--keep").finish(90)
    assert code == 0, story
    text = ANSI.sub("", story)
    for line in (
        "5.00 USDT lies at the contract's own deposit address",
        "In the contract's storage now: SUCCESS, “This is prepaid's built-in offline model",
        "Her deposit became a session on the way",
        "LeaseCapReached:",
        "DtnAi_DeadlineNotPassed",
        "In the contract's storage now: TIMEOUT, “timeout”",
        "after 3 answers and 1 time-out",
    ):
        assert line in text, text
    chapters = [int(number) for number in re.findall(r"━━ (\d+)\. ", text)]
    assert chapters == list(range(1, len(chapters) + 1))
    tables = text.partition("Every unit of USDT")[2].splitlines()
    found = [list(map(Decimal, AMOUNT.findall(line))) for line in tables if "✓" not in line]
    sessions, wallets = ([row for row in found if len(row) == columns] for columns in (4, 2))
    assert (len(sessions), len(wallets)) == (4, 4)
    for *rows, total in (sessions, wallets):
        assert [sum(column) for column in zip(*rows, strict=True)] == total
    assert all(deposited == sum(rest) > 0 for deposited, *rest in sessions)
    (kept,) = tmp_path.glob("prepaid-demo-*")
    assert sorted(path.name for path in kept.iterdir()) == ["node-journal.db", "node-ledger.db", "node.log"]
    listed = result_of(
        prepaid(tmp_path, "session", "list", "--json", "--database", str(kept / "node-ledger.db"))
    )
    assert [each["name"] for each in listed] == ["system.node-1"]


@pytest.mark.parametrize(("stop", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_leaves_nothing_behind(stop, status, tmp_path):
    terminal = Terminal(tmp_path, "demo", "--chain", "--engine", "anvil")
    port = re.search(r"ws://127\.0\.0\.1:(\d+)", terminal.wait_for("4. The contract asks", 180))[1]
    terminal._process.send_signal(stop)
    rest, code = terminal.finish(60)
    assert code == status
    assert "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)))


def test_an_engine_needs_a_chain(tmp_path):
    process = prepaid(tmp_path, "demo", "--engine", "anvil")
    assert process.returncode == 2
    assert "--chain" in process.stderr


GOOD = Outcome(Books({1: Line(10, 4, 6)}, 4, 0, 1, 1), {"ann": 100, "node": 0}, {"ann": 96, "node": 4}, 4, 6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"books": Books({1: Line(10, 4, 5)}, 4, 0, 1, 1)},
        {"books": Books({1: Line(10, 4, 5, 1)}, 4, 1, 1, 1)},
        {"books": Books({1: Line(10, 4, 6)}, 3, 0, 1, 1)},
        {"books": Books({1: Line(10, 4, 6)}, 4, 1, 1, 1)},
        {"books": Books({1: Line(10, 4, 6)}, 4, 0, 0, 1)},
        {"books": Books({1: Line(10, 4, 6)}, 4, 0, 1, 0)},
        {"has": {"ann": 95, "node": 4}},
        {"earned": 3},
    ],
)
def test_the_outcome_is_good_only_if_everything_is(wrong):
    assert GOOD.is_good
    assert not dataclasses.replace(GOOD, **wrong).is_good
