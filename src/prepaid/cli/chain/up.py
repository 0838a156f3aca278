"""``prepaid chain up``: a chain with everything on it, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from prepaid.cli.chain.connecting import require_extra
from prepaid.cli.options import AsJson, examples
from prepaid.cli.output import console, hint, pairs, write_json
from prepaid.cli.running import refusals_told
from prepaid.files import make_private_folder
from prepaid.money import USDT, format_amount

if TYPE_CHECKING:
    from prepaid.chain.local.trial import Trial

__all__ = ["add_to"]

_PORT: Final = 8545
"""Where Foundry, Hardhat and ethers look for a local chain."""


class Engine(StrEnum):
    """What runs the chain."""

    ANVIL = "anvil"
    PY_EVM = "py-evm"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    told = examples(
        "prepaid chain up", "prepaid chain up --port 0 --json", "prepaid chain up --folder my-chain"
    )
    app.command(epilog=told)(up)


@refusals_told
def up(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, metavar="PORT", help="0 for any that is free.")
    ] = _PORT,
    engine: Annotated[
        Engine | None, typer.Option("--engine", help="Otherwise anvil where it is, else py-evm.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            metavar="FOLDER",
            help="Where keys and the node's files go and stay; otherwise a folder that goes at the end.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Start a local chain for trying things out: test USDT, the contracts, an account with money, and a node.

    The node answers with the offline model. Addresses, and where the keys are, are printed once all of it is
    ready; what the node does is told on standard error, one JSON object a line. Ctrl-C ends it, and the chain
    is gone then.
    """
    from prepaid.cli.demo.stage import untouched_by_settings

    with untouched_by_settings(), _folder(folder) as place:
        asyncio.run(_run(place, port, engine, as_json=as_json))


async def _run(folder: Path, port: int, engine: Engine | None, *, as_json: bool) -> None:
    try:
        from prepaid.chain.local import Engine as Chosen
        from prepaid.chain.local.trial import trial
        from prepaid.gateway import logs
    except ModuleNotFoundError as error:
        raise require_extra("local-chain", error.name) from None
    logs.configure("info")
    running = asyncio.current_task()
    assert running is not None
    for told in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(told, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        async with trial(folder, None if engine is None else Chosen(engine), port) as ready:
            _tell(ready, as_json=as_json)
            await ready.node.task


def _tell(ready: Trial, *, as_json: bool) -> None:
    fields = ready.fields()
    if as_json:
        write_json(fields)
        return
    out = console()
    out.print(pairs(_told(fields)))
    hint(f"\nTo use it, from another terminal:\n  set -a; . {ready.environment}")
    hint('  prepaid chain session start "5 USDT"')
    hint('  prepaid chain request SESSION_ID "Why is the sky blue?"')
    hint(f"  forge create … --rpc-url {fields['rpc_url']} --keystore {fields['keystores']['account']}")
    out.print("\nCtrl-C ends it.")


def _told(fields: dict[str, Any]) -> dict[str, str]:
    """What people need first."""
    price = fields["price"]
    return {
        "RPC": f"{fields['rpc_url']}  {fields['ws_url']}",
        "chain id": f"{fields['chain_id']}  ({fields['engine']})",
        "test USDT": f"{fields['token']}  (6 decimals, returns nothing)",
        "AI contract": fields["ai_contract"],
        "session manager": fields["session_manager"],
        "account": f"{fields['account']}  ({format_amount(fields['account_units'], USDT)}, 100 ether)",
        "node": f"{fields['node']}, operated by {fields['operator']}",
        "content gateway": f"{fields['gateway_url']}  (what the node answers by content id)",
        "model": f"{fields['model']}: {price['fee_per_byte_req']} for a byte of the question,"
        f" {price['fee_per_byte_res']} for one of the answer, at most {price['total_fee_per_res']}"
        " for an answer, in millionths of a USDT",
        "administrator": fields["administrator"],
        "keys": f"{fields['folder']}  (keystores; their password is in the file password)",
    }


@contextmanager
def _folder(named: Path | None) -> Generator[Path]:
    """The folder that was named, which stays; or a temporary one."""
    if named is not None:
        make_private_folder(named)
        yield named.resolve()
        return
    made = Path(tempfile.mkdtemp(prefix="prepaid-chain-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
