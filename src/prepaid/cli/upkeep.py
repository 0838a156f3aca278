"""``prepaid stats``, ``cleanup`` and ``models``: what is there, what is due, what it costs."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from prepaid.cli.options import CHECK, OPERATE, AsJson, Database, examples
from prepaid.cli.output import console, fields_of, pairs, table, when, write_json
from prepaid.cli.running import read_settings, refusals_told, run
from prepaid.money import currency, format_amount

if TYPE_CHECKING:
    from prepaid.records import ModelInfo
    from prepaid.sessions.manager import SessionManager

__all__ = ["add_to"]

_BATCH: Final = 256
_MONEY: Final = ("available", "held", "spent", "refunded")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    told = examples("prepaid stats", "prepaid stats --user ann --json")
    app.command(rich_help_panel=CHECK, epilog=told)(stats)
    app.command(rich_help_panel=CHECK)(models)
    told = examples("prepaid cleanup", "prepaid cleanup --max-age 86400")
    app.command(rich_help_panel=OPERATE, epilog=told)(cleanup)


@refusals_told
def stats(
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="Only this user.")] = None,
    database: Database = None,
    as_json: AsJson = False,
) -> None:
    """Active sessions, users, chats and money, or what one user did."""

    async def work(manager: SessionManager) -> dict[str, Any]:
        code = {"currency": manager.settings.currency}
        if user is None:
            return fields_of(await manager.get_system_stats()) | code
        return fields_of(await manager.get_user_activity(user)) | code

    found = run(database, work)
    if as_json:
        write_json(found)
        return
    code = found.pop("currency")
    console().print(
        pairs({name.replace("_", " "): _value(name, value, code) for name, value in found.items()})
    )


@refusals_told
def cleanup(
    max_age: Annotated[
        float | None,
        typer.Option(
            "--max-age", metavar="SECONDS", min=0.001, help="Idle for so long; otherwise each one's own."
        ),
    ] = None,
    database: Database = None,
    as_json: AsJson = False,
) -> None:
    """Close and refund sessions that are expired or idle too long, and settle what a crash left behind."""
    from prepaid.cli.cleaning import Cleaned, clean

    async def work(manager: SessionManager) -> Cleaned:
        return await clean(manager, max_age, _BATCH)

    done = run(database, work)
    if as_json:
        write_json(done)
        return
    refunded = format_amount(done.refunded, currency(done.currency))
    console().print(
        f"{done.closed:,} sessions closed, {refunded} refunded, {done.settled:,} requests settled."
    )


@refusals_told
def models(database: Database = None, as_json: AsJson = False) -> None:
    """Every model that can be asked, with its price and limits. Prices are per million units."""
    from prepaid.models.catalogue import Catalogue

    found = Catalogue(read_settings(database)).list()
    if as_json:
        write_json([fields_of(info) | {"price": _price_fields(info)} for info in found])
        return
    columns = ("model", "from", "unit", ">in", ">out", ">request", ">context", ">output", "can do")
    console().print(table(columns, [row for info in found for row in _price_rows(info)]))


def _price_fields(info: ModelInfo) -> dict[str, Any]:
    return fields_of(info.price) | {"tiers": [fields_of(tier) for tier in info.price.tiers]}


def _price_rows(info: ModelInfo) -> list[tuple[str, ...]]:
    """One row for each tier of the price."""
    price, asset = info.price, currency(info.price.asset)
    rows = []
    for tier in price.tiers:
        name = f"  above {tier.input_above:,}" if tier.input_above else info.name
        amounts = [format_amount(each, asset) for each in (tier.input_per_million, tier.output_per_million)]
        limits = (f"{info.context_tokens_max:,}", f"{info.output_tokens_max:,}")
        per_request = format_amount(price.per_request, asset) if price.per_request else "–"
        apis = ", ".join(sorted(info.apis))
        rows.append((name, info.provider, price.unit.value, *amounts, per_request, *limits, apis))
    return rows


def _value(name: str, value: Any, code: str) -> str:
    if name in _MONEY:
        return format_amount(value, currency(code))
    if value is None or isinstance(value, datetime):
        return when(value)
    return f"{value:.2f}" if isinstance(value, float) else str(value)
