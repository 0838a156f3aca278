"""An empty database on our own server, for each test."""

from __future__ import annotations

import pytest


@pytest.fixture
def url(postgres):
    made = postgres.new()
    yield made
    postgres.give_back(made)
