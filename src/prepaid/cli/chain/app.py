"""``prepaid chain``, put together."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from prepaid.cli.chain import asking, nodes, sessions, up
from prepaid.cli.options import Config, Contract, Rpc, examples

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    epilog=examples(
        "prepaid chain up",
        'prepaid chain session start "5 USDT"',
        'prepaid chain request 9722…0929 "Why is the sky blue?" --model gpt-3.5-turbo',
    ),
)


@app.callback()
def chain(
    rpc: Rpc = None,
    contract: Contract = None,
    keystore: Annotated[
        Path | None, typer.Option("--keystore", metavar="FILE", help="The wallet that signs.")
    ] = None,
    config: Config = None,
) -> None:
    """Sessions in USDT on an EVM chain, and a local chain to try them on.

    What is not said here is read from [chain] in prepaid.toml and from the environment. The wallet is a
    keystore, a signer elsewhere, or the key in PREPAID_CHAIN_KEY: keys and passwords never are on the command
    line.
    """
    given = {
        "PREPAID_CONFIG": config,
        "PREPAID_CHAIN__RPC_URL": rpc,
        "PREPAID_CHAIN__AI_CONTRACT": contract,
        "PREPAID_CHAIN__KEYSTORE": keystore,
    }
    os.environ.update({key: str(value) for key, value in given.items() if value is not None})


up.add_to(app)
app.add_typer(sessions.app, name="session")
asking.add_to(app)
app.add_typer(nodes.app, name="node")
nodes.add_to(app)
