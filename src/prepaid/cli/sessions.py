"""``prepaid session``: open, look at, fund, pause, resume and close sessions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prepaid.cli import reports
from prepaid.cli.options import AsJson, Database, SessionId, UserId, examples
from prepaid.cli.output import console, hint, pairs, plain, write_json
from prepaid.cli.running import refusals_told, run
from prepaid.cli.views import chat_fields, session_fields, session_pairs, session_table

if TYPE_CHECKING:
    from prepaid.sessions.manager import SessionManager
    from prepaid.sessions.session import Session

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Open, look at, fund, pause, resume and close sessions.")
reports.add_to(app)


@app.command(
    epilog=examples(
        'prepaid session create ann --fund "10 USD"',
        'prepaid session create ann --fund "10 USD" --name work --tag team-a --json',
        "prepaid session create ann --from-deposit",
    )
)
@refusals_told
def create(
    user: UserId,
    fund: Annotated[
        str | None, typer.Option("--fund", metavar="AMOUNT", help='Money to put in, such as "10 USD".')
    ] = None,
    *,
    from_deposit: Annotated[
        bool,
        typer.Option("--from-deposit", help="Take it from the user's deposit: all, or as much as --fund."),
    ] = False,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What to call it.")] = "",
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="Repeat for more.")] = None,
    expires_in: Annotated[
        float | None,
        typer.Option("--expires-in", metavar="SECONDS", help="End it then, whether it is used or not."),
    ] = None,
    database: Database = None,
    as_json: AsJson = False,
) -> None:
    """Open a session and print its id and API key. The key is shown this once."""
    if from_deposit and (name or tag or expires_in is not None):
        raise typer.BadParameter("--from-deposit goes with --fund only.")

    async def work(manager: SessionManager) -> dict[str, Any]:
        if from_deposit:
            session = await manager.start_user_session(user, fund)
        else:
            session = await manager.create_session(
                user, fund, session_name=name, tags=tag or (), expires_at=_seconds(expires_in)
            )
        return session_fields(session) | {"api_key": session.api_key}

    made = run(database, work, may_create=True)
    if as_json:
        write_json(made)
        return
    key = {"API key": f"{made['api_key']}   (shown this once)"}
    console().print(pairs(session_pairs(made) | key))


@app.command(name="list", epilog=examples("prepaid session list --user ann --status active"))
@refusals_told
def list_(
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="Only this user's.")] = None,
    status: Annotated[
        str | None, typer.Option("--status", metavar="STATUS", help="active, paused, closed or expired.")
    ] = None,
    tag: Annotated[str | None, typer.Option("--tag", metavar="TAG", help="Only with this tag.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many at most.")] = 100,
    before: Annotated[
        str | None,
        typer.Option("--before", metavar="SESSION_ID", help="Page on: the last id of the page before."),
    ] = None,
    database: Database = None,
    as_json: AsJson = False,
) -> None:
    """List sessions, newest first."""

    async def work(manager: SessionManager) -> list[dict[str, Any]]:
        if user is None:
            page = await manager.list_sessions(status=status, tag=tag, limit=limit, before=before)
        else:
            page = await manager.get_user_sessions(user, status=status, tag=tag, limit=limit, before=before)
        return [session_fields(session) for session in page]

    found = run(database, work)
    if as_json:
        write_json(found)
    elif not found:
        console().print("No sessions.")
    else:
        console().print(session_table(found))
        if len(found) == limit:
            hint(f"There may be more: --before {found[-1]['session_id']}")


@app.command(epilog=examples("prepaid session show ses_01m7y6qkv88hxy3a7ak1pr"))
@refusals_told
def show(session_id: SessionId, database: Database = None, as_json: AsJson = False) -> None:
    """Show a session, its balances and its chats."""

    async def work(manager: SessionManager) -> dict[str, Any]:
        session = manager.get_session(session_id)
        described = {"metadata": session.metadata, "preferences": session.preferences}
        return session_fields(session) | described | {"chats": await chat_fields(session)}

    found = run(database, work)
    if as_json:
        write_json(found)
        return
    console().print(pairs(session_pairs(found)))
    if found["chats"]:
        console().print(reports.chat_table(found["chats"], found["currency"]))


@app.command(epilog=examples('prepaid session fund ses_01m7y6qkv88hxy3a7ak1pr "5 USD"'))
@refusals_told
def fund(
    session_id: SessionId,
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help='Money to add, such as "5 USD".')],
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="The same key and amount add money once.")
    ] = None,
    database: Database = None,
    as_json: AsJson = False,
) -> None:
    """Add money to a session."""

    async def work(session: Session) -> None:
        await session.fund(amount, key=key)

    _change(database, session_id, work, "{available} available.", as_json=as_json)


@app.command()
@refusals_told
def pause(session_id: SessionId, database: Database = None, as_json: AsJson = False) -> None:
    """Refuse to spend until it is resumed."""

    async def work(session: Session) -> None:
        await session.pause()

    _change(database, session_id, work, "Paused: it spends nothing.", as_json=as_json)


@app.command()
@refusals_told
def resume(session_id: SessionId, database: Database = None, as_json: AsJson = False) -> None:
    """Let a paused session spend again."""

    async def work(session: Session) -> None:
        await session.resume()

    _change(database, session_id, work, "Active again: {available} available.", as_json=as_json)


@app.command()
@refusals_told
def close(session_id: SessionId, database: Database = None, as_json: AsJson = False) -> None:
    """End a session and refund what is left: what is held by requests follows as they settle."""

    async def work(session: Session) -> None:
        await session.close()

    _change(database, session_id, work, "Closed: {refunded} refunded of {funded}.", as_json=as_json)


def _change(
    database: str | None,
    session_id: str,
    work: Callable[[Session], Awaitable[None]],
    said: str,
    *,
    as_json: bool,
) -> None:
    """Do something to a session, and show what it is then; ``said`` may name its amounts."""

    async def changed(manager: SessionManager) -> dict[str, Any]:
        session = manager.get_session(session_id)
        await work(session)
        return session_fields(session)

    fields = run(database, changed)
    if as_json:
        write_json(fields)
        return
    told = session_pairs(fields)
    console().print(plain(said.format(**{name: told[name] for name in ("available", "refunded", "funded")})))


def _seconds(number: float | None) -> timedelta | None:
    from prepaid.sessions.values import as_milliseconds

    return None if number is None else timedelta(milliseconds=as_milliseconds(number, "--expires-in"))
