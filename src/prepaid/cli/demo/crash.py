"""The demo's crash: a worker process is killed in mid-answer, and the ledger puts it right by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

from prepaid.cli.demo.stage import Stage, dollars
from prepaid.cli.demo.worker import HOLD_SECONDS
from prepaid.cli.running import workspace_of
from prepaid.errors import StoreError
from prepaid.records import Account
from prepaid.sessions.chat import Chat
from prepaid.sessions.manager import SessionManager

__all__ = ["kill_a_worker"]

_SPOKEN_MIN: Final = 90
"""Characters to hear before the kill: enough to see that it was in the middle."""

_PATIENCE_SECONDS: Final = 30
_SWEEP_SECONDS: Final = 0.05


async def kill_a_worker(stage: Stage) -> None:
    """What was delivered is paid as recorded, the rest released; nothing else is touched."""
    story, session = stage.story, stage.ann
    story.chapter("kill -9 in the middle of an answer")
    chat = await session.create_new_chat(chat_name="Worker")
    before, written = session.account, (await session.get_statement())["lines"]
    story.say("Another process answers Ann now; it holds the worst case of what that may cost.")
    story.question("Ann", "count to 500")
    async with _worker(stage, chat) as process:
        with story.reply(chat.name) as speak:
            await _listen(stage, process, speak)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            speak(" …")
    held, recorded = _open_hold(stage)
    story.refused(
        f"Killed (process {process.pid}), with {dollars(held)} on hold;"
        f" at its last sign of life it had delivered {dollars(recorded)}."
    )
    story.say("Whatever process opens the database next puts that right:")
    seconds, after = await _settled(stage)
    paid = after.spent - before.spent
    stage.outcome.recovered = (
        process.returncode == -signal.SIGKILL
        and held > 0
        and paid == recorded
        and after.held == before.held
        and after.available == before.available - paid
        and (await session.get_statement())["lines"][: len(written)] == written
        and (await stage.audited()).is_clean
    )
    story.good(f"Settled after {seconds:.1f} s: {dollars(paid)} paid, {dollars(held - paid)} released.")
    story.say("What a provider may still bill for the rest is booked as the operator's loss, not as Ann's.")
    count = chat.record.message_count
    story.say(f"The chat kept {count} messages of it, for a turn is saved whole or not at all, and goes on:")
    await stage.talk(chat, "Ann", "count to 3")


@asynccontextmanager
async def _worker(stage: Stage, chat: Chat) -> AsyncGenerator[Process]:
    """The worker; dead at the end, whatever happens here. It hears no Ctrl-C of ours."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "prepaid.cli.demo.worker"),
        *(str(stage.database), stage.ann.session_id, stage.ann.user_id, str(chat.chat_no)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(os.environ),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _listen(stage: Stage, process: Process, speak: Callable[[str], None]) -> None:
    """Pass on what the worker says, until it is well under way and the ledger knows of it."""
    assert process.stdout is not None
    assert process.stderr is not None
    spoken = 0
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while spoken < _SPOKEN_MIN or not _open_hold(stage)[1]:
            said = (await process.stdout.read(256)).decode()
            if not said:
                why = (await process.stderr.read()).decode()[-400:]
                raise StoreError(f"The worker ended too early. {why}", remedy="Run the demo again.")
            speak(said)
            spoken += len(said)


def _open_hold(stage: Stage) -> tuple[int, int]:
    """What is on hold for the session's running request, and what the ledger knows was delivered of it."""
    row = workspace_of(stage.manager).store.reads.row(
        "SELECT amount, delivered FROM hold WHERE session_id = ? AND state = 0", (stage.ann.session_id,)
    )
    return (row[0], row[1]) if row else (0, 0)


async def _settled(stage: Stage) -> tuple[float, Account]:
    """The account once nothing is held any more, which a fresh manager on the same database sees to."""
    started = time.monotonic()
    settings = stage.manager.settings.model_copy(update={"sweep_seconds": _SWEEP_SECONDS})
    with stage.story.waiting(f"its hold runs out {HOLD_SECONDS} s after its last sign of life"):
        async with SessionManager(settings=settings), asyncio.timeout(_PATIENCE_SECONDS):
            while stage.ann.account.held:  # noqa: ASYNC110 -- it is the database that changes
                await asyncio.sleep(_SWEEP_SECONDS)
    return time.monotonic() - started, stage.ann.account
