"""What ``[node]`` in the settings says, opened and run: one node for each chain, one ledger, one journal."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from prepaid.chain.ai import AiContract
from prepaid.chain.external_signer import ExternalSigner
from prepaid.chain.node.answering import Answering
from prepaid.chain.node.content import ContentGateway, Contents, ContentStore, Pushing
from prepaid.chain.node.exchange import Seals
from prepaid.chain.node.journal import Journal
from prepaid.chain.node.node import Node
from prepaid.chain.node.serving import NodeServer
from prepaid.chain.opening import open_ai_contract, open_chain, open_wallet
from prepaid.chain.wallets import Wallet
from prepaid.config import ChainSettings, NodeSettings, Settings
from prepaid.errors import ConfigError, PrepaidError
from prepaid.runtime import Runtime

__all__ = ["run_node"]

Work = Callable[[], Coroutine[Any, Any, None]]

_GRACE_SECONDS: Final = 30.0
_SWEEP_MAX: Final = 256
_DAY_SECONDS: Final = 86_400
_DROP_EVERY_SECONDS: Final = 3_600.0

_logger = logging.getLogger("prepaid.node")


async def run_node(
    settings: Settings,
    stop: asyncio.Event,
    wallet: Wallet | None = None,
    on_serving: Callable[[int], object] | None = None,
) -> None:
    """Answer requests until ``stop`` is set; models that were asked by then may finish.

    ``wallet`` operates the node on every chain, instead of what the settings name. ``on_serving`` is told the
    port, once it serves at one.

    Raises:
        ConfigError, ChainError, StoreError: it cannot start; the error says why.
    """
    async with AsyncExitStack() as opened:
        runtime = Runtime(settings)
        opened.push_async_callback(runtime.aclose)
        journal = Journal(Path(settings.node.journal))
        opened.callback(journal.close)
        works: list[Work] = [partial(_sweep, runtime)]
        store = _content_store(settings.node)
        if store is not None:
            opened.callback(store.close)
            works += _works_on(store, settings.node)
        contents = None if store is None else Contents(store, settings.node.content_gateway)
        answering = Answering(runtime, settings.node, contents)
        served: dict[tuple[int, str], AiContract] = {}
        for chain in _chains(settings):
            node = await opened.enter_async_context(_opened(chain, settings, journal, answering, wallet))
            opened.push_async_callback(node.finish, _GRACE_SECONDS)
            works.append(partial(node.run, chain.poll_seconds))
            served[node.here] = node.ai
        if settings.node.serve_port is not None:
            seals = Seals(journal, settings.node.name or "", served)
            server = NodeServer(seals.routes() + ([] if store is None else ContentGateway(store).routes()))
            opened.push_async_callback(server.aclose)
            port = await server.start(settings.node.serve_host, settings.node.serve_port)
            if on_serving is not None:
                on_serving(port)
        await _until(stop, works)


def _chains(settings: Settings) -> list[ChainSettings]:
    """``[chain]``, unless there are only others."""
    others = list(settings.node.chains.values())
    return others if others and settings.chain.rpc_url is None else [settings.chain, *others]


@asynccontextmanager
async def _opened(
    chain_settings: ChainSettings,
    settings: Settings,
    journal: Journal,
    answering: Answering,
    wallet: Wallet | None,
) -> AsyncGenerator[Node]:
    async with await open_chain(chain_settings) as chain:
        signing = wallet or await open_wallet(chain_settings)
        try:
            ai = await open_ai_contract(chain_settings, chain, signing)
            page = journal.page(chain.chain_id, ai.address)
            yield await Node.at(ai, page, answering, settings.node)
        finally:
            if wallet is None and isinstance(signing, ExternalSigner):
                await signing.aclose()


def _content_store(settings: NodeSettings) -> ContentStore | None:
    """Where answers by content id are kept, if they are."""
    if settings.content_store is None:
        if settings.kubo_rpc_url is not None:
            raise ConfigError(
                "node.kubo_rpc_url is set, and nothing is kept that could be pushed there.",
                remedy="Set node.content_store as well: a file of the node's own.",
            )
        return None
    if settings.serve_port is None and settings.kubo_rpc_url is None:
        raise ConfigError(
            "node.content_store is set, and nobody could fetch what is in it.",
            remedy="Set node.serve_port, so that the node serves it, or node.kubo_rpc_url.",
        )
    return ContentStore(Path(settings.content_store), settings.content_store_bytes_max)


def _works_on(store: ContentStore, settings: NodeSettings) -> list[Work]:
    """What is done with what is kept."""
    works: list[Work] = []
    if settings.kubo_rpc_url is not None:
        works.append(Pushing(store, settings.kubo_rpc_url).run)
    if settings.content_keep_days is not None:
        works.append(partial(_drop_old, store, settings.content_keep_days * _DAY_SECONDS))
    return works


async def _drop_old(store: ContentStore, age_seconds: int) -> None:
    """Drop what was kept long enough, for ever."""
    while True:
        try:
            dropped = await store.drop_before(time.time() - age_seconds)
            if dropped:
                _logger.info("content dropped", extra={"contents": dropped})
        except PrepaidError as error:
            _logger.warning("content not dropped", extra={"kind": error.code, "error": error.what})
        await asyncio.sleep(_DROP_EVERY_SECONDS)


async def _sweep(runtime: Runtime) -> None:
    """Settle what crashes left held, for ever: ours may be the only process on the ledger."""
    while True:
        try:
            await runtime.meter.reconcile(_SWEEP_MAX)
        except PrepaidError as error:
            _logger.warning("sweep failed", extra={"kind": error.code, "error": error.what})
        await asyncio.sleep(runtime.settings.sweep_seconds)


async def _until(stop: asyncio.Event, works: Sequence[Work]) -> None:
    """Work until ``stop`` is set. What ends by itself had a reason, which is raised, and ends all."""
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(work()) for work in (stop.wait, *works)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
