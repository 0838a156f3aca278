"""One server and its world for the tests of a file, which leave each other's sessions alone."""

import pytest

from .api import populated


@pytest.fixture(scope="module")
def world(gateway):
    yield populated(gateway)
    gateway.assert_sound()


@pytest.fixture
def ann(world):
    return world.ann


@pytest.fixture
def operator(world):
    return world.operator


@pytest.fixture
def fresh(world):
    """Opens a new session of Ann's with 1 USD."""

    def opening(fund="1 USD", **fields):
        return world.operator.did("POST", "/sessions", {"user_id": "ann", "fund": fund, **fields})

    return opening
