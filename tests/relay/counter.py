"""A counter that relays: a desk with real books, and a catalogue whose upstreams are fake providers over HTTP."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from paying.desk import Desk
from prepaid.config import Settings
from prepaid.models.catalogue import Catalogue
from prepaid.relay import CHAT, Order, Relay

PRICE = {"input_per_million": "1", "output_per_million": "2", "output_tokens_max": 1000}
"""One base unit for a token of input, two for one of output."""
HELLO = [{"role": "user", "content": "Hello there"}]


async def until(condition):
    """Waits for what another thread does."""
    async with asyncio.timeout(120):
        while not condition():  # noqa: ASYNC110 -- it cannot set an event of this loop
            await asyncio.sleep(0.005)


@dataclass
class Answered:
    """One relayed answer; ``json`` of a whole one, ``data`` of the events of a streamed one."""

    content: bytes
    receipt: object
    head: object = None

    @property
    def json(self):
        return json.loads(self.content)

    @property
    def events(self):
        lines = self.content.split(b"\n")
        return [line.removeprefix(b"data: ") for line in lines if line.startswith(b"data: ")]

    @property
    def chunks(self):
        return [json.loads(data) for data in self.events if data != b"[DONE]"]

    @property
    def text(self):
        deltas = [choice["delta"] for chunk in self.chunks for choice in chunk.get("choices", ())]
        return "".join(delta.get("content") or "" for delta in deltas)


class Counter:
    def __init__(self, path, fakes, *, models=(), prices=None, default=64, hold_seconds=30.0, **settings):
        self.desk = Desk(path, hold_seconds=hold_seconds)
        upstreams = {
            name: {
                "base_url": fake.base_url,
                "models": (name,),
                "api_key": "sk-secret",
                "retries_max": 0,
                "allow_fields": ("fake",),
            }
            for name, fake in fakes.items()
        }
        for name, more in settings.pop("upstreams", {}).items():
            upstreams[name] = upstreams[name] | more
        prices = dict.fromkeys(fakes, PRICE) | (prices or {})
        prices = {name: price for name, price in prices.items() if price is not None}
        self.settings = Settings(upstreams=upstreams, prices=prices, **settings)
        self.catalogue = Catalogue(self.settings, models)
        self.relay = Relay(self.desk.meter, self.catalogue, default)

    async def aclose(self):
        await self.desk.aclose()
        await self.catalogue.aclose()

    def order(self, payer, model="fast", *, api=CHAT, key=None, chat_no=None, raw=None, **body):
        if "input" not in body:
            body = {"messages": HELLO} | body
        content = json.dumps({"model": model, **body}).encode() if raw is None else raw
        return Order.read(api, payer, content, key=key, chat_no=chat_no)

    async def ask(self, payer, model="fast", **body):
        order = self.order(payer, model, **body)
        if not order.asked.is_stream:
            relayed = await self.relay.answer(order)
            return Answered(relayed.content, relayed.receipt)
        *pieces, receipt = [piece async for piece in self.relay.stream(order)]
        return Answered(b"".join(pieces[1:]), receipt, pieces[0])
