"""Whether sessions and chats cost the same however many there are: 100,000 sessions or 10,000 messages,
against 1,000 and 10.

Writes run with 64 (chats: 16) tasks at once, so that the sync of the disk, which is the same for both,
is shared and hides nothing. Questions are asked with the last 10 messages as context on both sides: what
a longer context costs is the model's business. Reads run one after the other.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.context import Context
from benchmarks.filling import (
    MONEY,
    fill_chat,
    new_chats,
    new_session_ids,
    open_sessions,
    opened_manager,
    owner,
    store_of,
)
from benchmarks.hand import Hand
from benchmarks.harness import Figure, interleave, micros, ratios, timed
from prepaid.sessions.chat import Chat
from prepaid.sessions.manager import SessionManager

SESSIONS_PER_USER = 100
WRITERS = 64
CHATS = 16
CONTEXT = 10


@dataclass(frozen=True)
class House:
    """A database with so many sessions, and the chats that are asked in."""

    path: Path
    manager: SessionManager
    ids: list[str]
    users: int
    chats: list[Chat]
    source: random.Random

    def user(self) -> str:
        return owner(self.source.randrange(self.users))

    async def create(self) -> float:
        with timed() as watch:
            await asyncio.gather(
                *(
                    self.manager.create_session(self.user(), MONEY, session_name="One more")
                    for _ in range(WRITERS)
                )
            )
        return watch.seconds / WRITERS

    async def get(self) -> float:
        count = 2_000
        chosen = self.source.choices(range(len(self.ids)), k=count)
        with timed() as watch:
            for number in chosen:
                self.manager.get_session(self.ids[number], owner(number % self.users))
        return watch.seconds / count

    async def get_by_hand(self, hand: Hand) -> float:
        """The same row by sqlite3 alone: what its trees and its cache of 2 MB cost."""
        asked = [(each,) for each in self.source.choices(self.ids, k=2_000)]
        return await hand.read(
            "SELECT session_id, owner, asset FROM account WHERE session_id = ?", asked, rows=1
        )

    async def get_or_create(self) -> float:
        """Finds one that is there, and counts it as used."""
        with timed() as watch:
            for _ in range(4):
                await asyncio.gather(
                    *(self.manager.get_or_create_session(self.user(), MONEY) for _ in range(WRITERS))
                )
        return watch.seconds / WRITERS / 4

    async def list_page(self) -> float:
        users = [self.user() for _ in range(200)]
        with timed() as watch:
            for user in users:
                await self.manager.get_user_sessions(user, limit=50)
        return watch.seconds / len(users)

    async def append(self) -> float:
        with timed() as watch:
            await asyncio.gather(*(chat.send_message("count to 3") for chat in self.chats))
        return watch.seconds / len(self.chats)


async def build(path: Path, stack: AsyncExitStack, sessions: int, messages: int) -> House:
    manager = await stack.enter_async_context(opened_manager(path, context_messages=CONTEXT))
    ids = new_session_ids(sessions)
    users = max(sessions // SESSIONS_PER_USER, 1)
    await open_sessions(store_of(manager), ids, users)
    chats = await new_chats(manager, CHATS)
    for chat in chats:
        await fill_chat(manager, chat, messages)
    return House(path, manager, ids, users, chats, random.Random(sessions))


async def run(context: Context) -> list[Figure]:
    many, long = context.scaled(100_000), context.scaled(10_000)
    figures: list[Figure] = []
    with context.folder() as folder:
        async with AsyncExitStack() as stack:
            context.say(f"filling a database with {many:,} sessions and {CHATS} chats of {long:,} messages")
            small = await build(folder / "small.db", stack, 1_000, CONTEXT)
            large = await build(folder / "large.db", stack, many, long)
            operations = {
                "create a session": House.create,
                "get a session": House.get,
                "get or create": House.get_or_create,
                "list a user's page of 50": House.list_page,
                "append a paid turn": House.append,
            }
            for what, operation in operations.items():
                sides = {
                    "small": lambda operation=operation: operation(small),
                    "large": lambda operation=operation: operation(large),
                }
                samples = await interleave(sides, context.rounds * 3)
                size = (
                    f"{long:,} messages, among {many:,} sessions"
                    if operation is House.append
                    else f"{many:,} sessions"
                )
                figure = _figure(
                    what, size, "10 among 1,000" if operation is House.append else "1,000", samples
                )
                if operation is House.get:
                    figure.told["sqlite3's own growth"] = await _own_growth(context, small, large)
                figures.append(figure)
            figures += [await _history(context, small, large, limit, long) for limit in (CONTEXT, 50)]
    return figures


async def _history(context: Context, small: House, large: House, limit: int, long: int) -> Figure:
    """The last messages of a chat that has no others, against those of a long one."""
    short = (await new_chats(small.manager, 1))[0]
    await fill_chat(small.manager, short, limit)

    async def load(chat: Chat) -> float:
        with timed() as watch:
            for _ in range(400):
                found = await chat.get_history(limit=limit)
        assert len(found) == limit
        return watch.seconds / 400

    samples = await interleave(
        {"small": lambda: load(short), "large": lambda: load(large.chats[CHATS // 2])}, context.rounds
    )
    return _figure(f"load the last {limit} messages", f"{long:,} messages", f"{limit} messages", samples)


async def _own_growth(context: Context, small: House, large: House) -> str:
    with closing(Hand(small.path)) as few, closing(Hand(large.path)) as many:
        sides = {"small": lambda: small.get_by_hand(few), "large": lambda: large.get_by_hand(many)}
        samples = await interleave(sides, context.rounds * 3)
    return f"{median(ratios(samples, 'large', 'small')):.2f} ×"


def _figure(what: str, large: str, small: str, samples: dict[str, list[float]]) -> Figure:
    told = {"large": micros(median(samples["large"])), "small": micros(median(samples["small"]))}
    return Figure(f"{what}: {large}", small, ratios(samples, "large", "small"), at_most=1.3, told=told)
