"""Group commit: many callers, one sync, and nobody suffers for another's mistake."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from dataclasses import dataclass

import apsw
import pytest

from prepaid.errors import InsufficientFunds, StoreBusy, StoreError, StoreFull
from prepaid.store import group_commit
from prepaid.store.group_commit import GroupCommit
from prepaid.store.operations import Operation, SaveSettings
from prepaid.store.sqlite.store import SqliteStore

from .books import SESSION, assert_sound, balance, create, fund, hold, kinds, release


@dataclass(frozen=True, slots=True)
class Unheard(Operation):
    """An operation that no handler knows."""


class Unit:
    """A database that remembers what it was asked, and does as it is told."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.committed: list[str] = []
        self.rollbacks = 0
        self.closed = 0
        self.busy = 0
        self.refuse_commit: Exception | None = None
        self.commit_gate = threading.Event()
        self.commit_gate.set()
        self.applied = threading.Event()
        self._open: list[str] = []

    def begin(self) -> bool:
        if self.busy:
            self.busy -= 1
            return False
        return True

    def begin_within(self, seconds: float, poll_seconds: float) -> bool:
        return self.begin()

    def apply(self, operations: list[Operation]) -> list[object]:
        names = [operation.session_id for operation in operations]
        self.batches.append(names)
        self.applied.set()
        if "bad" in names:
            raise ZeroDivisionError("bad")
        self._open = names
        return [f"did {name}" for name in names]

    def commit(self) -> None:
        assert self.commit_gate.wait(120)
        if self.refuse_commit is not None:
            raise self.refuse_commit
        self.committed += self._open

    def rollback(self) -> None:
        self.rollbacks += 1

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def unit():
    return Unit()


@pytest.fixture
async def group(unit):
    made = GroupCommit(unit, busy_seconds=0.01)
    yield made
    await made.aclose()


def submitted(group, names):
    return [group.submit(Operation(name)) for name in names]


async def test_all_that_wait_share_a_sync(group, unit):
    unit.commit_gate.clear()
    first = submitted(group, "a")
    await asyncio.to_thread(unit.applied.wait, 120)
    rest = submitted(group, "bcdef")
    unit.commit_gate.set()
    assert await asyncio.gather(*first, *rest) == [f"did {name}" for name in "abcdef"]
    assert unit.batches == [["a"], list("bcdef")]


async def test_a_batch_has_an_end(group, unit):
    names = [str(n) for n in range(2 * group_commit.BATCH_MAX + 1)]
    await asyncio.gather(*submitted(group, names))
    assert [len(batch) for batch in unit.batches] == [group_commit.BATCH_MAX, group_commit.BATCH_MAX, 1]
    assert unit.committed == names


async def test_nothing_is_answered_before_the_commit(group, unit):
    """Guarantee 6."""
    unit.commit_gate.clear()
    (future,) = submitted(group, "a")
    await asyncio.to_thread(unit.applied.wait, 120)
    await asyncio.sleep(0.02)
    assert not future.done()
    unit.commit_gate.set()
    await future


async def test_only_the_culprit_fails(group, unit):
    futures = submitted(group, ["a", "bad", "b"])
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert (results[0], results[2]) == ("did a", "did b")
    assert isinstance(results[1], ZeroDivisionError)
    assert unit.batches == [["a", "bad", "b"], ["a"], ["bad"], ["b"]]
    assert unit.rollbacks == 2
    assert unit.committed == ["a", "b"]


async def test_when_the_database_fails_each_gets_an_error_of_its_own(group, unit):
    unit.refuse_commit = StoreFull("The disk is full.")
    results = await asyncio.gather(*submitted(group, "abc"), return_exceptions=True)
    assert [type(result) for result in results] == [StoreFull] * 3
    assert len(set(map(id, results))) == 3, "one instance would gather the tracebacks of all"
    assert {str(result) for result in results} == {str(unit.refuse_commit)}
    assert (unit.batches, unit.rollbacks) == ([["a", "b", "c"]], 1)
    unit.refuse_commit = None
    assert await asyncio.gather(*submitted(group, "d")) == ["did d"]


async def test_an_error_keeps_its_numbers_and_its_cause(group, unit):
    unit.refuse_commit = StoreError("No.", remedy="Retry with the same key.")
    unit.refuse_commit.__cause__ = OSError("sync")
    (result,) = await asyncio.gather(*submitted(group, "a"), return_exceptions=True)
    assert (result.what, result.remedy) == ("No.", "Retry with the same key.")
    assert str(result.__cause__) == "sync"


