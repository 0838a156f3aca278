"""Nodes that answer late, and what the offline model's answers cost."""

import asyncio

from prepaid import OfflineModel
from prepaid.models.offline import count_tokens


class Slow(OfflineModel):
    """Answers only after the nodes before it, or not at all."""

    def __init__(self, seconds, *, script):
        super().__init__(script=script)
        self.seconds = seconds
        self.asked = asyncio.Event()

    async def stream(self, request):
        self.asked.set()
        await asyncio.sleep(self.seconds)
        async for event in super().stream(request):
            yield event


def price_of(question, answer):
    """What the offline model takes: a base unit for a token of the question, two for one of the answer."""
    return count_tokens(question) + 2 * count_tokens(answer)
