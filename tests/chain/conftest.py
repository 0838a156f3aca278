"""One node per run, one state per test: whatever a test does is undone before the next."""

import asyncio
from itertools import count

import pytest

from chain.anvil import Anvil
from chain.world import ALICE, BOB, OPERATOR, POLL_SECONDS, QUICK, build
from prepaid.chain.ai import AiContract
from prepaid.chain.connection import Chain

STATES = ("--prune-history", "128")
"""Of so many blocks anvil keeps the state, in memory. By default it puts those of old blocks on disk, without
their contracts' code, and a reorganisation that goes back to such a block leaves a chain without contracts."""

_TESTS = count(1)


@pytest.fixture(scope="session")
def started():
    anvil = Anvil(*STATES)
    try:
        yield anvil, asyncio.run(build(anvil))
    finally:
        anvil.stop()


@pytest.fixture
def anvil(started):
    node, _ = started
    before = node.rpc("evm_snapshot")
    # A block of this test alone to go back to: its hash is new, so its state is the youngest that is kept.
    node.rpc("anvil_setBalance", f"0x{1:040x}", hex(next(_TESTS)))
    node.rpc("evm_mine")
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
