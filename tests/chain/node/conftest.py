"""A desk for each test, and a session of Alice's that pays for requests on chain."""

import pytest

from chain.node.desk import Desk, until
from chain.world import ADMIN, QUICK, USDT
from prepaid.chain.ai import AiContract
from providers.fake_openai import FakeOpenAI


@pytest.fixture
def fake():
    with FakeOpenAI() as provider:
        yield provider


@pytest.fixture
async def desk(tmp_path, fake):
    return await Desk.make(tmp_path, fake)


@pytest.fixture
async def session_id(alice):
    return await alice.start_user_session(100 * USDT)


@pytest.fixture
async def admin(chain, world):
    return await AiContract.at(chain, world.ai, ADMIN, QUICK)


@pytest.fixture
def ends(caplog):
    """Waits until a node in this process has said so; what it said."""
    caplog.set_level("INFO", "prepaid")

    async def wait(message="ended", times=1):
        def found():
            return [record for record in caplog.records if record.getMessage() == message]

        async def has():
            return len(found()) >= times

        await until(has)
        return found()

    return wait
