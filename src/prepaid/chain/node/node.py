"""A node on one contract: requests come in, each is judged, answered, delivered, once.

Every step is written down before the next is taken, and every step can be taken again: a process that ends
anywhere is followed by one that goes on from what the journal, the ledger and the chain say.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Final

from prepaid.chain.ai import AiContract, Request
from prepaid.chain.node.answering import Answering
from prepaid.chain.node.checking import Checking
from prepaid.chain.node.delivering import Delivering, Ended
from prepaid.chain.node.following import Follower, Heads
from prepaid.chain.node.gathering import Gathering
from prepaid.chain.node.journal import Page, State
from prepaid.chain.node.telling import told_of
from prepaid.chain.node.upkeep import Upkeep
from prepaid.chain.values import Answer
from prepaid.config import NodeSettings
from prepaid.errors import ConfigError, ContractReverted, RequestNotFound

__all__ = ["Node"]

_DELIVERIES_MAX: Final = 512
_PAUSE_SECONDS: Final = 0.5
_PAUSE_SECONDS_MAX: Final = 30.0
_DOUBLINGS_MAX: Final = 6

_logger = logging.getLogger("prepaid.node")


class _Later(Exception):
    """Not now; ``seconds`` from now."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Node:
    """Answers one contract's requests as one registered node; ``Node.at`` sees that it may."""

    def __init__(
        self, ai: AiContract, name: str, page: Page, answering: Answering, settings: NodeSettings
    ) -> None:
        self.ai = ai
        self._chain = ai.contract.chain
        self._page = page
        self._answering = answering
        self._settings = settings
        self._told = {"chain_id": self._chain.chain_id, "contract": ai.address, "node": name}
        self._checking = Checking(ai, name, settings, answering)
        self._delivering = Delivering(ai, name, page, Gathering(ai, name, settings))
        self._upkeep = Upkeep(ai, name, page, settings)
        confirmations = ai.contract.sender.policy.confirmations
        self._follower = Follower(ai, page, confirmations, settings.lookback_blocks)
        self._to_answer: asyncio.Queue[str] = asyncio.Queue()
        self._to_deliver: asyncio.Queue[str] = asyncio.Queue()
        self._failures: Counter[str] = Counter()
        self._waited: set[str] = set()
        self._asking: set[asyncio.Task[Answer]] = set()

    @classmethod
    async def at(cls, ai: AiContract, page: Page, answering: Answering, settings: NodeSettings) -> Node:
        """The configured node, if the wallet operates it.

        Raises:
            ConfigError: no name, or somebody else's.
            NoNodesAvailable: nobody registered it.
        """
        if settings.name is None:
            raise ConfigError("node.name is missing.", remedy="Name the registered node: NAMESPACE.NODE.")
        registered = await ai.node_of(settings.name)
        if registered.operator != ai.contract.caller:
            raise ConfigError(
                f"Node {settings.name} is operated by {registered.operator}, not by {ai.contract.caller}.",
                remedy="Use its operator's wallet, or register a node for this one.",
            )
        return cls(ai, settings.name, page, answering, settings)

    @property
    def here(self) -> tuple[int, str]:
        """Which contract: its chain's id, and its address."""
        return self._chain.chain_id, self.ai.address

    async def run(self, poll_seconds: float) -> None:
        """Answer until cancelled. Models that were asked by then are waited for by ``finish``."""
        for request_id, state in await self._page.unfinished():
            self._queue_of(state).put_nowait(request_id)
        heads = Heads(self._chain, poll_seconds)
        _logger.info("following", extra=self._told)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(heads.listen())
            tasks.create_task(self._follow(heads))
            tasks.create_task(self._upkeep.run())
            for _ in range(self._settings.concurrency):
                tasks.create_task(self._work(self._to_answer, self._answer))
            for _ in range(_DELIVERIES_MAX):
                tasks.create_task(self._work(self._to_deliver, self._deliver))

    async def finish(self, seconds: float) -> None:
        """Give models that were asked the time to answer: it is paid for, and kept for the next start."""
        if self._asking:
            await asyncio.wait(self._asking, timeout=seconds)
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    async def _follow(self, heads: Heads) -> None:
        while True:
            try:
                async with aclosing(self._follower.news()) as pieces:
                    async for news in pieces:
                        for request_id, state in news:
                            self._queue_of(state).put_nowait(request_id)
            except Exception as error:  # noqa: BLE001 -- a node outlives whatever an endpoint does
                _logger.warning("cannot read the chain", extra=self._told | told_of(error))
            await heads.wait()

    async def _work(self, queue: asyncio.Queue[str], step: Callable[[str], Awaitable[None]]) -> None:
        """Take requests through one step, one after another; what fails comes back later."""
        while True:
            request_id = await queue.get()
            try:
                await step(request_id)
            except _Later as later:
                self._again(queue, request_id, later.seconds)
            except Exception as error:  # noqa: BLE001 -- one request must not end all others
                self._failures[request_id] += 1
                doublings = min(self._failures[request_id] - 1, _DOUBLINGS_MAX)
                told = self._told | {"request_id": request_id, "tries": self._failures[request_id]}
                _logger.warning("will try again", extra=told | told_of(error))
                self._again(queue, request_id, min(_PAUSE_SECONDS * 2**doublings, _PAUSE_SECONDS_MAX))

    async def _answer(self, request_id: str) -> None:
        """From seen to answered, once there is room for the answer."""
        await self.ai.contract.sender.outbox.room()
        entry = await self._page.entry(request_id)
        request = entry.request
        ended = await (self._judged(request) if entry.state is State.SEEN else self._late(request))
        if ended is not None:
            await self._end(request_id, ended)
            return
        await self._page.move(request_id, State.ANSWERING)
        answer = await self._asked(request)
        await self._page.keep_answer(request_id, answer)
        told = {"request_id": request_id, "status": answer.status.name, "bytes": len(answer.response)}
        _logger.info("answered", extra=self._told | told)
        self._failures.pop(request_id, None)
        self._to_deliver.put_nowait(request_id)

    async def _judged(self, request: Request) -> Ended | None:
        """Why the request is not to be answered."""
        try:
            unfit = await self._checking.verdict(request)
        except (ContractReverted, RequestNotFound) as error:
            ended = await self._delivering.end_after(request, error)
            if ended is None:
                raise
            return ended
        if unfit is not None:
            return Ended(State.DECLINED, unfit.reason)
        if request.request_id not in self._waited:
            self._waited.add(request.request_id)
            wait = await self._checking.turn(request)
            if wait is not None:
                raise _Later(wait.seconds)
        return None

    async def _late(self, request: Request) -> Ended | None:
        """Whether it is too late for a request that was found worth answering before."""
        if (await self._chain.recent_block()).timestamp > request.terms.deadline:
            return Ended(State.EXPIRED, "its deadline passed before it was answered")
        return None

    async def _asked(self, request: Request) -> Answer:
        """The answer. A node that is stopped leaves it to ``finish``, and finds it in the ledger later."""
        key = f"{self._chain.chain_id}:{self.ai.address}:{request.request_id}"
        task = asyncio.create_task(self._answering.answer(request, key))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return await asyncio.shield(task)

    async def _deliver(self, request_id: str) -> None:
        """From answered to its end."""
        entry = await self._page.entry(request_id)
        await self._end(request_id, await self._delivering.deliver(entry, self._checking.gas(request_id)))

    async def _end(self, request_id: str, ended: Ended) -> None:
        await self._page.move(request_id, ended.state, ended.reason)
        self._checking.forget(request_id)
        self._waited.discard(request_id)
        self._failures.pop(request_id, None)
        told = {"request_id": request_id, "state": ended.state, "reason": ended.reason}
        _logger.info("ended", extra=self._told | told)

    def _queue_of(self, state: State) -> asyncio.Queue[str]:
        return self._to_deliver if state in {State.ANSWERED, State.SENT} else self._to_answer

    def _again(self, queue: asyncio.Queue[str], request_id: str, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, queue.put_nowait, request_id)
