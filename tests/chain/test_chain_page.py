"""The programs of docs/chain.md run as they stand, against the contracts on a real node."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from chain.answering import answering
from chain.world import QUICK, wallet
from pages import ROOT, blocks, is_output
from prepaid.chain.deploying import Deployer

PAGE = ROOT / "docs" / "chain.md"
PROGRAMS = list(blocks(PAGE, "py"))


def test_there_is_something_to_run():
    assert len(PROGRAMS) == 5


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda block: block.place)
async def test_a_program_of_the_page(program, anvil, world, chain, operator, tmp_path):
    reader = wallet("a reader of the documentation")
    anvil.give_ether(reader.address)
    admin = Deployer(chain, wallet("admin"), QUICK)
    await admin.mint(world.token, reader.address, 100 * 10**6)
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("PREPAID_")} | {
        "PREPAID_CHAIN__RPC_URL": world.url,
        "PREPAID_CHAIN__AI_CONTRACT": world.ai,
        "PREPAID_CHAIN__SESSION_MANAGER": world.manager,
        "PREPAID_CHAIN_KEY": bytes(reader._account.key).hex(),
    }
    async with answering(operator):
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-c", program.content),
            cwd=tmp_path,
            env=surroundings,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, complained = await asyncio.wait_for(running.communicate(), 180)
    assert running.returncode == 0, complained.decode()
    assert is_output(program.output, said.decode()), said.decode()
