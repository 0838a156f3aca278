"""Twenty streams at once, left again and again for a minute at random moments: who pays for what was made?

Two providers, both of which stop when they are left, and bill what they have made: one thinks first, where nobody
sees it, and then speaks; the other speaks from the beginning, and its operator has said that it stops. Clients fund a session, leave stream after stream until
it has no money left, and fund another one.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.context import Context
from benchmarks.harness import Figure

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from gateway.running import Gateway
from matrix.callers import Desk, Payer, ask_gateway
from matrix.cells import Api, Cell, Ending, Mode
from matrix.provider import Exchange, HungUp, Provider, Tally, sse
from matrix.scripts import Run
from prepaid import SessionManager
from prepaid.audit import audit
from prepaid.config import Settings

CLIENTS = 20
FUND = 50_000
LIMIT = 700
INPUT = 30
TICK_SECONDS = 0.01
EXPOSED_MAX = 0.05
BILLED_MAX = 1.05
"""A provider has made a tick more than was seen when it notices that it was left."""
THINKS, SPEAKS = "thinks first", "speaks at once"
MADE = {THINKS: (120, 20), SPEAKS: (0, 100)}
"""Ticks of hidden output and of words; four tokens each."""
TOKENS_PER_TICK = 4
_SETTINGS = """
[gateway]
log_level = "error"
[upstreams.thinking]
base_url = "{url}"
models = ["{thinks}"]
bytes_per_token = 4
[upstreams.speaking]
base_url = "{url}"
models = ["{speaks}"]
bytes_per_token = 4
stops_when_left = true
"""
_PRICE = """
[prices."{model}"]
input_per_million = "1"
output_per_million = "2"
context_tokens_max = 100000
"""


@dataclass
class Sums:
    """Of one provider in one round."""

    billed: int = 0
    used: int = 0
    """What was funded and is no longer there."""
    unexplained: int = 0
    booked: int = 0
    asked: int = 0
    left: int = 0


@dataclass
class Client:
    """One session after the other, for the bench: ``tallies`` by the number in its prompts."""

    desk: Desk
    port: int
    model: str
    tallies: dict[int, Tally]
    draw: random.Random
    sums: Sums
    payers: list[tuple[Payer, Run]] = field(default_factory=list)

    async def run(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            await self._fund()
            while loop.time() < until and await self._ask():
                pass

    async def _fund(self) -> None:
        number = len(self.tallies)
        self.tallies[number] = Tally()
        run = Run(Cell(Api.CHAT, Mode.STREAM, Ending.WHOLE), number)
        self.payers.append((await self.desk.payer(run, FUND), run))

    async def _ask(self) -> bool:
        """Whether there is money for another one."""
        payer, run = self.payers[-1]
        messages = [{"role": "user", "content": f"{run.tag}" + "tok " * (INPUT - 2)}]
        body = {"model": self.model, "messages": messages, "max_tokens": LIMIT, "stream": True}
        seconds = self.draw.uniform(0, 1.6 * sum(MADE[self.model]) * TICK_SECONDS)
        self.sums.asked += 1
        try:
            seen = await asyncio.wait_for(
                ask_gateway(self.port, payer.key, "/chat/completions", body), seconds
            )
        except TimeoutError:
            self.sums.left += 1
            return True
        return seen.status != 402


async def run(context: Context) -> list[Figure]:
    rounds: dict[str, list[Sums]] = {THINKS: [], SPEAKS: []}
    seconds = context.scaled(60) / context.rounds
    with context.folder() as folder:
        async with Provider() as provider:
            gateway = Gateway(folder, _toml(provider))
            await asyncio.to_thread(gateway.start)
            try:
                settings = Settings(database=gateway.database, sessions={"auto_cleanup": False})
                async with SessionManager(settings=settings) as manager:
                    for number in range(context.rounds):
                        for model, sums in rounds.items():
                            sums.append(
                                await _round(provider, gateway, Desk(manager), model, seconds, number)
                            )
                        context.say(f"round {number + 1} of {context.rounds}")
                    report = await Desk(manager).store.report(audit)
                    if not report.is_clean:
                        raise RuntimeError(str(report))
            finally:
                await asyncio.to_thread(gateway.stop)
            if provider.failures:
                raise RuntimeError(provider.failures[0])
    return [figure for model, sums in rounds.items() for figure in _figures(model, sums)]


async def _round(
    provider: Provider, gateway: Gateway, desk: Desk, model: str, seconds: float, number: int
) -> Sums:
    tallies: dict[int, Tally] = {}
    open_now = {"requests": 0}

    async def script(exchange: Exchange) -> None:
        tag = re.search(r"#(\d{6})#", str(exchange.body["messages"]))
        open_now["requests"] += 1
        try:
            await _answer(exchange, tallies[int(tag[1])], model)
        finally:
            open_now["requests"] -= 1

    provider.scripts[""] = script
    sums = Sums()
    clients = [
        Client(desk, gateway.port, model, tallies, random.Random(f"{model} {number} {each}"), sums)
        for each in range(CLIENTS)
    ]
    until = asyncio.get_running_loop().time() + seconds
    await asyncio.gather(*(client.run(until) for client in clients))
    while open_now["requests"]:
        await asyncio.sleep(0.05)
    for client in clients:
        for payer, run in client.payers:
            books = await desk.books(payer, run)
            if books.held:
                raise RuntimeError(f"{books.held} stays held")
            billed = tallies[run.number].billed
            sums.billed += billed
            sums.used += books.funded - books.available
            sums.booked += books.booked
            sums.unexplained += max(billed - books.charged - books.booked, 0)
    return sums


async def _answer(exchange: Exchange, tally: Tally, model: str) -> None:
    """Tick by tick; who hangs up is billed what was made until then."""
    made = tally.begin(INPUT)
    hidden, words = MADE[model]
    await exchange.head()
    await exchange.send(_chunk({"role": "assistant", "content": ""}))
    for tick in range(hidden + words):
        if await exchange.gone(TICK_SECONDS):
            raise HungUp
        if made.output + TOKENS_PER_TICK > (exchange.limit or LIMIT):
            break
        made.output += TOKENS_PER_TICK
        if tick >= hidden:
            await exchange.send(_chunk({"content": "tok " * TOKENS_PER_TICK}))
    usage = {"prompt_tokens": INPUT, "completion_tokens": made.output, "total_tokens": INPUT + made.output}
    await exchange.send(
        _chunk({}, "stop"), sse({**_ENVELOPE, "choices": [], "usage": usage}), b"data: [DONE]\n\n"
    )
    await exchange.end()


_ENVELOPE = {"id": "c1", "object": "chat.completion.chunk", "created": 1}


def _chunk(delta: dict, finish: str | None = None) -> bytes:
    return sse({**_ENVELOPE, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def _toml(provider: Provider) -> str:
    text = _SETTINGS.format(url=provider.base_url, thinks=THINKS, speaks=SPEAKS)
    return text + _PRICE.format(model=THINKS) + _PRICE.format(model=SPEAKS)


def _figures(model: str, rounds: list[Sums]) -> list[Figure]:
    asked, left = sum(each.asked for each in rounds), sum(each.left for each in rounds)
    told = {"left": f"{left / asked:.0%} of all streams"}

    def shares(name: str, of: str) -> list[float]:
        return [getattr(each, name) / max(getattr(each, of), 1) for each in rounds]

    what = f"a provider that {model}"
    return [
        Figure(
            f"billed by {what}",
            "what was funded and used",
            shares("billed", "used"),
            at_most=BILLED_MAX,
            told=told,
        ),
        Figure(f"unexplained of {what}", "billed", shares("unexplained", "billed"), at_most=0),
        Figure(f"booked as exposure, {what}", "billed", shares("booked", "billed"), at_most=EXPOSED_MAX),
    ]
