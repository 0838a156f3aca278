"""Statements: what happened to a session's money, line by line, verifiable by anyone without us (spec D4).

A statement is plain JSON. Every line carries the digest that chains it to the line before
(``store.lines``), so no line can be altered, removed, inserted or reordered without ``verify_statement``
naming it, and ``head`` with ``line_count`` shows where the end was cut off. What the chain cannot show is
how the money that is left divides into available and held: that is as of the moment it was made. Nor can
it show that a statement is the only one: whoever rewrites it whole gets another ``head``, so compare it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from prepaid.errors import CurrencyMismatch, SessionNotFound, StatementInvalid
from prepaid.money import currency
from prepaid.records import Account, SessionState, Transfer
from prepaid.store.lines import first_digest, line_digest, payload_of
from prepaid.store.queries.reads import Reads

__all__ = ["StatementSummary", "build_statement", "load_statement", "verify_statement"]

FORMAT: Final = "prepaid-statement/1"
_TEXT_LENGTH_MAX: Final = 4_096
_LINE_NUMBER_MAX: Final = 2**63 - 1
_TOTAL_MAX: Final = 2**127  # of losses, which nothing bounds
_DIGEST_HEX_LENGTH: Final = 64
_HEX: Final = frozenset("0123456789abcdef")
_STATES: Final = {state.label: state for state in SessionState}

_TOTAL_OF: Final = {
    ("fund", "funding", "session"): "funded",
    ("fund", "deposit", "session"): "funded",
    ("fund", "owner", "session"): "funded",
    ("fund", "funding", "deposit"): "funded",
    ("capture", "session", "revenue"): "spent",
    ("refund", "session", "owner"): "refunded",
    ("withdraw", "deposit", "owner"): "refunded",
    ("withdraw", "deposit", "session"): "refunded",
    ("shortfall", "loss", "provider"): "shortfall",
    ("exposure", "loss", "provider"): "exposure",
}
"""Every kind of line there is, and the total that it counts in."""

_LINE_TYPES: Final = {
    field.name: {"int": int, "str": str, "bytes": bytes}[str(field.type)] for field in fields(Transfer)
}


@dataclass(frozen=True, slots=True)
class StatementSummary:
    """What a verified statement says; amounts in base units of ``asset``.

    ``shortfall`` and ``exposure`` are what providers billed, or may bill, above what the session paid:
    booked to us, not to the session.
    """

    session_id: str
    owner: str
    asset: str
    decimals: int
    state: str
    line_count: int
    head: str
    funded: int
    spent: int
    refunded: int
    available: int
    held: int
    shortfall: int
    exposure: int


_HEADER_TYPES: Final = {
    field.name: {"int": int, "str": str}[str(field.type)] for field in fields(StatementSummary)
}
_BALANCE: Final = ("funded", "spent", "refunded", "available", "held")
_SUMS: Final = ("funded", "spent", "refunded", "shortfall", "exposure")


def build_statement(reads: Reads, session_id: str) -> dict[str, Any]:
    """The statement of one session, or of an owner's deposit, as of now.

    Whoever asks must have been found to be its owner before.

    Raises:
        SessionNotFound: there is no such account.
    """
    with reads.snapshot():
        account = reads.account(session_id)
        if account is None:
            raise SessionNotFound(session_id)
        lines = reads.transfers(session_id)
    return _document(account, lines)


def _document(account: Account, lines: list[Transfer]) -> dict[str, Any]:
    sums = dict.fromkeys(_SUMS, 0)
    for line in lines:
        total = _TOTAL_OF.get((line.kind, line.debit, line.credit))
        if total is not None:  # anything else is for the verifier to name
            sums[total] += line.amount
    return {
        "format": FORMAT,
        "session_id": account.session_id,
        "owner": account.owner,
        "asset": account.asset,
        "decimals": currency(account.asset).decimals,
        "state": account.state.label,
        **{name: getattr(account, name) for name in _BALANCE},
        "shortfall": sums["shortfall"],
        "exposure": sums["exposure"],
        "line_count": account.line_count,
        "head": account.head.hex(),
        "lines": [_line(line) for line in lines],
    }


def _line(line: Transfer) -> dict[str, Any]:
    values = {name: getattr(line, name) for name in _LINE_TYPES}
    return values | {"digest": line.digest.hex()}


def load_statement(data: bytes | str) -> object:
    """A statement's file as JSON, for ``verify_statement``.

    Raises:
        StatementInvalid: it is not JSON, or names a field twice.
    """
    try:
        return json.loads(data, object_pairs_hook=_no_field_twice, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a number of too many digits
        raise StatementInvalid(None, f"The statement is not JSON ({error}).") from error


def _no_field_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a field is there twice")
    return found


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no number")


def verify_statement(document: object) -> StatementSummary:
    """Check a statement line by line against its own digests, and its totals against its lines.

    Needs nothing but the statement. Returns what it says once every check holds.

    Raises:
        StatementInvalid: ``line`` is the first wrong one, the message says what became of it.
    """
    header, raw = _header(document)
    lines = _verified_lines(header, raw)
    _check_totals(header, lines)
    return header


def _header(document: object) -> tuple[StatementSummary, list[object]]:
    wanted = {"format": str, **_HEADER_TYPES, "lines": list}
    problem = _problem(document, wanted, _TOTAL_MAX)
    if problem is not None:
        raise StatementInvalid(None, f"The statement is not whole: {problem}.")
    assert isinstance(document, dict)
    if document["format"] != FORMAT:
        raise StatementInvalid(None, f"The statement is not in the format {FORMAT!r}.")
    header = StatementSummary(**{name: document[name] for name in _HEADER_TYPES})
    if header.state not in _STATES:
        raise StatementInvalid(None, "The statement's state is none that there is.")
    try:
        decimals = currency(header.asset).decimals
    except CurrencyMismatch as error:
        raise StatementInvalid(None, f"The statement's asset was altered: {error.what}") from error
    if header.decimals != decimals or header.asset != currency(header.asset).code:
        raise StatementInvalid(None, f"The statement's decimals were altered: {header.asset} has {decimals}.")
    if not _is_digest(header.head):
        raise StatementInvalid(None, "The statement's head digest is none.")
    return header, document["lines"]


def _problem(value: object, wanted: Mapping[str, type], number_max: int) -> str | None:
    """What keeps ``value`` from having exactly these fields, of these types and of possible size."""
    if not isinstance(value, dict):
        return "it is no JSON object"
    if set(value) != set(wanted):
        missing = ", ".join(sorted(set(wanted) - set(value)))
        return f"{missing} is missing" if missing else "a field was added"
    for name, kind in wanted.items():
        found = value[name]
        if type(found) is not (str if kind is bytes else kind):  # a bool is no int here
            return f"{name} is a {type(found).__name__}"
        if isinstance(found, int) and not 0 <= found <= number_max:
            return f"{name} is out of range"
        if isinstance(found, str) and not _is_plain(found):
            return f"{name} is too long, or has characters that no statement has"
    return None


def _is_plain(text: str) -> bool:
    # A line feed would let two different lines have one payload; a lone surrogate has no bytes at all.
    return (
        len(text) <= _TEXT_LENGTH_MAX
        and "\n" not in text
        and not any("\ud800" <= c <= "\udfff" for c in text)
    )


def _is_digest(text: str) -> bool:
    return len(text) == _DIGEST_HEX_LENGTH and set(text) <= _HEX


def _parsed(raw: object) -> Transfer | str:
    """The line, or what is wrong with it."""
    problem = _problem(raw, _LINE_TYPES, _LINE_NUMBER_MAX)
    if problem is not None:
        return problem
    assert isinstance(raw, dict)
    if not _is_digest(raw["digest"]):
        return "its digest is none"
    return Transfer(**{**raw, "digest": bytes.fromhex(raw["digest"])})


def _fits(line: Transfer | str, previous: bytes, seq: int) -> bool:
    """Whether this is line ``seq`` after a line with digest ``previous``, whatever it calls itself."""
    return not isinstance(line, str) and line_digest(previous, seq, payload_of(line)) == line.digest


def _verified_lines(header: StatementSummary, raw: list[object]) -> list[Transfer]:
    lines: list[Transfer] = []
    head = first_digest(header.session_id, header.owner, header.asset)
    for seq, found in enumerate(raw, start=1):
        line = _parsed(found)
        if isinstance(line, str) or line.seq != seq or not _fits(line, head, seq):
            raise StatementInvalid(seq, f"Line {seq} {_what_happened(raw, seq, head)}.")
        lines.append(line)
        head = line.digest
        if seq == header.line_count and seq < len(raw) and head.hex() == header.head:
            raise StatementInvalid(seq + 1, f"Line {seq + 1} was added: the statement ends before it.")
    count, claimed = len(lines), f"{header.line_count} lines are claimed, {len(lines)} are here"
    if count < header.line_count and head.hex() != header.head:
        raise StatementInvalid(count + 1, f"The end was cut off: {claimed}.")
    if count != header.line_count:
        raise StatementInvalid(None, f"The line count was altered: {claimed}.")
    if head.hex() != header.head:
        what = "The head digest is not the last line's: it was altered, or the end was cut off."
        raise StatementInvalid(None, what)
    return lines


def _what_happened(raw: list[object], seq: int, head: bytes) -> str:
    """What was done to the first line that does not fit; everything before it does."""
    line = _parsed(raw[seq - 1])
    if isinstance(line, str):
        return f"was altered: {line}"
    others = [other for other in map(_parsed, [*raw[: seq - 1], *raw[seq:]]) if not isinstance(other, str)]
    if line in others:
        return "was inserted: it is a duplicate of another line"
    if any(other.seq == seq and _fits(other, head, seq) for other in others):
        # What belongs here comes later, so this line is in its way.
        was_at_its_place = any(
            other.seq == line.seq - 1 and _fits(line, other.digest, line.seq) for other in others
        )
        return f"was reordered: it was line {line.seq}" if was_at_its_place else "was inserted"
    if line.seq == seq or _fits(line, head, seq):
        head_too = ", or the session, owner or asset above it" if seq == 1 else ""
        return f"was altered{head_too}: its digest is not that of its content"
    if line.seq < seq:
        return f"was inserted: it calls itself line {line.seq}"
    gap = f", and those up to {line.seq - 1}" if line.seq > seq + 1 else ""
    return f"was removed{gap}"


def _check_totals(header: StatementSummary, lines: list[Transfer]) -> None:
    """The lines' own story: nothing spent that was not there, and the header's totals are their sums."""
    sums = dict.fromkeys(_SUMS, 0)
    for line in lines:
        total = _TOTAL_OF.get((line.kind, line.debit, line.credit))
        if total is None or line.amount == 0:
            raise StatementInvalid(line.seq, f"Line {line.seq} is none that a ledger writes.")
        sums[total] += line.amount
        if sums["funded"] < sums["spent"] + sums["refunded"]:
            raise StatementInvalid(line.seq, f"Line {line.seq} takes more than there was.")
    for name in _SUMS:
        if (claimed := getattr(header, name)) != sums[name]:
            raise _not_adding_up(f"{name} is {claimed}, the lines say {sums[name]}")
    accounted = header.spent + header.refunded + header.available + header.held
    if header.funded != accounted:
        raise _not_adding_up(f"{header.funded} was funded, {accounted} is accounted for")
    if header.available and _STATES[header.state] in (SessionState.CLOSED, SessionState.EXPIRED):
        raise _not_adding_up(f"{header.available} is available after the session has ended")


def _not_adding_up(what: str) -> StatementInvalid:
    return StatementInvalid(None, f"The totals do not add up: {what}.")
