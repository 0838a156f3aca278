"""The OpenAI Agents SDK is called ``agents``, and so is a folder of tests: here the name means the SDK.

    with named_agents():
        from agents import Agent

Whoever uses the SDK in a test also takes the fixture ``sdk_is_agents``, because the SDK loads parts of itself late.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
loaded = {}


@contextmanager
def named_agents():
    """Inside, ``import agents`` finds the SDK; outside, whatever it found before."""
    others, path = take_out(), sys.path[:]
    sys.modules.update(loaded)
    sys.path[:] = [entry for entry in path if Path(entry) != TESTS]
    try:
        yield
    finally:
        loaded.update(take_out())
        sys.modules.update(others)
        sys.path[:] = path


def take_out():
    names = [name for name in sys.modules if name.partition(".")[0] == "agents"]
    return {name: sys.modules.pop(name) for name in names}


@pytest.fixture
def sdk_is_agents():
    with named_agents():
        yield