async def test_an_unexpected_failure_of_the_commit_fails_one_by_one(group, unit):
    unit.refuse_commit = OSError("?")
    results = await asyncio.gather(*submitted(group, "ab"), return_exceptions=True)
    assert [type(result) for result in results] == [OSError, OSError]


async def test_a_busy_database_is_waited_for(group, unit):
    unit.busy = 1
    assert await asyncio.gather(*submitted(group, "a")) == ["did a"]


async def test_but_not_for_ever(group, unit):
    unit.busy = 2
    results = await asyncio.gather(*submitted(group, "ab"), return_exceptions=True)
    assert [type(result) for result in results] == [StoreBusy, StoreBusy]
    assert "0.01 s" in str(results[0])
    assert await asyncio.gather(*submitted(group, "c")) == ["did c"]


async def test_who_gives_up_takes_nothing_back_and_stops_nobody(group, unit):
    futures = submitted(group, "abc")
    futures[1].cancel()
    assert await asyncio.gather(futures[0], futures[2]) == ["did a", "did c"]
    assert unit.committed == ["a", "b", "c"]


async def test_who_gives_up_before_a_failure_is_not_told(group, unit):
    unit.refuse_commit = StoreFull("The disk is full.")
    futures = submitted(group, "ab")
    futures[0].cancel()
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, StoreFull]


async def test_a_full_queue_is_a_clear_no(group, unit, monkeypatch):
    monkeypatch.setattr(group_commit, "QUEUE_MAX", 3)
    futures = submitted(group, "abc")
    with pytest.raises(StoreBusy, match="3 operations"):
        group.submit(Operation("d"))
    await asyncio.gather(*futures)
    assert await group.submit(Operation("d")) == "did d"


async def test_closing_finishes_what_is_queued(group, unit):
    futures = submitted(group, "abc")
    await group.aclose()
    assert [future.result() for future in futures] == ["did a", "did b", "did c"]
    with pytest.raises(StoreError, match="closed"):
        group.submit(Operation("d"))
    await group.aclose()
    assert unit.closed


async def test_closing_what_was_never_used(group, unit):
    await group.aclose()
    assert (unit.batches, unit.closed) == ([], 1)


async def test_a_close_that_is_cancelled_can_be_repeated(group, unit):
    unit.commit_gate.clear()
    futures = submitted(group, "a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(group.aclose(), 0.02)
    assert not unit.closed
    unit.commit_gate.set()
    await group.aclose()
    assert unit.closed
    assert [future.result() for future in futures] == ["did a"]


async def test_listeners_hear_of_what_is_durable(group, unit):
    heard = []
    group.listener = lambda operations: heard.append([operation.session_id for operation in operations])
    await asyncio.gather(*submitted(group, "ab"))
    unit.refuse_commit = StoreFull("The disk is full.")
    await asyncio.gather(*submitted(group, "c"), return_exceptions=True)
    assert heard == [["a", "b"]]


async def test_a_listener_that_fails_makes_nothing_happen_twice(group, unit):
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))

    def fail(operations):
        raise ZeroDivisionError

    group.listener = fail
    assert await asyncio.gather(*submitted(group, "ab")) == ["did a", "did b"]
    await group.aclose()
    assert unit.committed == ["a", "b"]
    assert [type(error) for error in reported] == [ZeroDivisionError]


class TestShuttingDown:
    """An event loop that ends cancels every task, the writer too, as ``asyncio.run`` does."""

    async def cancel_others(self):
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def test_a_commit_under_way_is_not_met_by_another(self, group, unit):
        unit.commit_gate.clear()
        first = submitted(group, "a")
        await asyncio.to_thread(unit.applied.wait, 120)
        later = submitted(group, "b")
        for _ in range(3):
            await self.cancel_others()
            await asyncio.sleep(0)
        assert unit.batches == [["a"]]
        unit.commit_gate.set()
        assert await asyncio.gather(*first, *later) == ["did a", "did b"]

    async def test_what_is_queued_is_written(self, group, unit):
        futures = submitted(group, "ab")
        await self.cancel_others()
        assert await asyncio.gather(*futures) == ["did a", "did b"]
        futures = submitted(group, "c")
        await asyncio.sleep(0)
        await self.cancel_others()
        assert await asyncio.gather(*futures) == ["did c"]

    async def test_a_wait_for_another_process_goes_on(self, group, unit):
        unit.busy = 1
        futures = submitted(group, "a")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await self.cancel_others()
        assert await asyncio.gather(*futures) == ["did a"]

    def test_last_operations_are_durable_when_the_loop_is_gone(self, tmp_path, clock):
        """Each task gives its hold back when it is cancelled; the loop waits for that."""
        stores, holding = [], []

        async def request(store, number):
            await store.submit(hold(1, f"k{number}"))
            holding.append(number)
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.shield(store.submit(release(f"k{number}")))

        async def main():
            store = SqliteStore(tmp_path / "x.db", clock=clock)
            stores.append(store)
            await store.submit(create())
            tasks = [asyncio.create_task(request(store, number)) for number in range(50)]
            while len(holding) < len(tasks):  # noqa: ASYNC110 -- nobody counts them
                await asyncio.sleep(0.005)

        asyncio.run(main())
        assert balance(stores[0]) == (1_000, 0, 0, 0)
        asyncio.run(stores[0].aclose())


