"""Anvil with everything deployed, somebody who asks, and ``prepaid node`` as its operator starts it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from eth_utils.crypto import keccak
from web3.types import RPCEndpoint

from benchmarks.filling import opened_manager
from prepaid.chain.ai import AiContract, Request
from prepaid.chain.connection import Chain
from prepaid.chain.deploying import Deployer
from prepaid.chain.local.anvil import find_anvil, running_anvil
from prepaid.chain.sending import Policy
from prepaid.chain.values import BatchRequest, CallType, ChainModel, DtnRequest, encode_prompt
from prepaid.chain.wallets import KeyWallet
from prepaid.routing import Routing

MODEL, NODE = "gpt-3.5-turbo", "system.node-1"
PRICE = ChainModel(10, 20, 2_000, frozenset({CallType.DIRECT}))
BATCH = 100
"""Requests of one transaction."""

_CHAIN_ID = 31_337
_ETHER = 10**18
_POLICY = Policy(timeout_seconds=120)


def wallet(name: str) -> KeyWallet:
    return KeyWallet(keccak(text=f"a key for benchmarks: {name}"))


ASKER, OPERATOR = wallet("asker"), wallet("operator")


@dataclass(slots=True)
class Ground:
    """``asker`` and ``operator`` are the AI contract in either's hands; ``session_id`` pays for requests."""

    url: str
    socket_url: str
    folder: Path
    chain: Chain
    asker: AiContract
    operator: AiContract
    session_id: int

    async def rpc(self, method: str, *params):
        answer = await self.chain.provider.make_request(RPCEndpoint(method), list(params))
        assert "error" not in answer, answer["error"]
        return answer["result"]

    async def ask(self, requests: int) -> list[Request]:
        """So many requests, made and mined, many to a transaction."""
        made: list[Request] = []
        while len(made) < requests:
            batch = [question(len(made) + at) for at in range(min(BATCH, requests - len(made)))]
            asked = await self.asker.request_batch(self.session_id, batch)
            made += [each for each in asked if isinstance(each, Request)]
        return made

    async def earned(self) -> int:
        return await self.operator.earned(NODE)

    @asynccontextmanager
    async def node(self, name: str, *, over_socket: bool = True, **more) -> AsyncIterator[Process]:
        """``prepaid node``, until the block ends; with a ledger and a journal of its own."""
        ledger = self.folder / f"{name}-ledger.db"
        async with opened_manager(ledger, currency="USDT") as manager:
            session = await manager.create_session("node", "1000000 USDT")
        environment = os.environ | {
            "PREPAID_DATABASE": str(ledger),
            "PREPAID_CURRENCY": "USDT",
            "PREPAID_CHAIN_KEY": keccak(text="a key for benchmarks: operator").hex(),
            "PREPAID_CHAIN": json.dumps(
                {
                    "rpc_url": self.socket_url if over_socket else self.url,
                    "ai_contract": self.operator.address,
                    "poll_seconds": 0.1,
                }
            ),
            "PREPAID_NODE": json.dumps(
                {
                    "name": NODE,
                    "session_id": session.session_id,
                    "journal": str(self.folder / f"{name}-journal.db"),
                    "models": {MODEL: "offline"},
                    "lookback_blocks": 0,
                    **more,
                }
            ),
        }
        with (self.folder / f"{name}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "prepaid", "node", env=environment, stderr=log, cwd=self.folder
            )
        try:
            await self._said(process, name, "following")
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                await process.wait()

    async def _said(self, process: Process, name: str, message: str) -> None:
        log = self.folder / f"{name}.log"
        while f'"{message}"' not in log.read_text():
            assert process.returncode is None, log.read_text()
            await asyncio.sleep(0.05)


def question(number: int) -> BatchRequest:
    """One of many that differ."""
    asked = DtnRequest(
        encode_prompt(f"count to 3, for the {number}th time"),
        PRICE.fee_per_byte_req,
        PRICE.fee_per_byte_res,
        PRICE.total_fee_per_res,
    )
    return BatchRequest(MODEL, asked, Routing(("system",)))


@asynccontextmanager
async def ground(folder: Path, *options: str) -> AsyncIterator[Ground]:
    """A new chain, with ``options`` of anvil's, and everything on it."""
    binary = find_anvil()
    if binary is None:
        raise FileNotFoundError("no anvil: run `python scripts/node.py contracts install` first")
    async with running_anvil(binary, 0, _CHAIN_ID, "--prune-history", "128", *options) as port:
        url = f"http://127.0.0.1:{port}"
        async with await Chain.connect(url, poll_seconds=0.02) as chain:
            yield await _built(chain, url, folder)


async def _built(chain: Chain, url: str, folder: Path) -> Ground:
    for each in (ASKER, OPERATOR):
        await chain.provider.make_request(
            RPCEndpoint("anvil_setBalance"), [each.address, hex(10**9 * _ETHER)]
        )
    deployer = Deployer(chain, ASKER, _POLICY)
    token = await deployer.test_token()
    address = await deployer.ai_contract(token)
    asker = await AiContract.at(chain, address, ASKER, _POLICY)
    await asker.set_model(MODEL, PRICE)
    await asker.register_node("system", "node-1", OPERATOR.address)
    await deployer.mint(token, ASKER.address, 10**15)
    session_id = await asker.start_user_session(10**15)
    operator = await AiContract.at(chain, address, OPERATOR, _POLICY)
    return Ground(url, url.replace("http", "ws", 1), folder, chain, asker, operator, session_id)
