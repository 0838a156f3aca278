"""``prepaid chain session``: start, fund, look at and close sessions on a chain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from prepaid.cli.chain.connecting import SinceBlock, on_chain
from prepaid.cli.options import AsJson, examples
from prepaid.cli.output import console, fields_of, pairs, table, write_json
from prepaid.cli.running import refusals_told
from prepaid.money import Currency, format_amount

if TYPE_CHECKING:
    from prepaid.chain.ai import AiContract, SessionBooks

__all__ = ["ChainSessionId", "app", "token_fields"]

app = typer.Typer(no_args_is_help=True, help="Start, fund, look at and close sessions on a chain.")

ChainSessionId = Annotated[
    int, typer.Argument(metavar="SESSION_ID", min=0, help="As session start printed it.")
]
Amount = Annotated[
    str | None,
    typer.Argument(
        metavar="AMOUNT", help='Such as "5 USDT"; without it, all that lies at the deposit address.'
    ),
]


@app.command(epilog=examples('prepaid chain session start "5 USDT"', "prepaid chain session start --json"))
@refusals_told
def start(amount: Amount = None, as_json: AsJson = False) -> None:
    """Start a session of the wallet's, and print its id. The allowance is given on the way."""

    async def work(ai: AiContract) -> dict[str, Any]:
        return await _fields(ai, await ai.start_user_session(amount))

    _show(on_chain(work), as_json=as_json)


@app.command(
    epilog=examples('prepaid chain session fund 9722…0929 "5 USDT"', "prepaid chain session fund 9722…0929")
)
@refusals_told
def fund(session_id: ChainSessionId, amount: Amount = None, as_json: AsJson = False) -> None:
    """Add money to a session, which need not be the wallet's."""

    async def work(ai: AiContract) -> dict[str, Any]:
        added = await ai.fund_session(session_id, amount)
        return await _fields(ai, session_id) | {"added": added}

    _show(on_chain(work), as_json=as_json)


@app.command(epilog=examples("prepaid chain session close 9722…0929"))
@refusals_told
def close(session_id: ChainSessionId, as_json: AsJson = False) -> None:
    """End a session: what is free is paid back at once, what requests hold follows as they settle."""

    async def work(ai: AiContract) -> dict[str, Any]:
        closed = await ai.close_user_session(session_id)
        return await _fields(ai, session_id) | {"refunded": closed.refund}

    _show(on_chain(work), as_json=as_json)


@app.command(
    epilog=examples("prepaid chain session show 9722…0929", "prepaid chain session show 9722…0929 --json")
)
@refusals_told
def show(session_id: ChainSessionId, as_json: AsJson = False) -> None:
    """Show what a session has, whosever it is. Takes no wallet."""

    async def work(ai: AiContract) -> dict[str, Any]:
        return await _fields(ai, session_id)

    _show(on_chain(work, is_signing=False), as_json=as_json)


@app.command(
    name="list",
    epilog=examples("prepaid chain session list", "prepaid chain session list --owner 0x… --json"),
)
@refusals_told
def list_(
    owner: Annotated[
        str | None, typer.Option("--owner", metavar="ADDRESS", help="Whose; the wallet's by default.")
    ] = None,
    since_block: SinceBlock = 0,
    as_json: AsJson = False,
) -> None:
    """List an owner's sessions, newest first, closed ones too."""

    async def work(ai: AiContract) -> list[dict[str, Any]]:
        from prepaid.chain.listing import sessions_since

        found = await sessions_since(ai, owner or ai.contract.caller, since_block)
        return [_books(ai, books) for books in found]

    found = on_chain(work, is_signing=owner is None)
    if as_json:
        write_json(found)
    elif not found:
        console().print("No sessions.")
    else:
        columns = ("session", "state", ">available", ">held", "owner")
        told = [_told(fields) for fields in found]
        console().print(table(columns, [[each[name.strip(">")] for name in columns] for each in told]))


def token_fields(token: Currency) -> dict[str, Any]:
    """What amounts are in."""
    return {"currency": token.code, "decimals": token.decimals}


async def _fields(ai: AiContract, session_id: int) -> dict[str, Any]:
    return _books(ai, await ai.session_of(session_id))


def _books(ai: AiContract, books: SessionBooks) -> dict[str, Any]:
    """The id is text: it has more digits than numbers in JavaScript do."""
    identity = {"session_id": str(books.session_id)}
    return fields_of(books) | identity | token_fields(ai.token.currency)


def _show(fields: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_json(fields)
    else:
        console().print(pairs(_told(fields)))


def _told(fields: dict[str, Any]) -> dict[str, str]:
    """As people read it."""
    token = Currency(fields["currency"], fields["decimals"])
    amounts = {
        name: format_amount(fields[name], token)
        for name in ("added", "refunded", "available", "held")
        if name in fields
    }
    state = "open" if fields["is_open"] else "closed"
    return {"session": fields["session_id"], "owner": fields["owner"], "state": state} | amounts
