"""``prepaid serve``: the gateway, for as long as it is not told to stop."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prepaid.cli.options import START, Config, Database, examples
from prepaid.cli.running import refusals_told, run

if TYPE_CHECKING:
    from prepaid.config import Settings
    from prepaid.sessions.manager import SessionManager

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    told = examples("prepaid serve", "prepaid serve --port 9000 --workers 4 --database /srv/prepaid/app.db")
    app.command(rich_help_panel=START, epilog=told)(serve)


@refusals_told
def serve(
    host: Annotated[
        str | None,
        typer.Option("--host", metavar="ADDRESS", help="Where to listen; otherwise 127.0.0.1."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", "-p", min=0, max=65535, help="Otherwise 8000; 0 takes a free one."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-w", min=1, max=256, help="Processes that share the port.")
    ] = None,
    config: Config = None,
    database: Database = None,
) -> None:
    """Serve OpenAI's API and the REST API, paid from sessions.

    At the first start with a database, the operator's key is written to standard output, this once. Logs go
    to standard error, one JSON object a line. SIGTERM ends it once requests in flight are answered.
    """
    settings = _settled(host, port, workers, config, database)
    try:
        from prepaid.gateway.server import serve as run_gateway
    except ModuleNotFoundError as error:
        from prepaid.errors import ConfigError

        raise ConfigError(
            f"{error.name} is not installed.", remedy='pip install "prepaid[gateway]"'
        ) from None
    key = run(database, _first_key, may_create=True)
    if key is not None:
        typer.echo(f"The operator's key, which is shown this once: {key}")
        sys.stdout.flush()
    run_gateway(settings)


async def _first_key(manager: SessionManager) -> str | None:
    return await manager.first_operator_key()


def _settled(
    host: str | None, port: int | None, workers: int | None, config: Path | None, database: str | None
) -> Settings:
    """The settings, with what the command line says in the environment, where worker processes find it."""
    given = {
        "PREPAID_CONFIG": config,
        "PREPAID_DATABASE": database,
        "PREPAID_GATEWAY__HOST": host,
        "PREPAID_GATEWAY__PORT": port,
        "PREPAID_GATEWAY__WORKERS": workers,
    }
    os.environ.update({name: str(value) for name, value in given.items() if value is not None})
    from prepaid.config import Settings

    return Settings()
