"""Any sequence of operations, moved in its midst: statements and audits are the same, and the model goes on.

Guarantees 1 to 6. The machine is the ledger's own (``properties.test_ledger_machine``): after each move its
managers work on the new database, open holds, keys and leases included, and those on the old one are refused.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from prepaid.audit import audit
from prepaid.errors import StoreMoved
from prepaid.moving import migrating
from properties.test_ledger_machine import COMMON, MANAGERS, Ledgers
from store.books import fund
from stores import open_store

from .worlds import LONG, place, statements_of

pytestmark = pytest.mark.slow


class MovingLedgers(Ledgers):
    """Managers on one database, which now and then is another."""

    databases = None

    def new_where(self):
        self.folder = Path(tempfile.mkdtemp(prefix="moving-"))
        self.made, self.moves = [], 0
        return self.folder / "0.db"

    def remove(self):
        shutil.rmtree(self.folder)
        for url in self.made:
            self.databases.drop(url)

    def opened(self):
        options = {"lanes": 1} if str(self.where).startswith("postgresql:") else {}
        return open_store(self.where, clock=self.clock, **options)

    @precondition(lambda self: self.moves < 3)
    @rule(kind=st.sampled_from(["sqlite", "postgres"]))
    def move(self, kind):
        self.answer()
        self.moves += 1
        left, old = self.where, self.stores
        if kind == "sqlite":
            self.where = self.folder / f"{self.moves}.db"
        else:
            self.where = self.databases.new()
            self.made.append(self.where)
        with closing(place(left)) as source, closing(place(self.where)) as target:
            migrating.migrate(source, target)
            assert target.ask(statements_of) == source.ask(statements_of)
            assert target.ask(audit) == source.ask(audit)
        self.manager = 0
        for store in old:
            with pytest.raises(StoreMoved):
                self.loop.run_until_complete(self.fund_late(store))
            self.loop.run_until_complete(store.aclose())
        self.stores = [self.opened() for _ in range(MANAGERS)]

    async def fund_late(self, store):
        await store.submit(fund(1, "late", "s0"))


@pytest.fixture(scope="class")
def databases(request, postgres):
    """Hypothesis makes its machines without fixtures, so their class keeps what they need."""
    request.cls.machine.databases = postgres


@pytest.mark.usefixtures("databases")
class TestMovingLedgers(MovingLedgers.TestCase):
    machine = MovingLedgers
    settings = settings(max_examples=5 * LONG, stateful_step_count=30, **COMMON)
