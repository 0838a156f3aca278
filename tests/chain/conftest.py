"""One node per run, one state per test: whatever a test does is undone before the next."""

import asyncio

import pytest

from chain.anvil import Anvil
from chain.world import ALICE, BOB, OPERATOR, POLL_SECONDS, QUICK, build
from prepaid.chain.ai import AiContract
from prepaid.chain.connection import Chain


@pytest.fixture(scope="session")
def started():
    anvil = Anvil()
    try:
        yield anvil, asyncio.run(build(anvil))
    finally:
        anvil.stop()


@pytest.fixture
def anvil(started):
    node, _ = started
    before = node.rpc("evm_snapshot")
    yield node
    node.rpc("evm_revert", before)


@pytest.fixture
def world(started, anvil):
    return started[1]


@pytest.fixture
async def chain(world):
    async with await Chain.connect(world.url, poll_seconds=POLL_SECONDS) as connected:
        yield connected


@pytest.fixture
async def alice(chain, world):
    return await AiContract.at(chain, world.ai, ALICE, QUICK)


@pytest.fixture
async def bob(chain, world):
    return await AiContract.at(chain, world.ai, BOB, QUICK)


@pytest.fixture
async def operator(chain, world):
    return await AiContract.at(chain, world.ai, OPERATOR, QUICK)
