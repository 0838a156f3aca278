"""The gateway that clients speak to, in front of the offline model and of the fake provider."""

from __future__ import annotations

import pytest

from gateway.running import Gateway
from providers.separate import SeparateOpenAI

SETTINGS = """
[upstreams.fake]
base_url = "{base_url}"
api_key = "sk-upstream"
models = ["fast", "embed"]
allow_fields = ["fake"]
retries_max = 0
circuit_failures = 1000000

[prices.fast]
input_per_million = "1"
output_per_million = "2"
apis = ["chat", "tools", "images", "structured_output"]

[prices.embed]
input_per_million = "1"
output_per_million = "0"
apis = ["embeddings"]
"""
"""``fast`` costs a base unit for a token in, and two for one out."""


@pytest.fixture(scope="session")
def provider():
    with SeparateOpenAI() as running:
        yield running


@pytest.fixture
def upstream(provider):
    provider.behave()
    return provider


@pytest.fixture(scope="package")
def gateway(provider, tmp_path_factory):
    with Gateway(tmp_path_factory.mktemp("clients"), SETTINGS.format(base_url=provider.base_url)) as running:
        yield running
        running.assert_sound()


@pytest.fixture
def session(gateway):
    """A session's id and key, with a dollar."""
    return gateway.fund(1_000_000)
