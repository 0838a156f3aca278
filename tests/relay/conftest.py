"""A counter of the test's own, audited when the test is over, and the fake providers behind it."""

from __future__ import annotations

import pytest

from providers.fake_openai import FakeOpenAI
from relay.counter import Counter


@pytest.fixture(scope="module")
def servers():
    with FakeOpenAI() as fast, FakeOpenAI() as other:
        yield fast, other


@pytest.fixture
def fake(servers):
    for server in servers:
        server.reset()
    return servers[0]


@pytest.fixture
def other(servers, fake):
    return servers[1]


@pytest.fixture
async def open_counter(tmp_path, fake, other):
    opened = []

    def opening(**options):
        opened.append(Counter(tmp_path / "ledger.db", {"fast": fake, "other": other}, **options))
        return opened[-1]

    yield opening
    for counter in opened:
        await counter.desk.audit()
        await counter.aclose()


@pytest.fixture
async def counter(open_counter):
    return open_counter()
