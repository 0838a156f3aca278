"""The last 50 messages of 10,000, and one user's page among 100,000 sessions, against sqlite3 by hand.

By hand: a statement of its own with the standard library on the very same file, its rows made into dicts.
Ours: ``chat.get_history()``, which looks at the chat first and returns records, and
``manager.get_user_sessions()``, which returns handles: what makes a handle is what the other side reads.
Without a target: the same page with all that is kept of its sessions, each asked through its handle,
against one statement that joins it all.
"""

from __future__ import annotations

import random
from statistics import median

from benchmarks.context import Context
from benchmarks.filling import (
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

PAGE = 50
USERS = 1_000
TIMES = 200

_MESSAGES = """
  SELECT id - ?1 AS seq, turn, kind, at_ms, body FROM message WHERE id > ?1 AND id <= ?2
  ORDER BY id DESC LIMIT 50"""

_HANDLES = """
  SELECT session_id, owner, asset FROM account WHERE owner = ? AND session_id NOT GLOB 'deposit:*'
  ORDER BY session_id DESC LIMIT 50"""

_RECORDS = """
  SELECT session_id, owner, state, name, metadata, preferences, tags, created_ms, closed_ms, expires_ms,
         current_chat, chat_count, auto_save, idle_ms
  FROM account JOIN session USING (session_id)
  WHERE owner = ? AND state <> 4 ORDER BY session_id DESC LIMIT 50"""


async def run(context: Context) -> list[Figure]:
    many = context.scaled(100_000, USERS * PAGE)
    with context.folder() as folder:
        path = folder / "prepaid.db"
        async with opened_manager(path) as manager:
            context.say(f"filling a database with {many:,} sessions and a chat of 10,000 messages")
            await open_sessions(store_of(manager), new_session_ids(many), USERS)
            (chat,) = await new_chats(manager, 1)
            await fill_chat(manager, chat, 10_000)
            first = chat.record.messages_from
            hand = Hand(path)
            users = {name: random.Random(1) for name in ("ours", "theirs")}

            async def our_messages() -> float:
                with timed() as watch:
                    for _ in range(TIMES):
                        found = await chat.get_history(limit=PAGE)
                assert len(found) == PAGE
                return watch.seconds / TIMES

            async def their_messages() -> float:
                return await hand.read(_MESSAGES, [(first, first + 2**31)] * TIMES, rows=PAGE)

            async def our_page(*, is_whole: bool = False) -> float:
                with timed() as watch:
                    for _ in range(TIMES):
                        user = owner(users["ours"].randrange(USERS))
                        found = await manager.get_user_sessions(user, limit=PAGE)
                        if is_whole:
                            records = [session.record for session in found]
                            assert len(records) == PAGE
                assert len(found) == PAGE
                return watch.seconds / TIMES

            async def their_page(sql: str) -> float:
                asked = [(owner(users["theirs"].randrange(USERS)),) for _ in range(TIMES)]
                return await hand.read(sql, asked, rows=PAGE)

            messages = await interleave({"prepaid": our_messages, "sqlite3": their_messages}, context.rounds)
            pages = await interleave(
                {"prepaid": our_page, "sqlite3": lambda: their_page(_HANDLES)}, context.rounds
            )
            whole = await interleave(
                {"prepaid": lambda: our_page(is_whole=True), "sqlite3": lambda: their_page(_RECORDS)},
                context.rounds,
            )
            hand.close()
    return [
        _figure("the last 50 messages of 10,000", messages, 3),
        _figure(f"one user's page of 50 among {many:,} sessions", pages, 3),
        _figure("the same, and all that is kept of each, asked one by one", whole),
    ]


def _figure(what: str, samples: dict[str, list[float]], at_most: float | None = None) -> Figure:
    told = {name: micros(median(samples[name])) for name in samples}
    against = "sqlite3 on the same rows, into dicts"
    return Figure(what, against, ratios(samples, "prepaid", "sqlite3"), at_most=at_most, told=told)
