"""``pytest_plugins = ["paying.fixtures"]``: a desk of the test's own, audited when the test is over."""

from __future__ import annotations

import pytest

from paying.desk import Desk


@pytest.fixture
async def open_desk(tmp_path):
    """Opens a desk with options; another one on the same file is another process to the ledger."""
    opened = []

    def opening(**options):
        opened.append(Desk(tmp_path / "ledger.db", **options))
        return opened[-1]

    yield opening
    for desk in opened:
        await desk.audit()
        await desk.aclose()


@pytest.fixture
async def desk(open_desk):
    return open_desk()
