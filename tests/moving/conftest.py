"""Databases to move between, of either kind."""

from __future__ import annotations

from itertools import count

import pytest

from .worlds import Worlds


@pytest.fixture
def worlds(tmp_path, request):
    """Makes empty databases of the kinds that a test asks for."""
    numbers = count()
    made = []

    def new(kind):
        if kind == "sqlite":
            return tmp_path / f"{next(numbers)}.db"
        made.append(request.getfixturevalue("postgres").new())
        return made[-1]

    with Worlds(new) as opened:
        yield opened
    for url in made:
        request.getfixturevalue("postgres").drop(url)
