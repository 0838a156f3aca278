"""The chain's end: everything closed, refunded and withdrawn, and every unit accounted for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prepaid.chain.local.stage import NODE, NODE_USER
from prepaid.cli.demo.onchain.books import Books, read_books
from prepaid.cli.demo.onchain.cast import Cast
from prepaid.cli.output import table
from prepaid.sessions.manager import SessionManager

__all__ = ["Outcome", "as_object", "close_and_refund", "sum_up"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out: the contract's own books, and what people have of the token."""

    books: Books
    brought: dict[str, int]
    has: dict[str, int]
    earned: int
    decimals: int

    @property
    def held(self) -> int:
        """What was brought and is in nobody's wallet now, wherever it lies."""
        return sum(self.brought.values()) - sum(self.has.values())

    @property
    def is_good(self) -> bool:
        """Everything that was promised: by events, by balances, and by both together."""
        total, books = self.books.total(), self.books
        return (
            all(line.is_even for line in books.lines.values())
            and total.deposited == books.withdrawn + total.refunded + self.held
            and total.paid == books.withdrawn == self.earned
            and self.held == books.in_contract == total.held == 0
            and books.answers > 0
            and books.timeouts > 0
        )


async def close_and_refund(cast: Cast) -> None:
    """Whoever opened a session ends it, and the node takes what it earned."""
    story = cast.story
    story.chapter("Closed, sessions refund what is left, and the node takes what it earned")
    ai, manager, node = (
        await cast.ai_of(cast.ann),
        await cast.manager_of(cast.ann),
        await cast.ai_of(cast.operator),
    )
    before = await ai.token.balance_of(cast.ann.address)
    story.code('consumer.send("close", ann)')
    await cast.consumer.send("close", cast.ann.address)
    story.code("ai.close_user_session(session_id)")
    for session_id, name in cast.names.items():
        if (await ai.session_of(session_id)).is_open and "pool" not in name:
            await ai.close_user_session(session_id)
    story.code("manager.close_all_sessions()")
    await manager.close_all_sessions()
    refunded = await ai.token.balance_of(cast.ann.address) - before
    story.good(f"{cast.told(refunded)} came back to Ann, in the transactions that closed her sessions.")
    story.code(f'ai.withdraw("{NODE}")')
    story.good(f"{cast.told(await node.withdraw(NODE))} went to the node's operator.")
    spent = await _spent_on_models(cast)
    story.say(f"What its models cost it is in its ledger: {cast.told(spent)}.")


async def sum_up(cast: Cast) -> Outcome:
    """Deposited = paid to nodes + refunded, to the unit."""
    ai = await cast.ai_of(cast.ann)
    has = {address: await ai.token.balance_of(address) for address in cast.people.values()}
    operator = cast.operator.address
    earned = has[operator] - cast.brought[operator]
    outcome = Outcome(await read_books(ai), cast.brought, has, earned, cast.usdt.decimals)
    cast.story.chapter("Every unit of USDT")
    _show_sessions(cast, outcome)
    _show_people(cast, outcome)
    return outcome


async def _spent_on_models(cast: Cast) -> int:
    async with SessionManager(settings=cast.node) as manager:
        return manager.get_session(cast.node.node.session_id or "", NODE_USER).account.spent


def as_object(outcome: Outcome) -> dict[str, Any]:
    """What ``prepaid demo --chain --json`` prints."""
    total = outcome.books.total()
    return {
        "deposited": total.deposited,
        "paid_to_nodes": outcome.books.withdrawn,
        "refunded": total.refunded,
        "held": outcome.held,
        "answers": outcome.books.answers,
        "timeouts": outcome.books.timeouts,
        "decimals": outcome.decimals,
    }


def _show_sessions(cast: Cast, outcome: Outcome) -> None:
    """By the contract's events."""
    total = outcome.books.total()
    rows = [
        (cast.names[session_id], *_amounts(cast, line)) for session_id, line in outcome.books.lines.items()
    ]
    made = table((">", ">deposited", ">= paid to nodes", ">+ refunded", ">+ held"), rows)
    made.columns[0].justify, made.columns[0].header = "left", "session"
    made.add_section()
    made.add_row("Total", *_amounts(cast, total), style="bold")
    cast.story.show(made)
    tell = cast.story.good if total.is_even else cast.story.refused
    deposited, paid, refunded, held = _amounts(cast, total)
    equals = "=" if total.is_even else "≠"
    tell(f"{deposited} deposited {equals} {paid} paid to nodes + {refunded} refunded + {held} held.")


def _show_people(cast: Cast, outcome: Outcome) -> None:
    """By the token's balances."""
    rows = [
        (name, cast.told(outcome.brought[address]), cast.told(outcome.has[address]))
        for name, address in cast.people.items()
    ]
    made = table(("wallet", ">had", ">has"), rows)
    made.add_section()
    sums = (sum(outcome.brought.values()), sum(outcome.has.values()))
    made.add_row("Total", *map(cast.told, sums), style="bold")
    cast.story.show(made)
    books = outcome.books
    tell = cast.story.good if outcome.is_good else cast.story.refused
    tell(
        f"The contracts hold {cast.told(outcome.held)}, after {books.answers} answers and"
        f" {books.timeouts} time-out: the token's balances say what the contract's events say."
    )


def _amounts(cast: Cast, line: Any) -> tuple[str, ...]:
    return tuple(map(cast.told, (line.deposited, line.paid, line.refunded, line.held)))
