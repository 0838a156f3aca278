"""One paid turn appended to a chat, 64 tasks on 64 chats, against a floor by hand and openai-agents' sessions.

The floor holds in one transaction and settles and saves both messages in another; it asks no model, reads
no history, counts no tokens and computes no price. openai-agents' sessions append the two messages and
charge nothing.
"""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.context import Context
from benchmarks.filling import fill_chat, new_chats, opened_manager
from benchmarks.floor import Floor
from benchmarks.harness import Figure, interleave, micros, ratios, timed
from prepaid.sessions.chat import Chat

CHATS = 64
QUESTION = "Where is the nearest station?"
ANSWER = "This is prepaid's built-in offline model; no provider was asked. You said: “Where is the nearest station?”."


async def ask_all(chats: list[Chat], turns: int) -> float:
    """Seconds per turn."""

    async def task(chat: Chat) -> None:
        for _ in range(turns):
            answer = await chat.send_message(QUESTION)
        assert answer.text == ANSWER

    with timed() as watch:
        await asyncio.gather(*(task(chat) for chat in chats))
    return watch.seconds / (turns * len(chats))


class Theirs:
    """openai-agents' sessions, one for each chat on one database file, as their documentation opens them."""

    def __init__(self, sessions: list[Any]) -> None:
        self.sessions = sessions
        self.items = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]

    async def append(self, turns: int) -> float:
        async def task(session: Any) -> None:
            for _ in range(turns):
                await session.add_items(list(self.items))

        with timed() as watch:
            await asyncio.gather(*(task(session) for session in self.sessions))
        return watch.seconds / (turns * len(self.sessions))


def _sqlite_sessions(path: Path) -> Theirs:
    from agents import SQLiteSession

    return Theirs([SQLiteSession(f"chat-{number}", path) for number in range(CHATS)])


async def _sqlalchemy_sessions(path: Path) -> Theirs:
    from agents.extensions.memory import SQLAlchemySession
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    sessions = [SQLAlchemySession(f"chat-{n}", engine=engine, create_tables=True) for n in range(CHATS)]
    await sessions[0].get_items()  # creates the tables
    theirs = Theirs(sessions)
    theirs.engine = engine
    return theirs


async def run(context: Context) -> list[Figure]:
    keys = (f"{number:021x}" for number in itertools.count())
    with context.folder() as folder:
        ids = [f"ses_{number:022d}" for number in range(CHATS)]
        floor = Floor(folder / "floor.db", ids)

        async def by_hand(turns: int) -> float:
            with timed() as watch:
                for _ in range(turns):
                    for session_id in ids:
                        key = next(keys)
                        floor.hold(session_id, key, 2_000, chat_no=1)
                        floor.save_turn(session_id, key, 2_000, 60, QUESTION, ANSWER)
            return watch.seconds / (turns * len(ids))

        sqlite_sessions = _sqlite_sessions(folder / "agents.db")
        sqlalchemy_sessions = await _sqlalchemy_sessions(folder / "alchemy.db")
        turns = context.scaled(5)
        async with opened_manager(folder / "prepaid.db") as manager:
            chats = await new_chats(manager, CHATS * 2)
            fresh, long = chats[:CHATS], chats[CHATS:]
            for chat in long:
                await fill_chat(manager, chat, 50)
            samples = await interleave(
                {
                    "prepaid": lambda: ask_all(fresh, turns),
                    "floor": lambda: by_hand(turns),
                    "long": lambda: ask_all(long, turns),
                    "SQLiteSession": lambda: sqlite_sessions.append(turns),
                    "SQLAlchemySession": lambda: sqlalchemy_sessions.append(1),
                },
                context.rounds,
            )
        floor.close()
        await sqlalchemy_sessions.engine.dispose()
        for session in sqlite_sessions.sessions:
            session.close()
    floor_cost = micros(median(samples["floor"]))

    def figure(name: str, what: str, at_most: float | None = None) -> Figure:
        told = {"cost": micros(median(samples[name])), "floor": floor_cost}
        against = "hold; then settle and both messages, in sqlite3 by hand"
        return Figure(what, against, ratios(samples, name, "floor"), at_most=at_most, told=told)

    return [
        figure("prepaid", "one paid turn, 64 tasks on 64 chats that began empty", 2),
        figure(
            "long", "the same in chats with 50 messages of 425 bytes before, all of them read and counted"
        ),
        figure("SQLiteSession", "openai-agents' SQLiteSession, which charges nothing"),
        figure("SQLAlchemySession", "openai-agents' SQLAlchemySession, which charges nothing"),
    ]
