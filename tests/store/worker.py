"""A process of its own on a database: says ``ready``, waits for a line, does its work, tells each answer as it comes.

python -m store.worker WORK PATH NUMBER ARGUMENTS…      (with ``tests`` on the path)
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from prepaid.errors import PrepaidError
from prepaid.store.contract import Store
from prepaid.store.operations import Held, Limits, Operation, TakeFromPool
from stores import open_store

from .books import create, hold
from .workload import Journal, perform, requests


def tell(*words: object) -> None:
    """One line, in one write, so that a kill never leaves half of it."""
    os.write(sys.stdout.fileno(), f"{json.dumps(words)}\n".encode())


def begin() -> None:
    tell("ready")
    sys.stdin.readline()


async def counted(store: Store, works: list[Operation]) -> None:
    """How many of them were accepted, and why the others were not."""
    answers = await asyncio.gather(*map(store.submit, works), return_exceptions=True)
    refusals = [
        answer.code if isinstance(answer, PrepaidError) else repr(answer)
        for answer in answers
        if isinstance(answer, BaseException)
    ]
    tell("done", len(works) - len(refusals), sorted(set(refusals)))


async def spend(path: str, number: int, clients: int, count: int) -> None:
    """Requests of several clients; each answer is told once it is acknowledged."""
    store = open_store(path)
    begin()

    async def submit(work: Operation) -> Any:
        answer = await store.submit(work)
        tell(
            "acknowledged",
            type(work).__name__,
            work.session_id,
            getattr(work, "key", ""),
            getattr(answer, "captured", None),
        )
        return answer

    mine = range(number * clients, (number + 1) * clients)
    await asyncio.gather(
        *(perform(submit, requests(client, count, seed=number), Journal()) for client in mine)
    )
    tell("done")
    sys.stdin.readline()  # whoever started it kills it, also where it was quicker than that
    await store.aclose()


async def grab(
    path: str, number: int, session_id: str, amount: int, times: int, key_no: int | None = None
) -> None:
    """So many holds at once, perhaps all with one API key."""
    store = open_store(path)
    begin()
    fields = {"expires_ms": 2**50, "key_no": key_no}
    await counted(store, [hold(amount, f"p{number}.{n}", session_id, **fields) for n in range(times)])
    await store.aclose()


async def open_sessions(
    path: str, number: int, owner: str, active_max: int, per_user_max: int, times: int
) -> None:
    """So many sessions at once."""
    store = open_store(path)
    begin()
    limits = Limits(active_max=active_max or None, per_user_max=per_user_max or None)
    await counted(store, [create(f"s{number}.{n}", owner=owner, limits=limits) for n in range(times)])
    await store.aclose()


async def take(path: str, number: int, times: int) -> None:
    """So many leases at once."""
    store = open_store(path)
    begin()
    await counted(store, [TakeFromPool("", "bob", f"l{number}.{n}", 10_000) for n in range(times)])
    await store.aclose()


async def start(path: str, number: int) -> None:
    """Open a database that may not be there yet, and use it."""
    begin()
    store = open_store(path)
    await counted(store, [create(f"s{number}")])
    await store.aclose()


async def repeat(path: str, number: int, times: int) -> None:
    """The same keys as every other process."""
    store = open_store(path)
    begin()
    answers = await asyncio.gather(
        *(store.submit(hold(1, f"same{n}", "s0", expires_ms=2**50)) for n in range(times))
    )
    new = [answer for answer in answers if isinstance(answer, Held) and not answer.replayed]
    tell("done", len(new), [])
    await store.aclose()


WORKS = {work.__name__: work for work in (spend, grab, open_sessions, take, start, repeat)}


def main() -> None:
    name, path, *arguments = sys.argv[1:]
    values = [int(argument) if argument.isdecimal() else argument for argument in arguments]
    asyncio.run(WORKS[name](path, *values))  # type: ignore[operator]


if __name__ == "__main__":
    main()
