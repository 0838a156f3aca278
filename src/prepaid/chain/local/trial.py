"""A local chain with everything on it that a dApp's developer needs: ``prepaid chain up``, and tests."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from prepaid.chain.connection import Chain
from prepaid.chain.local.chain import Engine, local_chain
from prepaid.chain.local.stage import (
    MODEL,
    NODE,
    PRICE,
    RunningNode,
    Stage,
    node_settings,
    running_node,
    set_stage,
)
from prepaid.chain.wallets import KeyWallet
from prepaid.errors import ConfigError
from prepaid.files import private

__all__ = ["Trial", "trial"]

_USDT: Final = 10_000
_BUDGET: Final = "1000 USDT"
_POLL_SECONDS: Final = 0.05
_ROLES: Final = ("account", "administrator", "operator")


@dataclass(frozen=True, slots=True)
class Trial:
    """What runs. ``wallets`` are by role."""

    stage: Stage
    folder: Path
    wallets: dict[str, KeyWallet]
    node: RunningNode

    @property
    def environment(self) -> Path:
        """A file of variables, for shells and for whatever of ours is to use the chain as the account."""
        return self.folder / "chain.env"

    def fields(self) -> dict[str, Any]:
        """Where everything is; amounts in base units."""
        local = self.stage.local
        return {
            "rpc_url": local.url,
            "ws_url": local.socket_url,
            "chain_id": self.stage.chain.chain_id,
            "engine": local.engine.value,
            "token": self.stage.token,
            "currency": "USDT",
            "decimals": 6,
            "ai_contract": self.stage.ai,
            "session_manager": self.stage.manager,
            **{role: wallet.address for role, wallet in self.wallets.items()},
            "account_units": _USDT * 10**6,
            "node": NODE,
            "gateway_url": self.node.gateway_url,
            "model": MODEL,
            "price": asdict(PRICE) | {"apis": sorted(each.name for each in PRICE.apis)},
            "folder": str(self.folder),
            "environment": str(self.environment),
            "keystores": {role: str(self.folder / f"{role}.json") for role in _ROLES},
            "password_file": str(self.folder / "password"),
        }


@asynccontextmanager
async def trial(folder: Path, engine: Engine | None = None, port: int = 0) -> AsyncGenerator[Trial]:
    """The chain, contracts, money and node, as long as the block lasts; keys and files in ``folder``.

    Raises:
        ConfigError: the folder is another chain's, or the engine is not installed.
        ChainError: it does not start.
    """
    if any((folder / name).exists() for name in ("chain.env", "node-ledger.db")):
        raise ConfigError(
            f"{folder} has the keys and files of another local chain, which is gone.",
            remedy="Remove it, or name another folder.",
        )
    wallets = {role: KeyWallet.create() for role in _ROLES}
    async with (
        local_chain(engine, port=port) as local,
        await Chain.connect(local.url, poll_seconds=_POLL_SECONDS) as chain,
    ):
        stage = await set_stage(local, chain, wallets["administrator"])
        await stage.welcome(wallets["account"], _USDT)
        await stage.welcome(wallets["operator"])
        admin = await stage.ai_of(stage.admin)
        namespace, name = NODE.split(".")
        await admin.register_node(namespace, name, wallets["operator"].address)
        settings = await node_settings(stage, folder, NODE, _BUDGET, serve_port=0)
        async with running_node(settings, wallets["operator"]) as node:
            ready = Trial(stage, folder, wallets, node)
            _write_keys(ready)
            yield ready


def _write_keys(ready: Trial) -> None:
    """Keystores and their password, and the file of variables; only this user can read them."""
    password = secrets.token_hex(16)
    for role, wallet in ready.wallets.items():
        wallet.to_keystore(ready.folder / f"{role}.json", lambda: password, is_for_tests=True)
    _write(ready.folder / "password", password)
    told = ready.fields()
    variables = {
        "PREPAID_CHAIN__RPC_URL": told["rpc_url"],
        "PREPAID_CHAIN__CHAIN_ID": told["chain_id"],
        "PREPAID_CHAIN__AI_CONTRACT": told["ai_contract"],
        "PREPAID_CHAIN__SESSION_MANAGER": told["session_manager"],
        "PREPAID_CHAIN__KEYSTORE": told["keystores"]["account"],
        "PREPAID_CHAIN__PASSWORD_FILE": told["password_file"],
        "PREPAID_CHAIN__POLL_SECONDS": _POLL_SECONDS,
        "PREPAID_DEFAULT_MODEL": MODEL,
        "TOKEN": told["token"],
        "ACCOUNT": told["account"],
        "GATEWAY": told["gateway_url"],
    }
    lines = [f"{name}={shlex.quote(str(value))}" for name, value in variables.items()]
    _write(ready.environment, "\n".join(lines))
    ready.wallets["account"].to_environment(ready.environment)


def _write(path: Path, text: str) -> None:
    with open(path, "x", encoding="utf-8", opener=private) as file:
        file.write(f"{text}\n")
