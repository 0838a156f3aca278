"""A desk for each test, audited when the test is over."""

import asyncio

import pytest

from .desk import Desk


@pytest.fixture
async def desk(tmp_path):
    made = await Desk(tmp_path / "ledger.db").open()
    yield made
    await asyncio.wait_for(made.until_released(), 120)
    await made.aclose()
