"""All commands, put together."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from prepaid.cli import (
    chat,
    configuring,
    deposits,
    keys,
    moving,
    node,
    pool,
    serve,
    sessions,
    statements,
    upkeep,
)
from prepaid.cli.chain.app import app as chain
from prepaid.cli.demo import command as demo
from prepaid.cli.failures import report_usage
from prepaid.cli.options import MONEY, OPERATE, examples

__all__ = ["app"]


class Commands(TyperGroup):
    """The commands, told in JSON about wrong usage where JSON was asked for."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run one. With ``--json``, wrong usage is told as JSON too."""
        given = kwargs.get("args") or (args[0] if args else None)
        if "--json" not in (sys.argv[1:] if given is None else given):
            return super().main(*args, **kwargs)
        try:
            code = super().main(*args, **kwargs | {"standalone_mode": False})
        except typer.TyperException as error:
            report_usage(error.format_message())
            sys.exit(error.exit_code)
        sys.exit(code or 0)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "prepaid demo",
        'prepaid session create ann --fund "10 USD"',
        'prepaid chat --user ann --fund "1 USD"',
    ),
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"prepaid {version('prepaid')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """AI sessions that are paid before they are used.

    Fund a session, spend it on any number of requests and chats, never a unit more than it holds, and get
    back what is left. Results go to standard output, errors to standard error; exit codes are 0 (done),
    1 (refused or failed) and 2 (wrong usage).
    """


demo.add_to(app)
serve.add_to(app)
node.add_to(app)
chat.add_to(app)
app.add_typer(sessions.app, name="session", rich_help_panel=MONEY)
app.add_typer(chain, name="chain", rich_help_panel=MONEY)
app.add_typer(pool.app, name="pool", rich_help_panel=MONEY)
app.add_typer(keys.app, name="key", rich_help_panel=MONEY)
deposits.add_to(app)
statements.add_to(app)
moving.add_to(app)
upkeep.add_to(app)
app.add_typer(configuring.app, name="config", rich_help_panel=OPERATE)
