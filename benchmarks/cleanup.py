"""Cleaning up 1,000 expired sessions among 100,000, against 1,000 among 2,000.

Every round expires sessions anew. In the first figure they are neighbours in time, as sessions are that
were opened on one day; in the second they are strewn over all, which touches a page for almost each of them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from benchmarks.context import Context
from benchmarks.filling import new_session_ids, opened_manager, opening, owner, store_of, submit_all
from benchmarks.harness import Figure, interleave, ratios, timed
from prepaid.sessions.manager import SessionManager

EXPIRED = 1_000
SMALL = 2_000
USERS = 1_000


class House:
    """A database whose live sessions stay, and batches of 1,000 more that expire one after the other."""

    def __init__(self, manager: SessionManager, ids: Sequence[str], batches: list[list[str]]) -> None:
        self.manager = manager
        self.batches = batches
        self.ids = ids

    async def fill(self) -> None:
        doomed = {each for batch in self.batches for each in batch}
        live = (each for each in self.ids if each not in doomed)
        await submit_all(
            store_of(self.manager),
            (opening(each, owner(number % USERS)) for number, each in enumerate(live)),
        )

    async def clean(self) -> float:
        batch = self.batches.pop()
        store = store_of(self.manager)
        expired = store.clock() - 1
        await submit_all(
            store,
            (opening(each, owner(number % USERS), expires_ms=expired) for number, each in enumerate(batch)),
        )
        with timed() as watch:
            closed = await self.manager.cleanup_old_sessions()
        assert len(closed) == EXPIRED, len(closed)
        return watch.seconds / EXPIRED


async def run(context: Context) -> list[Figure]:
    many = context.scaled(100_000, SMALL)
    figures = []
    for is_strewn in (False, True):
        with context.folder() as folder:
            context.say(f"filling a database with {many:,} sessions")
            figures.append(await _measure(context, folder, many, is_strewn=is_strewn))
    return figures


async def _measure(context: Context, folder: Path, many: int, *, is_strewn: bool) -> Figure:
    batches = context.rounds + 1
    async with opened_manager(folder / "large.db") as manager:
        large = _house(manager, many, batches, is_strewn=is_strewn)
        await large.fill()
        numbers = iter(range(batches))

        async def small() -> float:
            """A new file each round: what was closed before would be among the 2,000."""
            async with opened_manager(folder / f"small-{next(numbers)}.db") as other:
                house = _house(other, SMALL, 1, is_strewn=is_strewn)
                await house.fill()
                return await house.clean()

        samples = await interleave({"large": large.clean, "small": small}, context.rounds)
    return Figure(
        f"clean up {EXPIRED:,} expired among {many:,} sessions, "
        + ("strewn over all" if is_strewn else "neighbours"),
        f"{EXPIRED:,} among {SMALL:,}",
        ratios(samples, "large", "small"),
        at_most=None if is_strewn else 1.3,
        told={name: f"{min(samples[name]) * EXPIRED * 1e3:.0f} ms" for name in samples},
    )


def _house(manager: SessionManager, sessions: int, batches: int, *, is_strewn: bool) -> House:
    ids = new_session_ids(sessions + (batches - 1) * EXPIRED)
    source = random.Random(sessions)
    if is_strewn:
        chosen = source.sample(ids, batches * EXPIRED)
    else:
        begin = source.randrange(len(ids) - batches * EXPIRED + 1)
        chosen = ids[begin : begin + batches * EXPIRED]
    return House(manager, ids, [chosen[at : at + EXPIRED] for at in range(0, len(chosen), EXPIRED)])