class TestOnTheRealStore:
    async def test_a_malformed_operation_fails_alone(self, session):
        good = [session.submit(fund(1, f"f{n}")) for n in range(3)]
        unknown = session.submit(Unheard(SESSION))
        malformed = session.submit(SaveSettings("", (("name", object()),)))
        refused = session.submit(hold(9_999, "k"))
        results = await asyncio.gather(*good, unknown, malformed, refused, return_exceptions=True)
        assert [result.available for result in results[:3]] == [1_001, 1_002, 1_003]
        assert [type(result) for result in results[3:]] == [KeyError, TypeError, InsufficientFunds]
        assert kinds(session) == ["fund 1000", "fund 1", "fund 1", "fund 1"]

    async def test_what_half_happened_is_undone(self, session):
        """The second setting fails after the first was written; neither stays."""
        with pytest.raises(TypeError):
            await session.submit(SaveSettings("", (("a", "1"), ("b", object()))))
        assert session.reads.settings() == {}

    async def test_a_cancelled_waiter_loses_nothing(self, session):
        task = asyncio.ensure_future(session.submit(hold(10, "k")))
        await asyncio.sleep(0)
        task.cancel()
        await session.submit(hold(20, "k2"))
        assert balance(session) == (970, 30, 0, 0)
        assert (await session.submit(hold(10, "k"))).replayed is True

    async def test_a_listener(self, session):
        heard = []
        session.listen(lambda operations: heard.extend(type(work).__name__ for work in operations))
        with pytest.raises(InsufficientFunds):
            await session.submit(hold(9_999, "k"))
        await session.submit(hold(9, "l"))
        session.listen(None)
        await session.submit(fund(1, "f"))
        assert heard == ["Hold", "Hold"]

    async def test_errors_leave_no_cycles_behind(self, session):
        def alive():
            return sum(isinstance(found, InsufficientFunds) for found in gc.get_objects())

        gc.collect()
        gc.disable()
        try:
            before = alive()  # other tests' may be kept
            for number in range(20):
                with pytest.raises(InsufficientFunds):
                    await session.submit(hold(9_999, f"k{number}"))
            left = alive() - before
        finally:
            gc.enable()
        assert left < 5

    async def test_another_process_that_writes_is_waited_for(self, session, tmp_path):
        def occupy():
            other = apsw.Connection(str(tmp_path / "ledger.db"))
            other.execute("BEGIN IMMEDIATE")
            occupied.set()
            time.sleep(0.2)
            other.execute("COMMIT")
            other.close()

        occupied = threading.Event()
        thread = threading.Thread(target=occupy)
        thread.start()
        occupied.wait()
        assert (await session.submit(hold(10, "k"))).amount == 10
        thread.join()

    async def test_one_that_never_ends_is_not(self, tmp_path, clock):
        store = SqliteStore(tmp_path / "x.db", clock=clock, busy_seconds=0.05)
        await store.submit(create())
        # Not sqlite3: two copies of SQLite in one process do not see each other's locks.
        other = apsw.Connection(str(tmp_path / "x.db"))
        other.execute("BEGIN IMMEDIATE")
        works = [store.submit(hold(10, f"k{n}")) for n in range(3)]
        results = await asyncio.gather(*works, return_exceptions=True)
        assert [type(result) for result in results] == [StoreBusy] * 3
        assert all(result.retryable for result in results)
        assert store.reads.account(SESSION).held == 0
        other.execute("ROLLBACK")
        other.close()
        assert (await store.submit(hold(10, "k0"))).replayed is False
        await assert_sound(store)
        await store.aclose()

    async def test_closing_a_store(self, tmp_path, clock):
        store = SqliteStore(tmp_path / "x.db", clock=clock)
        created = store.submit(create())
        await store.aclose()
        assert created.result().available == 1_000
        with pytest.raises(StoreError, match="closed"):
            store.submit(hold(1, "k"))
        with pytest.raises(StoreError, match="closed"):
            store.reads.account(SESSION)
        await store.aclose()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["x.db"], "the log went back into the file"
