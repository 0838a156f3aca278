"""Disk for each byte of text after 200 paid turns, the ledger's tables counted apart.

The text is questions of about 150 and answers of about 700 bytes. The file is closed first, so that its
log is folded in; whole pages are counted, by SQLite's own ``dbstat``. Chats are the tables of chats and
messages and what lies free in the file; the ledger is the tables that money moves in. The rest, which is the
schema and a page for each other table and index, is the same at any number of turns; the last figure has it
all.
"""

from __future__ import annotations

import random
from pathlib import Path

import apsw

from benchmarks.context import Context
from benchmarks.filling import new_chats, opened_manager, prose
from benchmarks.harness import Figure
from prepaid.models.offline import OfflineModel

TURNS = 200
CHATS = ("chat", "message", "sqlite_autoindex_chat", "free")
LEDGER = ("account", "hold", "transfer", "operation", "tally")


async def run(context: Context) -> list[Figure]:
    chats: list[float] = []
    ledger: list[float] = []
    files: list[float] = []
    for seed in range(3):
        with context.folder() as folder:
            path = folder / "prepaid.db"
            text = await _converse(path, random.Random(seed))
            sizes = _pages(path)
        chats.append(_sum(sizes, CHATS) / text)
        ledger.append(_sum(sizes, LEDGER) / text)
        files.append(sum(sizes.values()) / text)
    return [
        Figure(
            f"disk for a byte of text after {TURNS} turns",
            f"{text:,} bytes of text, UTF-8",
            chats,
            unit="B",
            at_most=1.6,
        ),
        Figure("the ledger's rows and indexes beside it", "the same text", ledger, unit="B"),
        Figure(
            "the whole file",
            "the same text",
            files,
            unit="B",
            told={"the same at any size": f"{sum(sizes.values()) - _sum(sizes, CHATS + LEDGER):,} bytes"},
        ),
    ]


async def _converse(path: Path, source: random.Random) -> int:
    """Ask and be answered; returns the bytes of text."""
    questions = [prose(source, 150) for _ in range(TURNS)]
    answers = [prose(source, 700) for _ in range(TURNS)]
    async with opened_manager(path, models=(OfflineModel(script=answers),)) as manager:
        (chat,) = await new_chats(manager, 1)
        for question, expected in zip(questions, answers, strict=True):
            assert (await chat.send_message(question)).text == expected
    return sum(len(text.encode()) for text in questions + answers)


def _sum(sizes: dict[str, int], tables: tuple[str, ...]) -> int:
    """Bytes of these tables and of their indexes, which are named after them."""
    return sum(size for name, size in sizes.items() if name.startswith(tables))


def _pages(path: Path) -> dict[str, int]:
    """Bytes of each table and index; what is free belongs to no one and is counted."""
    connection = apsw.Connection(str(path))
    sizes = dict(connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").fetchall())
    connection.close()
    sizes["free"] = path.stat().st_size - sum(sizes.values())
    return sizes
