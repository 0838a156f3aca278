"""The upstream that counts, and the gateways in front of it."""

from __future__ import annotations

import os

import pytest

from gateway.running import Gateway
from providers.separate import SeparateOpenAI

KINDS = os.environ.get("PREPAID_PROOF_DATABASES", "sqlite").split(",")
"""What the proofs with one worker run on; those with four run on both."""

SETTINGS = """
default_model = "fast"
hold_seconds = {hold_seconds}
sweep_seconds = 0.2

[upstreams.fake]
base_url = "{base_url}"
api_key = "sk-upstream"
models = ["fast", "reads", "shown"]
retries_max = 0
bytes_per_token = 4

[prices.fast]
input_per_million = "0"
output_per_million = "1"

[prices.reads]
input_per_million = "1"
output_per_million = "1"

[prices.shown]
input_per_million = "0"
output_per_million = "1"
"""
"""An output token of ``fast`` costs a base unit; with ``reads``, so does one of the input. ``shown`` is for those
who leave: a gateway learns of ``fast`` that it bills what it does not show, and would read its answers on."""


@pytest.fixture(scope="session")
def provider():
    with SeparateOpenAI() as running:
        yield running


@pytest.fixture
def upstream(provider):
    provider.behave()
    return provider


@pytest.fixture(scope="package")
def databases(request):
    """Options of a gateway by the kind of database that it is to work on."""
    made = []

    def options(kind):
        if kind == "sqlite":
            return {}
        made.append(request.getfixturevalue("postgres").new())
        return {"PREPAID_DATABASE": made[-1]}

    yield options
    for url in made:
        request.getfixturevalue("postgres").give_back(url)


@pytest.fixture(scope="package", params=KINDS)
def gateway(provider, tmp_path_factory, databases, request):
    """One worker."""
    settings = SETTINGS.format(base_url=provider.base_url, hold_seconds=30)
    with Gateway(tmp_path_factory.mktemp("one"), settings, **databases(request.param)) as running:
        yield running


@pytest.fixture(scope="package", params=["sqlite", "postgres"])
def crew(provider, tmp_path_factory, databases, request):
    """Four workers. Holds of a dead one end soon; of one that waits for a processor, they must not."""
    settings = SETTINGS.format(base_url=provider.base_url, hold_seconds=8)
    folder, options = tmp_path_factory.mktemp("crew"), databases(request.param)
    with Gateway(folder, settings, workers=4, **options) as running:
        running.wait_until(lambda: len(running.workers()) == 4)
        yield running
