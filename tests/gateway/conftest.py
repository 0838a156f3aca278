"""One server for all tests of a file that change nothing about it."""

import pytest

from gateway.running import Gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """``prepaid serve`` with the offline model; keys that fail are as many as tests like."""
    with Gateway(tmp_path_factory.mktemp("gateway"), "[gateway]\nfailed_keys_per_minute = 0\n") as running:
        yield running
