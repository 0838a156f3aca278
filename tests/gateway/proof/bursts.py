"""A thousand clients at once, who do what the replies tell them, and what came of it."""

from __future__ import annotations

import asyncio
import random
import resource
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

CLIENTS = 1_000
PATIENCE_SECONDS = 240
QUESTION = [{"role": "user", "content": "one two three four five"}]


@dataclass
class Outcome:
    """How each client's request ended, by status, and every refusal on the way there."""

    ended: Counter = field(default_factory=Counter)
    refused: Counter = field(default_factory=Counter)
    cost: int = 0
    lowered: int = 0
    delivered: int = 0
    """Words that those were given who hung up."""
    broken: int = 0
    """Connections that broke, as when a worker is killed."""


async def burst(url, key, body, *, clients=CLIENTS, words=None, keyed=False):
    """``clients`` ask at once. Who is told to wait does so and asks again; who is told that it is no use stops.

    ``words``: hang up after one of these numbers of events with text. ``keyed``: each has an idempotency key, and asks again
    when its connection breaks.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    outcome = Outcome()
    asked = {"model": "fast", "messages": QUESTION, **body}
    headers = {"authorization": f"Bearer {key}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        aiohttp.ClientSession(url, connector=connector, headers=headers) as session,
        asyncio.TaskGroup() as group,
    ):
        for number in range(clients):
            own = {"idempotency-key": f"client-{number}"} if keyed else {}
            group.create_task(_client(session, asked, own, words, outcome))
    return outcome


async def _client(session, asked, headers, words, outcome):
    while True:
        try:
            wait = await _ask(session, asked, headers, words, outcome)
        except aiohttp.ClientError:
            if not headers:
                raise
            outcome.broken += 1
            wait = 0.2
        if wait is None:
            return
        await asyncio.sleep(wait * random.uniform(0.5, 1.5))


async def _ask(session, asked, headers, words, outcome):
    """Once; returns how long to wait before the next time, or ``None``."""
    async with session.post("/v1/chat/completions", json=asked, headers=headers) as reply:
        after = reply.headers.get("retry-after")
        if reply.status != 200 and after is not None:
            outcome.refused[reply.status] += 1
            await reply.read()
            return float(after)
        if words is not None and reply.status == 200:
            outcome.delivered += await _hang_up(reply, random.choice(words))
        else:
            await reply.read()
        outcome.ended[reply.status] += 1
        outcome.cost += int(reply.headers.get("x-prepaid-cost", 0))
        outcome.lowered += "x-prepaid-lowered" in reply.headers
        return None


async def _hang_up(reply, words):
    seen = 0
    async for line in reply.content:
        seen += b'"content": " ' in line or b'"content":" ' in line
        if seen == words:
            reply.close()
            return seen
    raise AssertionError(f"the answer ended after {seen} words")
