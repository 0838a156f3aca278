"""Errors as the command line tells them: amounts as people read them, and the command that helps."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Final

from prepaid import errors
from prepaid.errors import PrepaidError
from prepaid.money import USD, Currency, format_amount

__all__ = ["Failure", "report", "report_usage"]

_REMEDIES: Final[dict[type[PrepaidError], str]] = {
    errors.AlreadyPooled: "Take it out first: prepaid pool remove {session_id}",
    errors.BalanceTooLow: "Offer that much, or lower it: prepaid config set minimum_balance AMOUNT",
    errors.LeaseCapReached: "Give the session back; what the cap was is its owner's choice.",
    errors.LeaseNotFound: "Take a session again: prepaid pool take USER",
    errors.PoolEmpty: "Add a session with prepaid pool add SESSION_ID, or wait until a lease ends.",
    errors.PoolFull: "Wait for room, or make some: prepaid config set pool_size NUMBER",
    errors.SessionAlreadyClosed: 'Open another: prepaid session create USER --fund "10 USD"',
    errors.SessionExpired: "Refund it: prepaid cleanup. Then open another: prepaid session create USER",
    errors.SessionNotFound: "See which there are: prepaid session list",
    errors.SessionPaused: "Resume it first: prepaid session resume {session_id}",
}
"""The command that helps, where the error's own words name a Python method."""


class Failure(Exception):
    """An error of ours on its way to the terminal, with the currency that its amounts are in.

    ``remedies`` are commands that help, by the error's class; by default those of the ledger.
    """

    def __init__(
        self,
        error: PrepaidError,
        asset: Currency,
        remedies: Mapping[type[PrepaidError], str] = _REMEDIES,
    ) -> None:
        self.error, self.asset, self.remedies = error, asset, remedies
        super().__init__(str(error))


def report(
    error: PrepaidError,
    asset: Currency = USD,
    remedies: Mapping[type[PrepaidError], str] = _REMEDIES,
    *,
    as_json: bool,
) -> None:
    """Tell it on standard error, as text or as ``{"error": {…}}``; standard output stays for results."""
    remedy = _remedy(error, asset, remedies)
    if as_json:
        told = {"code": error.code, "message": error.what, "remedy": remedy, "retryable": error.retryable}
        numbers = {name: value for name, value in vars(error).items() if isinstance(value, int | str)}
        del numbers["what"]
        _write_json({"error": told | {name: value for name, value in numbers.items() if name not in told}})
        return
    from rich.text import Text

    from prepaid.cli.output import console, plain

    out = console(stderr=True)
    out.print(Text.assemble(("✗ ", "bold red"), (plain(_what(error, asset)), "bold")), soft_wrap=True)
    if isinstance(error, errors.ProviderError) and error.detail:  # whoever sits here is the operator
        out.print(Text(f"  {plain(error.detail)}"), soft_wrap=True)
    if remedy:
        out.print(Text(f"  {plain(remedy)}"), soft_wrap=True)


def report_usage(message: str) -> None:
    """A command line that was written wrongly, as JSON."""
    _write_json({"error": {"code": "usage", "message": message, "remedy": "See --help.", "retryable": False}})


def _write_json(value: object) -> None:
    sys.stderr.write(json.dumps(value) + "\n")


def _what(error: PrepaidError, asset: Currency) -> str:
    match error:
        case errors.InsufficientFunds():
            needed, available = format_amount(error.needed, asset), format_amount(error.available, asset)
            held = (
                f" ({format_amount(error.held, asset)} is held by requests in flight)" if error.held else ""
            )
            return f"Insufficient balance: {needed} needed, {available} available{held}."
        case errors.BalanceTooLow():
            offered, least = format_amount(error.offered, asset), format_amount(error.minimum, asset)
            return f"A session needs at least {least}; {offered} was offered."
        case errors.LeaseCapReached():
            return f"The lease's cap of {format_amount(error.limit, asset)} is spent."
        case errors.SessionAlreadyClosed():
            refunded = format_amount(error.refunded, asset)
            return f"Session {error.session_id} is already closed; {refunded} was refunded."
    return error.what


def _remedy(error: PrepaidError, asset: Currency, remedies: Mapping[type[PrepaidError], str]) -> str:
    if isinstance(error, errors.InsufficientFunds):
        missing = format_amount(max(error.needed - error.available, 0), asset)
        return f"Add at least {missing}, or ask for less."
    known = remedies.get(type(error))
    return error.remedy if known is None else known.format(**vars(error))
