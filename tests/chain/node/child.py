"""A node in a process of its own, which kills itself with SIGKILL when it comes to a given step."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from prepaid.chain.ai import AiContract
from prepaid.chain.node import Node, run_node
from prepaid.chain.node.answering import Answering
from prepaid.chain.node.content import ContentStore
from prepaid.chain.node.journal import Page
from prepaid.chain.sending import Sender
from prepaid.chain.watching import Watch
from prepaid.config import Settings
from prepaid.gateway import logs
from prepaid.meter import Meter, PaidCall

STEPS = {
    "event": (Page, "read_on"),
    "worth": (Page, "move"),
    "model": (Answering, "answer"),
    "hold": (Meter, "open"),
    "settling": (PaidCall, "settle"),
    "answer": (Page, "keep_answer"),
    "signed": (Page, "keep_sent"),
    "sent": (Sender, "push"),
    "receipt": (Watch, "_judged"),
    "end": (Node, "_end"),
}
"""What a node does with a request, in order; each may end before it or right after it."""

KILLS = tuple(f"{when} {step}" for step in STEPS for when in ("before", "after"))

ASIDE = {
    "content": (ContentStore, "keep"),
    "withdrawal": (AiContract, "withdraw"),
    "expiry": (AiContract, "expire"),
}
"""What is done for some requests only, or beside them."""


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
    """Die at this step of the request that asks ``kill_at``: the traps are laid when its event is read."""
    when, step = kill_at.split()
    read_on = Page.read_on

    async def deadly_from_now(self, requests, next_block):
        if any(kill_at.encode() in each.asked.call for each in requests):
            Page.read_on = read_on
            lay(when, *(STEPS | ASIDE)[step])
            return await self.read_on(requests, next_block)
        return await read_on(self, requests, next_block)

    Page.read_on = deadly_from_now


def lay(when, owner, name):
    original = getattr(owner, name)

    async def deadly(self, *args, **kwargs):
        if when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = await original(self, *args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
        return done

    setattr(owner, name, deadly)
