"""Spec D3: an owner's key is bound to one session for good, by whichever process chooses first (``ChooseSession``)."""

from __future__ import annotations

import asyncio

import pytest

from prepaid.errors import IdempotencyConflict, InsufficientFunds
from prepaid.ledger import deposit_id, new_id
from prepaid.store.operations import ChooseSession, Deposit, GetOrCreate, Once, TakeFromPool

from .books import close, create

AT_ONCE = 8


def choice(key="order-1", content=b"one", owner="ann", amount=None):
    wanted = GetOrCreate(
        new_id("ses"), owner, "USD", new_id("key"), b"", amount, from_deposit=True, keep_refusal=False
    )
    return ChooseSession(deposit_id(owner), key, content, wanted)


async def deposited(store, amount=1_000):
    await store.submit(Deposit(deposit_id("ann"), "ann", "USD", new_id("key"), b"", amount))


async def test_of_many_in_two_processes_one_chooses(store, open_store):
    """Each would open a session of its own from the deposit."""
    await deposited(store)
    stores = [store, open_store()]
    works = [stores[number % 2].submit(choice(amount=100)) for number in range(AT_ONCE)]
    chosen = await asyncio.gather(*works)
    assert len({each.session_id for each in chosen}) == 1
    assert store.reads.account(deposit_id("ann")).available == 900


async def test_it_stays_when_that_session_is_closed_and_in_the_next_process(session, open_store):
    first = await session.submit(choice())
    await session.submit(create("s2"))
    await session.submit(close(first.session_id))
    assert (await session.submit(choice())).session_id == first.session_id
    assert (await open_store().submit(choice())).session_id == first.session_id
    assert (await session.submit(choice("order-2"))).session_id == "s2"


async def test_other_content_and_other_kinds_conflict(session):
    await session.submit(choice())
    with pytest.raises(IdempotencyConflict):
        await session.submit(choice(content=b"two"))
    taking = TakeFromPool("", "ann", "lease", 1_000)
    with pytest.raises(IdempotencyConflict):
        await session.submit(Once(deposit_id("ann"), "order-1", b"one", taking))
    assert (await session.submit(choice(owner="ann"))).session_id == (
        await session.submit(choice())
    ).session_id


async def test_a_refusal_binds_nothing(store):
    with pytest.raises(InsufficientFunds):
        await store.submit(choice())
    await deposited(store)
    assert (await store.submit(choice())).available == 1_000
