"""A model that does exactly what a script says, also what no model should."""

from __future__ import annotations

import asyncio
from collections import deque

from prepaid.models.offline import count_tokens
from prepaid.records import ALL_CHAT_APIS, Finish, ModelInfo, Price, TextDelta, Unit, Usage

PER_TOKEN = Price.flat("USD", Unit.TOKEN, 1_000_000, 2_000_000)
PER_BYTE = Price.flat("USD", Unit.BYTE, 1_000_000, 2_000_000)


class Pause:
    """A point where the model waits until ``go`` is set; ``reached`` says that it does."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.go = asyncio.Event()


class Scripted:
    """Says the next script to each request: text, events, whatever else; an exception is raised, a ``Pause`` waits.

    A number is a usage told at the end: ``Finish("stop", Usage(input, number))`` with the input as bounded. With
    none of these the script ends without a ``Finish``. Tokens are those of the offline model.
    """

    def __init__(
        self,
        *scripts,
        name="scripted",
        price=PER_TOKEN,
        context=1_000_000,
        output_max=100_000,
        apis=ALL_CHAT_APIS,
    ) -> None:
        self.info = ModelInfo(name, price, context, output_max, apis, "tests")
        self.scripts = deque(scripts)
        self.requests = []
        self.running = 0

    def input_tokens_max(self, request) -> int:
        return sum(count_tokens(message.text) for message in request.messages)

    def estimate_tokens(self, text) -> int:
        return count_tokens(text)

    async def stream(self, request):
        self.requests.append(request)
        self.running += 1
        try:
            for part in self.scripts.popleft() if len(self.scripts) > 1 else self.scripts[0]:
                match part:
                    case str():
                        yield TextDelta(part)
                    case int():
                        yield Finish("stop", Usage(self.input_tokens_max(request), part))
                    case Pause():
                        part.reached.set()
                        await part.go.wait()
                    case BaseException():
                        raise part
                    case _:
                        yield part
        finally:
            self.running -= 1


END = Finish("stop", None)
