"""What must be true of every cell (spec P).

With *billed* what the provider puts on its invoice, *charged* what the session paid, and *booked* what its statement
says to be the operator's loss (exposure and shortfall):

a  billed ≤ charged + booked: nothing is unexplained;
b  the customer is charged at most what was plausibly told where it was told, else at most a tenth above what was
   delivered to him, with the input;
c  a request that failed costs its customer nothing, unless it was the gateway that ended, after a part of it;
d  booked is at most what of the hold was not charged, and nothing where all was told and paid, or nothing was made;
e  nothing stays held;
f  nothing is spent that is not there, and all of it is accounted for;
g  what was answered whole arrives whole, without an error;
h  the provider is asked for one answer, and once more for each model that is fallen back to;
i  where output was seen, a provider is left with its client; where it may still tell what it came to, it is not;
j  what was told of a whole answer and is plausible is what is charged.

All amounts may be a unit off where something was rounded up, and a fifth where only a sum of tokens was told.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from matrix.callers import Books, Seen, is_charged_by_input
from matrix.cells import BACKED, TOGETHER, UNBILLED, Answerer, Ending, Told
from matrix.scripts import Run

ABOVE_DELIVERED_MAX = 1.1
ROUNDING = 2
"""Of two counts: a text in, and one out."""
OF_A_SUM = 0.2
"""Where only the sum of input and output is told, which of them is dearer is shared by our own count."""


@dataclass(frozen=True)
class Broken:
    """One property that does not hold."""

    property: str
    what: str

    def __str__(self) -> str:
        return f"{self.property}: {self.what}"


def broken(run: Run, seen: Seen, books: Books) -> list[Broken]:
    """All properties that do not hold of a cell that was played; the main property of the matrix is that none is."""
    found = (check(run, seen, books) for check in _CHECKS)
    return [Broken(check.__name__[1], what) for check, what in zip(_CHECKS, found, strict=True) if what]


def _a_nothing_is_unexplained(run: Run, seen: Seen, books: Books) -> str:
    billed, explained = run.tally.billed, books.charged + books.booked
    return (
        ""
        if billed <= explained + 1 + _of_a_sum(run)
        else f"billed {billed}, explained {books.charged} + {books.booked} booked"
    )


def _b_the_customer_is_not_overcharged(run: Run, seen: Seen, books: Books) -> str:
    allowed, of = _allowed(run)
    return "" if books.charged <= allowed else f"charged {books.charged}, {of} is worth {allowed:.0f}"


def _allowed(run: Run) -> tuple[float, str]:
    if run.told is not None:
        into, out = run.told
        return run.tally.price(into, 0 if is_charged_by_input(run.cell) else out) + ROUNDING, "what was told"
    tokens_in = max((each.input for each in run.tally.generations), default=0)
    delivered = run.tally.price(tokens_in, run.shown)
    return math.ceil(
        delivered * ABOVE_DELIVERED_MAX
    ) + ROUNDING if run.tally.generations else 0, "what was delivered"


def _c_failures_are_free(run: Run, seen: Seen, books: Books) -> str:
    if run.cell.ending in TOGETHER and run.shown:
        return ""  # it was not the request that failed: what was delivered is paid for, as by who hangs up
    return f"it failed ({seen.status}) and cost {books.charged}" if seen.has_failed and books.charged else ""


def _d_booked_is_what_can_be_owed(run: Run, seen: Seen, books: Books) -> str:
    cell = run.cell
    if cell.answerer is Answerer.DEARER or cell.ending in BACKED:
        # Another price, or two attempts: no more than was billed and could have been.
        times = 1 + len(run.tally.generations)
        room = times * sum(books.holds) * (10 if cell.answerer is Answerer.DEARER else 1)
    else:
        room = max(books.holds, default=0) - books.charged
    if books.booked > room:
        return f"booked {books.booked}, but only {room} of the hold was not charged"
    if books.booked and cell.ending in UNBILLED:
        return f"booked {books.booked} for what was never begun"
    if books.booked and _is_told_and_paid(run, seen):
        return f"booked {books.booked} though all was told and paid"
    return ""


def _is_told_and_paid(run: Run, seen: Seen) -> bool:
    cell = run.cell
    is_plain = cell.answerer is not Answerer.DEARER and cell.ending not in BACKED | {Ending.DISK_FULL}
    return is_plain and _is_told_for_sure(run, seen)


def _is_told_for_sure(run: Run, seen: Seen) -> bool:
    """Whether the gateway has read the usage of the whole answer."""
    has_read = not run.was_left or run.cell.ending is Ending.LEFT_USAGE  # there the client has read it, too
    return run.is_told_whole and has_read and not seen.has_failed


def _e_nothing_stays_held(run: Run, seen: Seen, books: Books) -> str:
    return f"{books.held} stays held" if books.held else ""


def _f_money_is_conserved(run: Run, seen: Seen, books: Books) -> str:
    accounted = books.charged + books.available + books.held + books.refunded
    if books.available < 0 or accounted != books.funded:
        return f"funded {books.funded}, accounted for {accounted}, available {books.available}"
    return ""


def _g_whole_answers_arrive(run: Run, seen: Seen, books: Books) -> str:
    if not run.cell.is_whole or not seen.has_failed:
        return ""
    return (
        f"an answer was there, the client has {seen.status}: {seen.content[-160:].decode(errors='replace')!r}"
    )


def _h_one_generation(run: Run, seen: Seen, books: Books) -> str:
    made, most = len(run.tally.generations), 2 if run.cell.ending in BACKED else 1
    return f"{made} answers were begun" if made > most else ""


def _i_left_where_it_helps(run: Run, seen: Seen, books: Books) -> str:
    """Also that the cell came to its point at all."""
    cell = run.cell
    if cell.is_left and not seen.has_left:
        return f"its point was never reached: status {seen.status} {seen.content[-160:]!r}"
    if cell.is_seen_ending:
        if run.was_left or cell.may_hide:  # who knows of hidden output reads on
            return ""
        return "the client left an answer that it had seen a part of, the provider was read on"
    if cell.ending in {Ending.LEFT_BEFORE, Ending.LEFT_ROLE, Ending.LEFT_ENDED} and run.was_left:
        return "the provider was left where it could still tell what it came to"
    return ""


def _j_what_was_told_is_charged(run: Run, seen: Seen, books: Books) -> str:
    if run.cell.ending is Ending.DISK_FULL or not _is_told_for_sure(run, seen):
        return ""
    into, out = run.told
    right = run.tally.price(into, 0 if is_charged_by_input(run.cell) else out)
    return (
        ""
        if abs(books.charged - right) <= ROUNDING + _of_a_sum(run)
        else f"told {right}, charged {books.charged}"
    )


def _of_a_sum(run: Run) -> float:
    """How far the charge may be off because only a sum was told."""
    is_shared = (
        run.cell.told is Told.TOTAL_ONLY and run.told is not None and not is_charged_by_input(run.cell)
    )
    return OF_A_SUM * run.tally.price(*run.told) if is_shared else 0


_CHECKS = (
    _a_nothing_is_unexplained,
    _b_the_customer_is_not_overcharged,
    _c_failures_are_free,
    _d_booked_is_what_can_be_owed,
    _e_nothing_stays_held,
    _f_money_is_conserved,
    _g_whole_answers_arrive,
    _h_one_generation,
    _i_left_where_it_helps,
    _j_what_was_told_is_charged,
)
