"""Paid work whose every step can be checked afterwards, in whatever state a fault left the books.

The outcome does not depend on the order of clients: each has keys of its own and all can be paid for. So the
same steps again, under the same keys, must lead every surviving state to the same end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from prepaid.errors import StoreError
from prepaid.records import HoldState, SessionState
from prepaid.store.operations import (
    AddToPool,
    Close,
    CreateChat,
    CreateSession,
    Deposit,
    Fund,
    Held,
    Hold,
    Limits,
    Operation,
    Release,
    Settle,
    Settled,
)

from .books import close, create, deposit, fund, hold, release, settle

SESSIONS = 3


@dataclass(slots=True)
class Journal:
    """What was asked, in the order each client asked it, and what of it was acknowledged, with its answer."""

    asked: list[Operation] = field(default_factory=list)
    acknowledged: list[tuple[Operation, Any]] = field(default_factory=list)
    failures: list[StoreError] = field(default_factory=list)


Submit = Callable[[Operation], Awaitable[Any]]


def sessions() -> list[Operation]:
    """What comes before all: sessions with money, one from a deposit, and a chat in each."""
    works: list[Operation] = [deposit(10_000, "d"), create("s0", 10_000, from_deposit=True)]
    works += [create(f"s{n}", 10_000) for n in range(1, SESSIONS)]
    # Chats have no keys, so that each is asked for only where it is not there yet.
    works += [CreateChat(f"s{n}", "ann", "", "{}", limits=Limits(chats_max=1)) for n in range(SESSIONS)]
    return [*works, AddToPool("s1", "ann", None, Limits())]


def requests(client: int, count: int, seed: int) -> list[Operation]:
    """One client's requests: held, then captured or released, with a top-up now and then."""
    rng = Random(f"{seed}/{client}")
    session = f"s{client % SESSIONS}"
    works: list[Operation] = []
    for number in range(count):
        key = f"c{client}.{number}"
        amount = rng.randrange(1, 20)
        works.append(hold(amount, key, session, sent=True, expires_ms=2**50))
        if rng.random() < 0.2:
            works.append(release(key, session, loss=rng.randrange(3)))
        else:
            works.append(settle(rng.randrange(25), key, session, model="m", response="said"))
        if rng.random() < 0.1:
            works.append(fund(7, f"f{key}", session))
    return works


def closing() -> list[Operation]:
    return [close("s2", key="close")]


async def perform(submit: Submit, works: list[Operation], journal: Journal) -> None:
    """One after the other; where the store fails, the next comes all the same."""
    for work in works:
        journal.asked.append(work)
        try:
            answer = await submit(work)
        except StoreError as error:
            journal.failures.append(error)
            if isinstance(work, Hold):
                continue
        except Exception as refusal:  # noqa: BLE001  a settle whose hold failed, a chat that is there
            answer = refusal
        else:
            journal.acknowledged.append((work, answer))


async def at_once(submit: Submit, works: list[Operation]) -> list[Any]:
    """All of it in this order, without waiting for answers in between; refusals are answers too."""
    return await asyncio.gather(*(submit(work) for work in works), return_exceptions=True)


async def everything(submit: Submit, journal: Journal, *, clients: int, count: int, seed: int) -> None:
    """The whole workload: sessions, clients side by side, one close."""
    await perform(submit, sessions(), journal)
    await asyncio.gather(
        *(perform(submit, requests(client, count, seed), journal) for client in range(clients))
    )
    await perform(submit, closing(), journal)


def missing(reads: Any, work: Operation, answer: Any) -> str | None:
    """What is wrong with an acknowledged step in these books, if anything."""
    match work:
        case CreateSession() | Deposit():
            there = reads.account(work.session_id) is not None
        case CreateChat():
            there = reads.chat(work.session_id, answer) is not None
        case AddToPool():
            there = reads.pool_counts()[0] == 1
        case Fund():
            there = ("fund", work.key) in lines(reads, work.session_id)
        case Hold():
            there = reads.hold_state(work.session_id, work.key) is not None
        case Settle():
            found = reads.hold_state(work.session_id, work.key)
            there = found == (HoldState.CAPTURED, answer.captured)
        case Release():
            there = reads.hold_state(work.session_id, work.key) == (HoldState.RELEASED, 0)
        case Close():
            account = reads.account(work.session_id)
            there = account is not None and account.state is SessionState.CLOSED
        case _:
            raise NotImplementedError(work)
    return None if there else f"lost: {work}"


def lines(reads: Any, session_id: str) -> set[tuple[str, str]]:
    return {(line.kind, line.key) for line in reads.transfers(session_id)}


def same(answer: Any, again: Any) -> bool:
    """Guarantee 5: what a retry must get, whatever else has happened."""
    match answer:
        case Held():
            return isinstance(again, Held) and (again.key, again.amount) == (answer.key, answer.amount)
        case Settled():
            return replace(again, available=0) == replace(answer, available=0)
        case _:
            return bool(again == answer)


def summary(reads: Any) -> dict[str, tuple[int, ...]]:
    """Where all the money is in the end."""
    return {
        account.session_id: (account.funded, account.available, account.held, account.spent, account.refunded)
        for account in reads.accounts("", 100)
    }
