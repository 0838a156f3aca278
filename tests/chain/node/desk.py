"""A node's desk: its ledger, its settings, and the ways to run it."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from contextlib import asynccontextmanager

from eth_utils import keccak

from chain.node import child
from chain.world import MODEL, NODE
from prepaid import SessionManager
from prepaid.chain.ai.requests import request_of
from prepaid.chain.node import run_node
from prepaid.config import Settings
from prepaid.store.sqlite.store import SqliteStore

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["pytest", "prepaid.chain.node", "prepaid.gateway.logs"])

PRICES = {"m": {"input_per_million": "1", "output_per_million": "2"}}
"""A base unit for a token that is read, two for one that is written."""

FUND = 1_000_000


class Desk:
    """What one node has: a folder with its ledger and its journal, a session with money, a provider."""

    def __init__(self, folder, fake, session_id):
        self.folder = folder
        self.fake = fake
        self.session_id = session_id
        self.log = folder / "node.log"

    @classmethod
    async def make(cls, folder, fake):
        settings = Settings(database=str(folder / "ledger.db"), currency="USDT")
        async with SessionManager(settings=settings) as manager:
            session = await manager.create_session("node", FUND)
        return cls(folder, fake, session.session_id)

    def environment(self, world, *, chain=None, node=None, more=None):
        """Settings as an operator puts them into the environment, the wallet's key too."""
        upstreams = {"fake": {"base_url": self.fake.base_url, "models": ["m"], "retries_max": 0}}
        chain = {
            "rpc_url": world.url,
            "ai_contract": world.ai,
            "poll_seconds": 0.02,
            "timeout_seconds": 120,
            "bump_after_seconds": 5,
        } | (chain or {})
        node = {
            "name": NODE,
            "session_id": self.session_id,
            "journal": str(self.folder / "node.db"),
            "models": {MODEL: "m"},
            "upkeep_seconds": 0.2,
        } | (node or {})
        return {
            "PREPAID_DATABASE": str(self.folder / "ledger.db"),
            "PREPAID_CURRENCY": "USDT",
            "PREPAID_HOLD_SECONDS": "1",
            "PREPAID_SWEEP_SECONDS": "0.2",
            "PREPAID_UPSTREAMS": json.dumps(upstreams),
            "PREPAID_PRICES": json.dumps(PRICES),
            "PREPAID_CHAIN": json.dumps(chain),
            "PREPAID_NODE": json.dumps(node),
            "PREPAID_CHAIN_KEY": keccak(text="a key for tests: operator").hex(),
        } | (more or {})

    def start(self, environment, kill_at=None):
        """The node as a process."""
        process = PROCESSES.Process(target=child.run, args=(environment, str(self.log), kill_at), daemon=True)
        process.start()
        return process

    def logged(self):
        """What the node's processes said."""
        text = self.log.read_text() if self.log.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    async def said(self, message, times=1, seconds=90):
        """Wait until the node has said this so often; the lines."""

        async def has():
            return len(self.lines(message)) >= times

        await until(has, seconds)
        return self.lines(message)

    def lines(self, message):
        """The lines with this message, whole ones only."""
        return [line for line in self.logged() if line["message"] == message]

    async def close_session(self):
        """Take the node's money away."""
        settings = Settings(database=str(self.folder / "ledger.db"), currency="USDT")
        async with SessionManager(settings=settings) as manager:
            await manager.get_session(self.session_id, "node").close()

    async def account(self):
        """What the node's ledger session has spent and has left, once nothing is held in it."""
        store = SqliteStore(self.folder / "ledger.db")

        async def is_settled():
            return not store.reads.account(self.session_id).held

        try:
            await until(is_settled)
            account = store.reads.account(self.session_id)
            return account.spent, account.available
        finally:
            await store.aclose()


@asynccontextmanager
async def running(environment, monkeypatch):
    """The node in this process, for tests that do not kill it."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stop = asyncio.Event()
    task = asyncio.create_task(run_node(Settings(), stop))
    try:
        yield task
    finally:
        stop.set()
        await task


async def ended(process, seconds=90):
    """Its exit code, once it has ended."""
    await asyncio.to_thread(process.join, seconds)
    assert process.exitcode is not None, "it runs on"
    return process.exitcode


async def deliveries(ai, event="ResponseDelivered"):
    """How often each request was answered, by the chain's own log."""
    chain = ai.contract.chain
    query = {"address": ai.address, "topics": [ai.contract.topic(event)], "fromBlock": 0}
    found = [ai.contract.decode(event, log) for log in await chain.w3.eth.get_logs(query)]
    return [f"0x{told['requestId'].hex()}" for told in found]


async def made(ai):
    """All requests that the chain has."""
    chain = ai.contract.chain
    query = {"address": ai.address, "topics": [ai.contract.topic("RequestMade")], "fromBlock": 0}
    logs = await chain.w3.eth.get_logs(query)
    told = [(ai.contract.decode("RequestMade", log), log) for log in logs]
    return [request_of(each, log["blockNumber"], log["transactionHash"].to_0x_hex()) for each, log in told]


async def until(condition, seconds=90):
    """Wait until ``condition()`` is true."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 -- other processes set no events of ours
            await asyncio.sleep(0.05)
