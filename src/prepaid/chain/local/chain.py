"""A chain of one's own on 127.0.0.1, as long as a block lasts: anvil where it is, else in this process.

Either speaks JSON-RPC over HTTP and WebSocket, makes a block of every transaction at once, and lets time
pass when told to.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from web3.types import RPCEndpoint

from prepaid.chain.local.anvil import find_anvil, running_anvil
from prepaid.chain.rpc import HttpRpc, Patience
from prepaid.errors import ChainError, ConfigError

__all__ = ["CHAIN_ID", "Engine", "LocalChain", "local_chain"]

CHAIN_ID: Final = 31_337
"""What anvil and others give to chains that are nobody else's."""

_WEI: Final = 10**18
_PATIENCE: Final = Patience(timeout_seconds=30.0)


class Engine(StrEnum):
    """What runs the chain."""

    ANVIL = "anvil"
    PY_EVM = "py-evm"


class LocalChain:
    """A chain that runs; ``url`` and ``socket_url`` lead to it. Accounts have what ``give_ether`` gave."""

    def __init__(self, engine: Engine, port: int, rpc: HttpRpc) -> None:
        self.engine = engine
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.socket_url = f"ws://127.0.0.1:{port}"
        self._rpc = rpc

    async def rpc(self, method: str, *params: Any) -> Any:
        """The result of any method, the chain's own too.

        Raises:
            ChainError: it refused.
        """
        answer = await self._rpc.make_request(RPCEndpoint(method), list(params))
        if "error" in answer:
            raise ChainError(
                f"The local chain refused {method}: {str(answer['error'])[:200]}.", remedy="See its message."
            )
        return answer["result"]

    async def give_ether(self, address: str, ether: int = 100) -> None:
        """Let an account have this much ether, for gas, whatever it had."""
        await self.rpc("anvil_setBalance", address, hex(ether * _WEI))

    async def later(self, seconds: int) -> None:
        """Let time pass, and a block be made of it."""
        await self.rpc("evm_increaseTime", seconds)
        await self.rpc("evm_mine")


@asynccontextmanager
async def local_chain(engine: Engine | None = None, *, port: int = 0) -> AsyncGenerator[LocalChain]:
    """A new chain with id 31337, on a free port or on ``port``, as long as the block lasts.

    Without ``engine``: anvil where ``find_anvil`` finds one, else the EVM in this process.

    Raises:
        ConfigError: the engine is not installed.
        ChainError: it does not start; the port is taken, for example.
    """
    binary = find_anvil()
    chosen = engine or (Engine.PY_EVM if binary is None else Engine.ANVIL)
    async with AsyncExitStack() as opened:
        if chosen is Engine.ANVIL:
            listening = await opened.enter_async_context(running_anvil(_required(binary), port, CHAIN_ID))
        else:
            listening = await opened.enter_async_context(_served_evm(port))
        rpc = HttpRpc(f"http://127.0.0.1:{listening}", _PATIENCE)
        opened.push_async_callback(rpc.disconnect)
        yield LocalChain(chosen, listening, rpc)


def _required(binary: Path | None) -> Path:
    if binary is None:
        raise ConfigError("anvil was not found.", remedy="Install Foundry, or leave the choice to prepaid.")
    return binary


@asynccontextmanager
async def _served_evm(port: int) -> AsyncGenerator[int]:
    try:
        from prepaid.chain.local.server import served_evm  # noqa: PLC0415 -- py-evm is an extra
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"There is no anvil, and {error.name} is not installed.",
            remedy='pip install "prepaid[local-chain]", or install Foundry.',
        ) from None
    async with served_evm(port, CHAIN_ID) as listening:
        yield listening
