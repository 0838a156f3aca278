"""One server for all tests of a file that change nothing about it."""

import pytest

from gateway.running import Gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """``prepaid serve`` with the offline model and nothing configured."""
    with Gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running
