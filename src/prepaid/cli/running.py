"""Runs a command: opens the books, does the work, closes them, and tells what went wrong."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import typer

from prepaid.cli.failures import Failure, report
from prepaid.errors import NotFoundError, PrepaidError

if TYPE_CHECKING:
    from prepaid.config import Settings
    from prepaid.sessions.manager import SessionManager
    from prepaid.sessions.workspace import Workspace

__all__ = ["must_exist", "read_settings", "refusals_told", "run", "workspace_of"]

P = ParamSpec("P")
T = TypeVar("T")


def refusals_told(command: Callable[P, None]) -> Callable[P, None]:
    """Tell an error of ours as text (or JSON, if ``as_json``) on standard error, and exit with 1."""

    @functools.wraps(command)
    def told(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = bool(kwargs.get("as_json"))
        try:
            command(*args, **kwargs)
        except Failure as failure:
            report(failure.error, failure.asset, failure.remedies, as_json=as_json)
            raise typer.Exit(1) from None
        except PrepaidError as error:
            report(error, as_json=as_json)
            raise typer.Exit(1) from None

    return told


def run(
    database: str | None, work: Callable[[SessionManager], Awaitable[T]], *, may_create: bool = False
) -> T:
    """``work`` with a manager on the database, which must be there unless the command ``may_create`` it.

    Nothing is cleaned up in the background: a command does what it says, and no more.
    """
    settings = read_settings(database)
    if not may_create:
        must_exist(settings)
    try:
        return asyncio.run(_managed(settings, work))
    except PrepaidError as error:
        raise Failure(error, settings.asset) from error


def read_settings(database: str | None) -> Settings:
    """The settings, with the database that the command line names."""
    from prepaid.config import Settings

    return Settings() if database is None else Settings(database=database)


def must_exist(settings: Settings) -> None:
    """Refuse to make a new database of a misspelt name.

    Raises:
        NotFoundError: there is no such file.
    """
    file = settings.database_file
    if file is not None and not file.exists():
        raise NotFoundError(
            f"There is no database {file}.",
            remedy="Name another with --database, or make it by opening a first session: "
            'prepaid session create USER --fund "10 USD"',
        )


def workspace_of(manager: SessionManager) -> Workspace:
    """What stands behind the manager, for the operator's commands that it has no verb for."""
    return manager._workspace  # noqa: SLF001 -- the operator's commands see the books themselves


async def _managed(settings: Settings, work: Callable[[SessionManager], Awaitable[T]]) -> T:
    from prepaid.sessions.manager import SessionManager

    manager = SessionManager(settings=settings)
    try:
        return await work(manager)
    finally:
        await manager.shutdown()
