"""Stores and managers to measure on, and large databases made quickly: whole batches of operations."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from prepaid.config import Settings
from prepaid.ledger import new_id
from prepaid.records import Message, Role
from prepaid.sessions.chat import Chat
from prepaid.sessions.manager import SessionManager
from prepaid.store.operations import AppendMessages, CreateSession, Operation
from prepaid.store.sqlite.store import SqliteStore

MONEY = 10**12
DAY_MS = 86_400_000
_AT_ONCE = 2_048


@asynccontextmanager
async def opened_store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def opened_manager(
    path: Path, *, models: Sequence[Any] = (), **settings: Any
) -> AsyncIterator[SessionManager]:
    """A manager with no limit in the way and nothing running beside what is measured."""
    limits = {"max_sessions_per_user": 10**9, "max_chats_per_session": 10**9, "auto_cleanup": False}
    chosen = Settings(database=str(path), sessions=limits, **settings)
    async with SessionManager(settings=chosen, models=models) as manager:
        yield manager


def store_of(manager: SessionManager) -> SqliteStore:
    """The store behind a manager, to fill it in bulk; never used inside a measurement."""
    return manager._workspace.store  # noqa: SLF001 -- there is no public way, and users need none


async def submit_all(store: SqliteStore, operations: Iterable[Operation]) -> None:
    """Apply many operations, as many at once as a queue takes well."""
    waiting: list[asyncio.Future[Any]] = []
    for operation in operations:
        waiting.append(store.submit(operation))
        if len(waiting) >= _AT_ONCE:
            await asyncio.gather(*waiting)
            waiting.clear()
    await asyncio.gather(*waiting)


def new_session_ids(count: int) -> list[str]:
    """Ids in the order of time."""
    return sorted(new_id("ses") for _ in range(count))


def opening(session_id: str, owner: str, expires_ms: int | None = None) -> CreateSession:
    return CreateSession(
        session_id,
        owner,
        "USD",
        key=session_id,
        fingerprint=b"bench",
        amount=MONEY,
        name="A session",
        metadata='{"plan":"pro"}',
        expires_ms=expires_ms,
        idle_ms=DAY_MS,
        key_digest=bytes(32),
        keep_refusal=False,  # as for callers without a key
    )


async def open_sessions(store: SqliteStore, ids: Sequence[str], users: int) -> None:
    """Sessions of ``users`` users in turn, so that no user's lie side by side."""
    await submit_all(store, (opening(each, owner(number % users)) for number, each in enumerate(ids)))


def owner(number: int) -> str:
    return f"user-{number:06d}"


async def new_chats(manager: SessionManager, count: int) -> list[Chat]:
    """Chats in sessions of their own."""
    sessions = await asyncio.gather(*(manager.create_session(f"asker-{n}", MONEY) for n in range(count)))
    return [await session.create_new_chat() for session in sessions]


async def fill_chat(manager: SessionManager, chat: Chat, messages: int) -> None:
    """Questions and answers of about 150 and 700 bytes, as if they had been asked long ago."""
    texts = conversation(messages, seed=chat.chat_id)
    await submit_all(
        store_of(manager),
        (
            AppendMessages(chat.payer.session_id, chat.payer.owner, chat.chat_no, tuple(texts[at : at + 100]))
            for at in range(0, len(texts), 100)
        ),
    )


def conversation(messages: int, *, seed: str) -> list[Message]:
    source = random.Random(seed)
    return [
        Message(Role.ASSISTANT, prose(source, 700)) if number % 2 else Message(Role.USER, prose(source, 150))
        for number in range(messages)
    ]


def prose(source: random.Random, length: int) -> str:
    """Words, commas and full stops, within a tenth of ``length`` bytes."""
    wanted = source.randint(length * 9 // 10, length * 11 // 10)
    words: list[str] = []
    size = 0
    while size < wanted:
        word = source.choice(_WORDS) + source.choice(_ENDS)
        words.append(word)
        size += len(word) + 1
    return " ".join(words)[:wanted].rstrip()


_ENDS = ("", "", "", "", "", "", "", ",", ".")
_TEXT = """
a the of and to in that is was for it with as his on be at by this had not are but from or have an they which
one you were her all she there would their we him been has when who will more no if out so said what up its
about into than them can only other new some could time these two may then do first any my now such like our
over man me even most made after also did many before must through back years where much your way well down
should because each just those people how too little state good very make world still own see men work long
get here between both life being under never day same another know while last might us great old year off
come since against go came right used take three session balance request answer question model provider"""
_WORDS = re.findall(r"\w+", _TEXT)
