"""What stands on a local chain: test USDT, the contracts, a model for sale, people with money, a node.

The node is the one that operators run, with the offline model, a ledger and a journal of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from prepaid.chain.ai import AiContract
from prepaid.chain.connection import Chain
from prepaid.chain.deploying import Deployer, ManagerConfig
from prepaid.chain.local.chain import LocalChain
from prepaid.chain.manager import ManagerContract
from prepaid.chain.node import run_node
from prepaid.chain.sending import Policy
from prepaid.chain.values import CallType, ChainModel
from prepaid.chain.wallets import Wallet
from prepaid.config import ChainSettings, NodeSettings, Settings
from prepaid.sessions.manager import SessionManager

__all__ = [
    "MODEL",
    "NODE",
    "NODE_USER",
    "PRICE",
    "RunningNode",
    "Stage",
    "node_settings",
    "running_node",
    "set_stage",
]

MODEL: Final = "gpt-3.5-turbo"
"""What it is called on the chain; the offline model answers for it."""

NODE: Final = "system.node-1"
NODE_USER: Final = "node"
"""Whose ledger session pays the models."""

PRICE: Final = ChainModel(10, 20, 20_000, frozenset(CallType))
"""In millionths of a USDT; answered directly, and by content id where the node keeps content."""

_USDT: Final = 10**6
_MINIMUM: Final = 5 * _USDT
_QUICK: Final = Policy(timeout_seconds=60)
_OFFLINE: Final = "offline"
_CONTENT_TOKENS_MAX: Final = 1_024
"""What the price of a content id's 128 bytes pays for."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything is. ``admin`` deployed it, offers the models and registers system nodes."""

    local: LocalChain
    chain: Chain
    admin: Wallet
    token: str
    ai: str
    manager: str

    async def ai_of(self, wallet: Wallet) -> AiContract:
        """The AI contract in somebody's hands."""
        return await AiContract.at(self.chain, self.ai, wallet, _QUICK)

    async def manager_of(self, wallet: Wallet) -> ManagerContract:
        """The session manager in somebody's hands."""
        return await ManagerContract.at(self.chain, self.manager, wallet, _QUICK)

    async def welcome(self, wallet: Wallet, usdt: int = 0) -> None:
        """Give somebody ether for gas, and this many whole test USDT."""
        await self.local.give_ether(wallet.address)
        if usdt:
            await self.deployer().mint(self.token, wallet.address, usdt * _USDT)

    def deployer(self, wallet: Wallet | None = None) -> Deployer:
        """Deploys in somebody's name, by default the administrator's."""
        return Deployer(self.chain, wallet or self.admin, _QUICK)


async def set_stage(local: LocalChain, chain: Chain, admin: Wallet) -> Stage:
    """Deploy test USDT, the AI contract and a session manager, and offer ``MODEL`` at ``PRICE``."""
    await local.give_ether(admin.address)
    deployer = Deployer(chain, admin, _QUICK)
    token = await deployer.test_token()
    ai = await deployer.ai_contract(token)
    manager = await deployer.session_manager(ai, ManagerConfig(_MINIMUM))
    stage = Stage(local, chain, admin, token, ai, manager)
    await (await stage.ai_of(admin)).set_model(MODEL, PRICE)
    return stage


async def node_settings(
    stage: Stage, folder: Path, name: str, fund: str, serve_port: int | None = None
) -> Settings:
    """Settings of a node with its files in ``folder``; its ledger session has ``fund`` for the model.

    With ``serve_port`` it answers by content id as well, and serves the content there.
    """
    database = str(folder / "node-ledger.db")
    async with SessionManager(settings=Settings(database=database, currency="USDT")) as manager:
        session = await manager.create_session(NODE_USER, fund, session_name=name)
    return Settings(
        database=database,
        currency="USDT",
        chain=ChainSettings(
            rpc_url=SecretStr(stage.local.socket_url),
            chain_id=stage.chain.chain_id,
            ai_contract=stage.ai,
            poll_seconds=0.2,
        ),
        node=NodeSettings(
            name=name,
            models={MODEL: _OFFLINE},
            session_id=session.session_id,
            journal=str(folder / "node-journal.db"),
            serve_port=serve_port,
            content_store=None if serve_port is None else str(folder / "node-content.db"),
            content_tokens_max=_CONTENT_TOKENS_MAX,
        ),
    )


@dataclass(frozen=True, slots=True)
class RunningNode:
    """``task`` ends when the node does. ``gateway_url`` is where it serves content, if it does."""

    task: asyncio.Task[None]
    gateway_url: str | None


@asynccontextmanager
async def running_node(settings: Settings, operator: Wallet) -> AsyncGenerator[RunningNode]:
    """A node in this process, as long as the block lasts; what ends it early is raised at the end."""
    stop = asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run_node(settings, stop, operator, port.set_result))
    gateway = None
    try:
        if settings.node.serve_port is not None:
            await asyncio.wait((task, port), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
            gateway = f"http://127.0.0.1:{port.result()}"
        yield RunningNode(task, gateway)
    finally:
        stop.set()
        await task
