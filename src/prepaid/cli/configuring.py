"""``prepaid config``: what is configured, where it comes from, and what can be changed while it runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from prepaid.cli.options import AsJson, Database, examples
from prepaid.cli.output import console, plain, table, write_json
from prepaid.cli.running import read_settings, refusals_told, run, workspace_of
from prepaid.errors import InvalidRequestError

if TYPE_CHECKING:
    from prepaid.sessions.manager import SessionManager

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="See what is configured; change what may change while it runs.")

_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
_ZERO: Final = re.compile(r"0+(\.0*)?(\s*[A-Za-z]+)?")


@app.command(
    epilog=examples("prepaid config show", "PREPAID_SESSIONS__POOL_SIZE=9 prepaid config show --json")
)
@refusals_told
def show(database: Database = None, as_json: AsJson = False) -> None:
    """Every setting with its value and where that comes from. Secrets are masked."""
    from prepaid.cli.settings_view import effective
    from prepaid.models.catalogue import Catalogue

    settings = read_settings(database)
    Catalogue(settings)  # refuses what `prepaid serve` would refuse

    async def work(manager: SessionManager) -> dict[str, str]:
        return workspace_of(manager).store.reads.settings()

    file = settings.database_file
    stored = run(database, work) if file is None or file.exists() else {}
    found = effective(settings, stored, is_named=database is not None)
    if as_json:
        write_json({line.name: {"value": line.value, "source": line.source} for line in found})
        return
    rows = [(line.name, "–" if line.value is None else str(line.value), line.source) for line in found]
    console().print(table(("setting", "value", "from"), rows))


@app.command(
    name="set",
    epilog=examples(
        'prepaid config set minimum_balance "1 USD"',
        "prepaid config set session_timeout 12h",
        "prepaid config set pool_size 20",
    ),
)
@refusals_told
def set_(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="minimum_balance, session_timeout or pool_size.")
    ],
    value: Annotated[
        str,
        typer.Argument(metavar="VALUE", help='An amount, a duration ("90", "15m", "12h", "7d"), a number.'),
    ],
    database: Database = None,
    as_json: AsJson = False,
) -> None:
    """Change a setting for every process that uses this database. It wins over file and environment.

    With --json, writes all that is set so, in base units and milliseconds.
    A new session_timeout holds for sessions opened after it. Everything else is set in prepaid.toml.
    """
    if name not in _PARSERS:
        raise InvalidRequestError(
            f"{name!r} cannot be changed here.",
            remedy=f"Known here: {', '.join(_PARSERS)}. The rest stands in prepaid.toml.",
        )
    wanted = {name: _PARSERS[name](value)}

    async def work(manager: SessionManager) -> dict[str, str]:
        await manager.update_config(**wanted)
        return workspace_of(manager).store.reads.settings()

    stored = run(database, work, may_create=True)
    if as_json:
        write_json({name: int(number) for name, number in stored.items()})
    else:
        console().print(plain(f"{name} is {value} from now on, in every process."))


def _amount(text: str) -> str | int:
    return 0 if _ZERO.fullmatch(text.strip()) else text


def _duration(text: str) -> float:
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise InvalidRequestError(f"{text!r} is not a duration.", remedy="Write 90, 15m, 12h or 7d.")
    return float(match[1]) * _SECONDS[match[2]]


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):  # noqa: PLR2004 -- a billion is no size
        raise InvalidRequestError(f"{text!r} is not a number of sessions.", remedy="Write digits.")
    return int(text)


_PARSERS: Final[dict[str, Any]] = {
    "minimum_balance": _amount,
    "session_timeout": _duration,
    "pool_size": _number,
}
