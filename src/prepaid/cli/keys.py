"""``prepaid key``: API keys of sessions, users and the operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from prepaid.cli.options import AsJson, Database, examples
from prepaid.cli.output import console, hint, pairs, table, when, write_json
from prepaid.cli.running import refusals_told, run
from prepaid.money import currency, format_amount

if TYPE_CHECKING:
    from prepaid.records import ApiKeyRecord
    from prepaid.sessions.key_ring import IssuedKey
    from prepaid.sessions.manager import SessionManager

__all__ = ["app", "key_fields"]

app = typer.Typer(no_args_is_help=True, help="API keys: make them, list them, replace them, end them.")

OfSession = Annotated[
    str | None, typer.Option("--session", metavar="SESSION_ID", help="A key that spends this session.")
]
OfUser = Annotated[
    str | None, typer.Option("--user", metavar="USER", help="A key for all sessions of this user.")
]
KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="The key without its secret, as listed.")]


@app.command(
    epilog=examples(
        'prepaid key create --session ses_01m7y6qkv88hxy3a7ak1pr --cap "0.50 USD" --model offline',
        "prepaid key create --user ann",
        "prepaid key create",
    )
)
@refusals_told
def create(
    session_id: OfSession = None,
    user: OfUser = None,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="To tell it from others.")] = "",
    cap: Annotated[
        str | None, typer.Option("--cap", metavar="AMOUNT", help="What it may spend of the session in all.")
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", metavar="MODEL", help="All that it may ask; repeat it.")
    ] = None,
    expires_in: Annotated[
        float | None, typer.Option("--expires-in", metavar="SECONDS", help="How long it works.", min=0.001)
    ] = None,
    database: Database = None,
    as_json: AsJson = False,
) -> None:
    """Make a key, shown this once: of a session, of a user, or, with neither, of the operator."""
    from datetime import timedelta

    async def work(manager: SessionManager) -> IssuedKey:
        return await manager.create_api_key(
            user_id=user,
            session_id=session_id,
            name=name,
            cap=cap,
            models=models or None,
            expires_at=None if expires_in is None else timedelta(seconds=expires_in),
        )

    _told(run(database, work, may_create=session_id is None), as_json=as_json)


@app.command(name="list")
@refusals_told
def list_keys(
    session_id: OfSession = None,
    user: OfUser = None,
    after: Annotated[int, typer.Option("--after", metavar="NUMBER", help="Go on after this one.")] = 0,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="At most so many.")] = 100,
    database: Database = None,
    as_json: AsJson = False,
) -> None:
    """List keys, never their secrets: of a session, of a user, or, with neither, of the operator."""

    async def work(manager: SessionManager) -> list[ApiKeyRecord]:
        return manager.get_api_keys(user_id=user, session_id=session_id, after=after, limit=limit)

    found = run(database, work)
    if as_json:
        write_json([key_fields(each) for each in found])
        return
    columns = ("key", "name", ">cap", ">spent", "models", "expires", "state")
    console().print(table(columns, [_row(each) for each in found]))


@app.command(epilog=examples("prepaid key rotate pp_op.1 --grace 3600"))
@refusals_told
def rotate(
    key_id: KeyId,
    grace: Annotated[
        float | None,
        typer.Option("--grace", metavar="SECONDS", help="How long the old secret still works.", min=0.001),
    ] = None,
    database: Database = None,
    as_json: AsJson = False,
) -> None:
    """Replace a key's secret; the one before stops working, at once or after --grace."""

    async def work(manager: SessionManager) -> IssuedKey:
        return await manager.rotate_api_key(key_id, grace=grace)

    _told(run(database, work), as_json=as_json)


@app.command(epilog=examples("prepaid key revoke pp_ses_01m7y6qkv88hxy3a7ak1pr.2"))
@refusals_told
def revoke(key_id: KeyId, database: Database = None, as_json: AsJson = False) -> None:
    """End a key for good."""

    async def work(manager: SessionManager) -> ApiKeyRecord:
        return await manager.revoke_api_key(key_id)

    record = run(database, work)
    if as_json:
        write_json(key_fields(record))
    else:
        hint(f"{record.key_id} is revoked: it opens nothing any more.")


def key_fields(record: ApiKeyRecord) -> dict[str, Any]:
    """A key as programs read it: all but its digests."""
    from prepaid.sessions.values import as_time

    return {
        "key_id": record.key_id,
        "kind": record.kind.value,
        "user_id": record.owner or None,
        "session_id": record.holder if record.asset else None,
        "name": record.name,
        "cap": record.cap,
        "reserved": record.reserved,
        "spent": record.spent,
        "currency": record.asset,
        "models": None if record.models is None else list(record.models),
        "created_at": as_time(record.created_ms),
        "expires_at": None if record.expires_ms is None else as_time(record.expires_ms),
        "revoked_at": None if record.revoked_ms is None else as_time(record.revoked_ms),
    }


def _told(issued: IssuedKey, *, as_json: bool) -> None:
    if as_json:
        write_json(key_fields(issued.record) | {"api_key": issued.api_key})
        return
    told = {"key": issued.record.key_id, "API key": f"{issued.api_key}   (shown this once)"}
    console().print(pairs(told))


def _row(record: ApiKeyRecord) -> tuple[str, ...]:
    def amount(units: int | None) -> str:
        return "–" if units is None or record.asset is None else format_amount(units, currency(record.asset))

    return (
        record.key_id,
        record.name,
        amount(record.cap),
        amount(None if record.cap is None else record.spent),
        "any" if record.models is None else ", ".join(record.models),
        when(key_fields(record)["expires_at"]),
        "works" if record.revoked_ms is None else "revoked",
    )
