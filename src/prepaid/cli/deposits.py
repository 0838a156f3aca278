"""``prepaid deposit`` and ``withdraw``: a user's money before it is in any session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from prepaid.cli.options import MONEY, AsJson, Database, UserId, examples
from prepaid.cli.output import console, plain, write_json
from prepaid.cli.running import refusals_told, run
from prepaid.money import currency, format_amount

if TYPE_CHECKING:
    from prepaid.sessions.manager import SessionManager
    from prepaid.store.operations import Funded

__all__ = ["add_to"]

Amount = Annotated[str, typer.Argument(metavar="AMOUNT", help='Such as "10 USD".')]
Key = Annotated[
    str | None, typer.Option("--key", metavar="KEY", help="The same key and amount move money once.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    told = examples('prepaid deposit ann "10 USD"', "prepaid session create ann --from-deposit")
    app.command(rich_help_panel=MONEY, epilog=told)(deposit)
    app.command(rich_help_panel=MONEY, epilog=examples('prepaid withdraw ann "2.50 USD"'))(withdraw)


@refusals_told
def deposit(
    user: UserId, amount: Amount, key: Key = None, database: Database = None, as_json: AsJson = False
) -> None:
    """Put money aside for a user, to start sessions from."""

    async def work(manager: SessionManager) -> dict[str, Any]:
        return _fields(user, manager, await manager.deposit(user, amount, key=key))

    _told(run(database, work, may_create=True), as_json=as_json)


@refusals_told
def withdraw(
    user: UserId, amount: Amount, key: Key = None, database: Database = None, as_json: AsJson = False
) -> None:
    """Pay out of a user's deposit."""

    async def work(manager: SessionManager) -> dict[str, Any]:
        return _fields(user, manager, await manager.withdraw(user, amount, key=key))

    _told(run(database, work), as_json=as_json)


def _fields(user: str, manager: SessionManager, funded: Funded) -> dict[str, Any]:
    code = manager.settings.currency
    return {"user_id": user, "available": funded.available, "funded": funded.funded, "currency": code}


def _told(fields: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_json(fields)
    else:
        available = format_amount(fields["available"], currency(fields["currency"]))
        console().print(plain(f"{fields['user_id']} has {available} in deposit."))
