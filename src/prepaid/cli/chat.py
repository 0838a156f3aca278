"""``prepaid chat``: talk in a session, on a terminal or through a pipe."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from prepaid.cli.failures import Failure
from prepaid.cli.options import START, AsJson, Database, examples
from prepaid.cli.running import must_exist, read_settings, refusals_told
from prepaid.errors import InsufficientFunds, InvalidRequestError, PrepaidError

if TYPE_CHECKING:
    from prepaid.cli.chat_seats import Seat
    from prepaid.config import Settings
    from prepaid.sessions.manager import SessionManager
    from prepaid.sessions.session import Session

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(
        rich_help_panel=START,
        epilog=examples(
            'prepaid chat --fund "1 USD"',
            "prepaid chat ses_01m7y6qkv88hxy3a7ak1pr",
            'echo "count to 5" | prepaid chat ses_01m7y6qkv88hxy3a7ak1pr',
            "prepaid chat --lease lease_01m7y6qkv88hxy3a7ak1pr",
        ),
    )(chat)


@refusals_told
def chat(
    session_id: Annotated[
        str | None,
        typer.Argument(metavar="[SESSION_ID]", help="Otherwise the user's newest session with money in it."),
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="USER", help="Whose; otherwise your login name.")
    ] = None,
    fund: Annotated[
        str | None,
        typer.Option("--fund", metavar="AMOUNT", help="Money to add, or to open a session with if none is."),
    ] = None,
    lease: Annotated[
        str | None, typer.Option("--lease", metavar="LEASE_ID", help="Talk under a lease from pool take.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="Open a new chat with this model.")
    ] = None,
    system: Annotated[
        str, typer.Option("--system", metavar="TEXT", help="Open a new chat with this system prompt.")
    ] = "",
    *,
    database: Database = None,
    as_json: AsJson = False,
) -> None:
    """Talk in a session; every turn is paid from it, and the balance is shown after each.

    Answers stream. Ctrl-C stops an answer: what was delivered is paid and kept. Lines that begin with a
    slash are commands; /help lists them. Through a pipe, each line is a question.
    """
    from prepaid.cli.chat_loop import ChatLoop

    settings = read_settings(database)
    if session_id is not None or lease is not None:
        must_exist(settings)
    elif fund is None and (file := settings.database_file) is not None and not file.exists():
        raise _no_money(user or _login_name())
    try:
        with asyncio.Runner() as runner:
            manager = runner.run(_opened(settings))
            try:
                seat = runner.run(_seat(manager, session_id, user, fund, lease))
                runner.run(_configure(seat, model, system))
                failures = ChatLoop(runner, seat, settings.asset, as_json=as_json).run()
            finally:
                runner.run(manager.shutdown())
    except PrepaidError as error:
        raise Failure(error, settings.asset) from error
    if failures:
        raise typer.Exit(1)


async def _opened(settings: Settings) -> SessionManager:
    from prepaid.sessions.manager import SessionManager

    return await SessionManager(settings=settings).__aenter__()


async def _seat(
    manager: SessionManager, session_id: str | None, user: str | None, fund: str | None, lease: str | None
) -> Seat:
    from prepaid.cli.chat_seats import LeaseSeat, SessionSeat
    from prepaid.cli.pool import find_lease
    from prepaid.cli.running import workspace_of

    if lease is not None:
        if session_id is not None or fund is not None:
            raise InvalidRequestError(
                "--lease names the session already, and takers add no money.", remedy="Leave the rest out."
            )
        return LeaseSeat(workspace_of(manager), await find_lease(manager, lease))
    if session_id is not None:
        session = manager.get_session(session_id, user)
        if fund is not None:
            await session.fund(fund)
        return SessionSeat(session)
    return SessionSeat(await _newest(manager, user or _login_name(), fund))


async def _newest(manager: SessionManager, user: str, fund: str | None) -> Session:
    """The user's session with money in it, or a new one; ``fund`` goes into it either way."""
    from prepaid.sessions.events import SessionCreated

    opened: list[SessionCreated] = []
    manager.on(SessionCreated, opened.append)
    try:
        session = await manager.get_or_create_session(user, fund)
    except InsufficientFunds:
        raise _no_money(user) from None
    if fund is not None and not opened:
        await session.fund(fund)
    return session


def _no_money(user: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{user} has no session with money in it.", remedy='Open one: prepaid chat --fund "1 USD"'
    )


async def _configure(seat: Seat, model: str | None, system: str) -> None:
    if model is None and not system:
        return
    from prepaid.sessions.agent_config import AgentConfig

    await seat.new_chat("", AgentConfig(current_model=model, system_prompt=system))


def _login_name() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "me"
