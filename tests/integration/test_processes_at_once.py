"""Several processes on one database: together they never spend, open or lease more than there is (spec C11, D1)."""

from __future__ import annotations

import asyncio

import pytest

from prepaid.errors import InsufficientFunds
from prepaid.store.operations import AddToPool, Held, IssueKey, Limits
from store.books import assert_sound, balance, create, hold
from store.processes import Worker, together
from stores import open_store

PROCESSES = 4


@pytest.fixture
async def store(where):
    opened = open_store(where)
    yield opened
    await assert_sound(opened)
    await opened.aclose()


@pytest.fixture
def workers(where):
    """Makes processes that do the same."""
    return lambda work, *arguments: [Worker(work, where, number, *arguments) for number in range(PROCESSES)]


async def finished(*started):
    return await asyncio.to_thread(together, *started)


async def test_256_holds_on_a_balance_that_covers_one(store):
    """Guarantees 2 and 3, in one process: exactly one is accepted."""
    await store.submit(create("s0", 100))
    works = [hold(100, f"k{n}", "s0", expires_ms=2**50) for n in range(256)]
    answers = await asyncio.gather(*map(store.submit, works), return_exceptions=True)
    assert sum(isinstance(answer, Held) for answer in answers) == 1
    assert sum(isinstance(answer, InsufficientFunds) for answer in answers) == 255
    assert balance(store, "s0") == (0, 100, 0, 0)


async def test_256_holds_from_four_processes_on_a_balance_that_covers_one(store, workers):
    """Guarantees 2 and 3: exactly one is accepted, in all of them together."""
    await store.submit(create("s0", 100))
    ends = await finished(*workers("grab", "s0", 100, 256 // PROCESSES))
    assert sum(accepted for _, accepted, _ in ends) == 1
    assert {code for _, _, codes in ends for code in codes} == {"insufficient_funds"}
    assert balance(store, "s0") == (0, 100, 0, 0)


async def test_a_burst_is_served_as_far_as_the_balance_goes(store, workers):
    """Spec D1."""
    await store.submit(create("s0", 50 * 7 + 6))
    ends = await finished(*workers("grab", "s0", 7, 50))
    assert sum(accepted for _, accepted, _ in ends) == 50
    assert balance(store, "s0") == (6, 350, 0, 0)


async def test_processes_never_exceed_the_limit_over_all_users_together(store, where):
    """Spec C11."""
    ends = await finished(
        *(Worker("open_sessions", where, n, f"user{n}", 10, 0, 20) for n in range(PROCESSES))
    )
    assert sum(accepted for _, accepted, _ in ends) == 10
    assert store.reads.tally("") == 10


async def test_processes_never_exceed_the_limit_per_user_together(store, where):
    """Spec C11."""
    ends = await finished(*(Worker("open_sessions", where, n, "ann", 0, 5, 20) for n in range(PROCESSES)))
    assert sum(accepted for _, accepted, _ in ends) == 5
    assert {code for _, _, codes in ends for code in codes} == {"session_limit_reached"}
    assert store.reads.tally("live:ann") == 5


async def test_processes_never_lease_one_session_twice(store, workers):
    """Spec B8."""
    for number in range(6):
        await store.submit(create(f"s{number}"))
        await store.submit(AddToPool(f"s{number}", "ann", None, Limits()))
    ends = await finished(*workers("take", 5))
    assert sum(accepted for _, accepted, _ in ends) == 6
    assert store.reads.pool_counts() == (6, 6)


async def test_one_key_is_one_hold_in_all_processes(store, workers):
    """Guarantee 5."""
    await store.submit(create("s0", 1_000))
    ends = await finished(*workers("repeat", 100))
    assert sum(new for _, new, _ in ends) == 100
    assert balance(store, "s0") == (900, 100, 0, 0)


async def test_processes_may_start_on_a_database_that_is_not_there_yet(where):
    ends = await finished(*(Worker("start", where, number) for number in range(6)))
    assert ends == [["done", 1, []]] * 6
    store = open_store(where)
    assert store.reads.tally("") == 6
    await assert_sound(store)
    await store.aclose()


async def test_processes_never_spend_more_than_a_key_s_cap_together(store, workers):
    """Spec D1, per key: held and spent stay within it, and all of it can be used."""
    await store.submit(create("s0", 100_000))
    await store.submit(IssueKey("s0", "ann", b"digest", 10, cap=50 * 7 + 6))
    ends = await finished(*workers("grab", "s0", 7, 50, 1))
    assert sum(accepted for _, accepted, _ in ends) == 50
    assert {code for _, _, codes in ends for code in codes} == {"key_cap_reached"}
    assert store.reads.api_key("s0", 1).reserved == 350
