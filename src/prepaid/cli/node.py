"""``prepaid node``: answers the requests of contracts, for as long as it is not told to stop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prepaid.cli.options import START, Config, Contract, Database, Rpc, examples
from prepaid.cli.running import must_exist, refusals_told

if TYPE_CHECKING:
    from prepaid.config import Settings

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    told = examples(
        "prepaid node --name my-namespace.node-1 --models gpt-4o-mini --session ses_…",
        "prepaid node --rpc wss://rpc.example --keystore node.json --models gpt-3.5-turbo=offline",
    )
    app.command(rich_help_panel=START, epilog=told)(node)


@refusals_told
def node(
    rpc: Rpc = None,
    contract: Contract = None,
    keystore: Annotated[
        Path | None, typer.Option("--keystore", metavar="FILE", help="The wallet of the node's operator.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAMESPACE.NODE", help="What the node is registered as.")
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            "--models",
            metavar="NAME[=OURS],…",
            help="Models to answer with; OURS, if it has another name here.",
        ),
    ] = None,
    session: Annotated[
        str | None,
        typer.Option("--session", metavar="SESSION_ID", help="The ledger session that pays for the models."),
    ] = None,
    config: Config = None,
    database: Database = None,
) -> None:
    """Answer the requests of contracts with models, paid on chain.

    What is not said here is read from [chain] and [node] in prepaid.toml. Keys and passwords never are on the
    command line. Logs go to standard error, one JSON object a line. SIGTERM ends it once models that were
    asked have answered; whatever ends it, the next start goes on from there.
    """
    given = {
        "PREPAID_CONFIG": config,
        "PREPAID_DATABASE": database,
        "PREPAID_CHAIN__RPC_URL": rpc,
        "PREPAID_CHAIN__AI_CONTRACT": contract,
        "PREPAID_CHAIN__KEYSTORE": keystore,
        "PREPAID_NODE__NAME": name,
        "PREPAID_NODE__MODELS": None if models is None else json.dumps(_named(models)),
        "PREPAID_NODE__SESSION_ID": session,
    }
    os.environ.update({key: str(value) for key, value in given.items() if value is not None})
    from prepaid.config import Settings

    settings = Settings()
    must_exist(settings)
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    try:
        from prepaid.chain.node import run_node
        from prepaid.gateway import logs
    except ModuleNotFoundError as error:
        from prepaid.errors import ConfigError

        raise ConfigError(f"{error.name} is not installed.", remedy='pip install "prepaid[chain]"') from None
    logs.configure(settings.gateway.log_level)
    stop = asyncio.Event()
    for told in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(told, stop.set)
    await run_node(settings, stop)


def _named(models: str) -> dict[str, str]:
    """``a,b=c`` as names on chain and ours."""
    pairs = (each.partition("=") for each in models.split(",") if each)
    return {on_chain.strip(): (ours or on_chain).strip() for on_chain, _, ours in pairs}
