"""Plays the scenes on the chain in order, with a node that runs all the while."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from prepaid.chain.connection import Chain
from prepaid.chain.local import Engine, local_chain
from prepaid.chain.local.stage import running_node
from prepaid.cli.demo.onchain.asking import ask_by_contract, ask_session_zero
from prepaid.cli.demo.onchain.building import build, fund_a_contract, register_nodes
from prepaid.cli.demo.onchain.cast import Cast
from prepaid.cli.demo.onchain.ending import Outcome, close_and_refund, sum_up
from prepaid.cli.demo.onchain.sharing import share_in_the_pool
from prepaid.cli.demo.onchain.silence import ask_a_silent_node
from prepaid.cli.demo.story import Story
from prepaid.gateway.logs import JsonFormatter

__all__ = ["on_stage", "perform", "play"]

_SCENES: Final = (
    fund_a_contract,
    ask_by_contract,
    ask_session_zero,
    share_in_the_pool,
    ask_a_silent_node,
    close_and_refund,
)
_POLL_SECONDS: Final = 0.05


async def play(folder: Path, story: Story, engine: str | None) -> Outcome:
    """All scenes; what came out."""
    async with on_stage(folder, story, engine) as cast:
        return await perform(cast)


@asynccontextmanager
async def on_stage(folder: Path, story: Story, engine: str | None) -> AsyncGenerator[Cast]:
    """The chain, what stands on it, and the node, as long as the block lasts."""
    with _logs_in(folder / "node.log"):
        async with (
            local_chain(None if engine is None else Engine(engine)) as local,
            await Chain.connect(local.url, poll_seconds=_POLL_SECONDS) as chain,
        ):
            cast = await build(story, local, chain, folder)
            await register_nodes(cast)
            async with running_node(cast.node, cast.operator):
                yield cast


async def perform(cast: Cast) -> Outcome:
    """The scenes, one after another."""
    for scene in _SCENES:
        await scene(cast)
    return await sum_up(cast)


@contextmanager
def _logs_in(file: Path) -> Generator[None]:
    """What the node logs, as it does for operators, in a file."""
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("prepaid")
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before
        handler.close()
