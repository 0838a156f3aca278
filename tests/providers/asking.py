"""Fixtures to ask the fake provider: ``pytest_plugins = ["providers.asking"]``."""

from __future__ import annotations

import pytest

from prepaid.config import UpstreamSettings
from prepaid.models.openai_compatible import OpenAICompatibleModel
from prepaid.models.upstream import Upstream
from providers.fake_openai import FakeOpenAI
from providers.questions import HELLO, INFO


@pytest.fixture(scope="module")
def server():
    with FakeOpenAI() as server:
        yield server


@pytest.fixture
def fake(server):
    server.reset()
    return server


@pytest.fixture
async def ask(fake):
    """Ask the fake's model; keywords are the upstream's settings."""
    opened = []

    def model(**settings):
        options = {"base_url": fake.base_url, "api_key": "sk-secret", "models": ("fast",)}
        upstream = Upstream("fake", UpstreamSettings(**(options | settings)))
        opened.append(upstream)
        return OpenAICompatibleModel(INFO, upstream, "fast-1")

    async def ask(request=HELLO, behaviour=None, **settings):
        if behaviour is not None:
            fake.next(behaviour)
        return [event async for event in model(**settings).stream(request)]

    ask.model = model
    yield ask
    for upstream in opened:
        await upstream.aclose()
