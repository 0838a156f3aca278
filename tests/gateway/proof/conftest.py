"""The upstream that counts, and the gateways in front of it."""

from __future__ import annotations

import pytest

from gateway.running import Gateway
from providers.separate import SeparateOpenAI

SETTINGS = """
default_model = "fast"
hold_seconds = {hold_seconds}
sweep_seconds = 0.2

[upstreams.fake]
base_url = "{base_url}"
api_key = "sk-upstream"
models = ["fast", "reads"]
retries_max = 0
bytes_per_token = 4

[prices.fast]
input_per_million = "0"
output_per_million = "1"

[prices.reads]
input_per_million = "1"
output_per_million = "1"
"""
"""An output token of ``fast`` costs a base unit; with ``reads``, so does one of the input."""


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
    """One worker."""
    settings = SETTINGS.format(base_url=provider.base_url, hold_seconds=30)
    with Gateway(tmp_path_factory.mktemp("one"), settings) as running:
        yield running


@pytest.fixture(scope="package", params=["sqlite", "postgres"])
def crew(provider, tmp_path_factory, request):
    """Four workers. Holds of a dead one end soon; of one that waits for a processor, they must not."""
    options = {}
    if request.param == "postgres":
        databases = request.getfixturevalue("postgres")
        options["PREPAID_DATABASE"] = databases.new()
    folder = tmp_path_factory.mktemp(f"crew-{request.param}")
    settings = SETTINGS.format(base_url=provider.base_url, hold_seconds=8)
    with Gateway(folder, settings, workers=4, **options) as running:
        running.wait_until(lambda: len(running.workers()) == 4)
        yield running
    if options:
        databases.give_back(options["PREPAID_DATABASE"])
