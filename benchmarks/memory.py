"""What 100,000 idle sessions in the file cost a process in memory: nothing, or some pages of cache.

Each side is a new process that opens the database and serves some users: for each it opens a session, asks
in its chat, lists and gets sessions; then it says its resident memory. Both sides do the same, so both have
the same modules loaded. What is left between them is SQLite's cache of the pages that were touched, at most
2 MB for each of two connections however many sessions there are.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from statistics import median

from benchmarks.context import Context
from benchmarks.filling import new_session_ids, open_sessions, opened_manager, owner, store_of
from benchmarks.harness import Figure, interleave

USERS = 1_000
SERVED = 100


async def run(context: Context) -> list[Figure]:
    many = context.scaled(100_000)
    with context.folder() as folder:
        for name, sessions in (("none", 0), ("many", many)):
            async with opened_manager(folder / f"{name}.db") as manager:
                context.say(f"filling a database with {sessions:,} sessions")
                await open_sessions(store_of(manager), new_session_ids(sessions), USERS)

        async def resident(name: str) -> float:
            asked = subprocess.run(
                [sys.executable, "-m", "benchmarks.memory", str(folder / f"{name}.db")],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            return float(asked.stdout)

        samples = await interleave(
            {"many": lambda: resident("many"), "none": lambda: resident("none")}, context.rounds
        )
    return [
        Figure(
            f"memory of a process that serves {SERVED} users, {many:,} idle sessions in its file",
            "none in its file",
            [many - none for many, none in zip(samples["many"], samples["none"], strict=True)],
            unit="MB",
            at_most=1,
            told={name: f"{median(samples[name]):.1f} MB" for name in samples},
        )
    ]


async def use(path: Path) -> float:
    """Use the database a little; returns resident MB."""
    async with opened_manager(path) as manager:
        for number in range(SERVED):
            user = owner(number * 7)
            session = await manager.create_session(user, "1 USD")
            await session.send_message("count to 3")
            await manager.get_user_sessions(user, limit=10)
            manager.get_session(session.session_id, user)
        return _resident_mb()


def _resident_mb() -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmRSS"))
    return int(kilobytes) * 1024 / 1e6


if __name__ == "__main__":
    print(asyncio.run(use(Path(sys.argv[1]))))
