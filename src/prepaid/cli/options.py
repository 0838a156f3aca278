"""Options that many commands share, and how examples stand in their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

__all__ = [
    "CHECK",
    "MONEY",
    "OPERATE",
    "START",
    "AsJson",
    "Config",
    "Contract",
    "Database",
    "Rpc",
    "SessionId",
    "UserId",
    "examples",
]

START: Final = "Start here"
MONEY: Final = "Sessions and money"
CHECK: Final = "Look and check"
OPERATE: Final = "Operate"
"""The panels in which ``prepaid --help`` shows the commands."""

Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        "-d",
        metavar="FILE|URL",
        help="A file or postgresql://…; otherwise PREPAID_DATABASE, prepaid.toml, or prepaid.db.",
        show_default=False,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="Otherwise PREPAID_CONFIG, or prepaid.toml here."),
]
Rpc = Annotated[
    str | None,
    typer.Option("--rpc", metavar="URL", help="The chain's endpoint; otherwise chain.rpc_url."),
]
Contract = Annotated[str | None, typer.Option("--contract", metavar="ADDRESS", help="The AI contract.")]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Write one JSON value; amounts are in base units.", show_default=False),
]
SessionId = Annotated[str, typer.Argument(metavar="SESSION_ID", help="As session create printed it.")]
UserId = Annotated[str, typer.Argument(metavar="USER", help="Whoever it is for: any name or id of yours.")]


def examples(*lines: str) -> str:
    """An epilogue: each example on a line of its own."""
    return "**Examples**\n\n" + "  \n".join(f"`{line}`" for line in lines)
