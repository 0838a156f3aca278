"""A node in a process of its own, which kills itself with SIGKILL when it comes to a given step."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from prepaid.chain.node import run_node
from prepaid.chain.node.answering import Answering
from prepaid.chain.node.content import ContentStore
from prepaid.chain.node.journal import Page
from prepaid.chain.sending import Sender
from prepaid.chain.watching import Watch
from prepaid.config import Settings
from prepaid.gateway import logs

STEPS = {
    "event": (Page, "read_on"),
    "worth": (Page, "move"),
    "model": (Answering, "answer"),
    "answer": (Page, "keep_answer"),
    "signed": (Page, "keep_sent"),
    "sent": (Sender, "push"),
    "receipt": (Watch, "_judged"),
}
"""What a node does with a request, in order; each may end before it or right after it."""

ASIDE = {"content": (ContentStore, "keep")}
"""What is done for some requests only."""

KILLS = tuple(f"{when} {step}" for step in STEPS for when in ("before", "after"))


def run(environment, log, kill_at):
    """The process: nothing of the machine's settings, what it says in a file."""
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), sys.stderr.fileno())
    for name in [name for name in os.environ if name.startswith("PREPAID_")]:
        del os.environ[name]
    os.environ.update(environment)
    if kill_at is not None:
        arm(kill_at)
    asyncio.run(node())


async def node():
    logs.configure("debug")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await run_node(Settings(), stop)


def arm(kill_at):
    when, step = kill_at.split()
    owner, name = (STEPS | ASIDE)[step]
    original = getattr(owner, name)

    async def deadly(self, *args, **kwargs):
        if step == "event" and not args[0]:  # blocks without requests are read all the time
            return await original(self, *args, **kwargs)
        if when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = await original(self, *args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
        return done

    setattr(owner, name, deadly)
