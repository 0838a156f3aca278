"""``prepaid pool``: share sessions, lease them, give them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from prepaid.cli.options import AsJson, Database, SessionId, UserId, examples
from prepaid.cli.output import console, fields_of, hint, pairs, plain, when, write_json
from prepaid.cli.running import refusals_told, run, workspace_of
from prepaid.errors import LeaseNotFound
from prepaid.money import currency, format_amount

if TYPE_CHECKING:
    from prepaid.sessions.leased import LeasedSession
    from prepaid.sessions.manager import SessionManager

__all__ = ["app", "find_lease"]

app = typer.Typer(no_args_is_help=True, help="Share sessions, lease them, give them back.")


@app.command(epilog=examples('prepaid pool add ses_01m7y6qkv88hxy3a7ak1pr --cap "0.50 USD"'))
@refusals_told
def add(
    session_id: SessionId,
    cap: Annotated[
        str | None, typer.Option("--cap", metavar="AMOUNT", help="What each taker may spend at most.")
    ] = None,
    database: Database = None,
    as_json: AsJson = False,
) -> None:
    """Share a session: others may lease it."""

    async def work(manager: SessionManager) -> dict[str, Any]:
        await manager.get_session(session_id).add_to_pool(cap=cap)
        return fields_of(manager.get_pool_status())

    _told(run(database, work), as_json=as_json)


@app.command()
@refusals_told
def remove(session_id: SessionId, database: Database = None, as_json: AsJson = False) -> None:
    """Stop sharing a session; a lease that runs ends at its deadline."""

    async def work(manager: SessionManager) -> dict[str, Any]:
        await manager.get_session(session_id).remove_from_pool()
        return fields_of(manager.get_pool_status())

    _told(run(database, work), as_json=as_json)


@app.command(
    epilog=examples("prepaid pool take bob --for 600", "prepaid chat --lease lease_01m7y6qkv88hxy3a7ak1pr")
)
@refusals_told
def take(
    user: UserId,
    lasts: Annotated[
        float | None,
        typer.Option("--for", metavar="SECONDS", help="How long; otherwise lease_seconds.", min=0.001),
    ] = None,
    database: Database = None,
    as_json: AsJson = False,
) -> None:
    """Lease the session that has waited longest, and print the lease's id."""

    async def work(manager: SessionManager) -> dict[str, Any]:
        leased = await manager.get_from_pool(user, lasts=lasts)
        return _lease_fields(leased)

    lease = run(database, work)
    if as_json:
        write_json(lease)
        return
    cap = lease["cap"]
    told = {
        "lease": lease["lease_id"],
        "session": lease["session_id"],
        "cap": "none" if cap is None else format_amount(cap, currency(lease["currency"])),
        "until": when(lease["expires_at"]),
    }
    console().print(pairs(told))
    hint(f"Use it: prepaid chat --lease {lease['lease_id']}")


@app.command(name="give-back", epilog=examples("prepaid pool give-back lease_01m7y6qkv88hxy3a7ak1pr"))
@refusals_told
def give_back(
    lease_id: Annotated[str, typer.Argument(metavar="LEASE_ID", help="As pool take printed it.")],
    database: Database = None,
    as_json: AsJson = False,
) -> None:
    """End a lease; the next taker may have the session."""

    async def work(manager: SessionManager) -> dict[str, Any]:
        leased = await find_lease(manager, lease_id)
        spent = leased.spent
        await leased.give_back()
        return _lease_fields(leased) | {"spent": spent}

    lease = run(database, work)
    if as_json:
        write_json(lease)
    else:
        spent = format_amount(lease["spent"], currency(lease["currency"]))
        console().print(plain(f"Given back. {lease['taker']} spent {spent} under this lease."))


@app.command()
@refusals_told
def status(database: Database = None, as_json: AsJson = False) -> None:
    """How many sessions are shared, and how many of them on lease."""

    async def work(manager: SessionManager) -> dict[str, Any]:
        return fields_of(manager.get_pool_status())

    _told(run(database, work), as_json=as_json)


async def find_lease(manager: SessionManager, lease_id: str) -> LeasedSession:
    """A lease that another process took; leases that still run are few and indexed.

    Raises:
        LeaseNotFound: unknown, or ended.
    """
    from prepaid.sessions.leased import LeasedSession

    workspace = workspace_of(manager)
    row = workspace.store.reads.row(
        "SELECT session_id FROM lease WHERE ended_ms IS NULL AND lease_id = ?", (lease_id,)
    )
    found = workspace.store.reads.lease(row[0], lease_id) if row else None
    if found is None:
        raise LeaseNotFound(lease_id)
    return LeasedSession(workspace, found[0], manager.settings.currency)


def _lease_fields(leased: LeasedSession) -> dict[str, Any]:
    lease = leased.lease
    return {
        "lease_id": lease.lease_id,
        "session_id": lease.session_id,
        "owner": lease.owner,
        "taker": lease.taker,
        "cap": lease.cap,
        "currency": leased.asset,
        "expires_at": leased.expires_at,
    }


def _told(pool: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_json(pool)
    else:
        console().print(
            f"{pool['pooled']} of at most {pool['capacity']} sessions shared, {pool['leased']} on lease."
        )
