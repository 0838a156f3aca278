"""Money that comes in and goes out: sessions are funded, deposits wait until a session takes them."""

from __future__ import annotations

import pytest

from prepaid.errors import (
    AmountTooLarge,
    CurrencyMismatch,
    IdempotencyConflict,
    InsufficientFunds,
    SessionAlreadyClosed,
    SessionExpired,
    SessionNotFound,
)
from prepaid.money import AMOUNT_MAX
from prepaid.records import SessionState
from prepaid.store.operations import Funded, SetState

from .books import (
    SESSION,
    START_MS,
    balance,
    close,
    create,
    deposit,
    fund,
    hold,
    kinds,
    settle,
    withdraw,
)

DEPOSIT = "deposit:ann"


async def test_funding_adds(session):
    assert await session.submit(fund(500, "f")) == Funded(available=1_500, funded=1_500)
    assert kinds(session) == ["fund 1000", "fund 500"]


async def test_funding_counts_as_use(session, clock):
    clock.advance(7)
    await session.submit(fund(500, "f"))
    assert session.reads.account(SESSION).last_used_ms == START_MS + 7


async def test_a_paused_session_can_be_funded(session):
    await session.submit(SetState(SESSION, "ann", SessionState.PAUSED))
    assert (await session.submit(fund(500, "f"))).available == 1_500


async def test_funding_again_with_the_key_funds_once(session):
    """Guarantee 5."""
    first = await session.submit(fund(500, "f"))
    await session.submit(hold(700, "k"))
    assert await session.submit(fund(500, "f")) == first
    assert balance(session) == (800, 700, 0, 0)
    with pytest.raises(IdempotencyConflict):
        await session.submit(fund(501, "f"))


async def test_an_ended_session_is_not_funded(store, clock):
    await store.submit(create())
    await store.submit(close())
    with pytest.raises(SessionAlreadyClosed):
        await store.submit(fund(500, "f"))
    await store.submit(create("ses_2", expires_ms=START_MS + 1))
    clock.advance(1)
    with pytest.raises(SessionExpired):
        await store.submit(fund(500, "f", "ses_2"))


async def test_a_refusal_is_kept_if_its_key_may_come_again(session):
    await session.submit(close())
    for key, kept in (("f", True), ("g", False)):
        with pytest.raises(SessionAlreadyClosed):
            await session.submit(fund(500, key, keep_refusal=kept))
    with pytest.raises(IdempotencyConflict):
        await session.submit(fund(501, "f"))
    with pytest.raises(SessionAlreadyClosed):
        await session.submit(fund(501, "g"))


async def test_a_stranger_funds_nothing_and_learns_nothing(session):
    """Spec A5."""
    await session.submit(fund(500, "f"))
    for key in ("f", "g"):
        with pytest.raises(SessionNotFound):
            await session.submit(fund(500, key, owner="eve"))
    with pytest.raises(SessionNotFound):
        await session.submit(fund(500, "f", "ses_none"))


async def test_a_deposit_is_not_funded_as_a_session(store):
    await store.submit(deposit(500, "d"))
    with pytest.raises(SessionNotFound):
        await store.submit(fund(500, "f", DEPOSIT))


async def test_an_account_has_an_end(session):
    with pytest.raises(AmountTooLarge) as refused:
        await session.submit(fund(AMOUNT_MAX, "f"))
    assert "1000" in str(refused.value)
    assert await session.submit(fund(AMOUNT_MAX - 1_000, "g")) == Funded(AMOUNT_MAX, AMOUNT_MAX)
    for key in ("f", "h"):
        with pytest.raises(AmountTooLarge):
            await session.submit(fund(AMOUNT_MAX, key))
    await session.submit(hold(AMOUNT_MAX, "k"))
    assert (await session.submit(settle(AMOUNT_MAX, "k"))).captured == AMOUNT_MAX


class TestAcrossKinds:
    """A key belongs to one request, whatever kind (guarantee 5)."""

    async def test_what_held_cannot_fund_or_close(self, session):
        await session.submit(hold(100, "k"))
        for work in (fund(500, "k"), close(key="k")):
            with pytest.raises(IdempotencyConflict):
                await session.submit(work)
        assert (await session.submit(settle(10, "k", response="{}"))).captured == 10
        assert (await session.submit(hold(100, "k"))).response == "{}"

    async def test_what_funded_cannot_hold_or_close(self, session):
        await session.submit(fund(500, "k"))
        for work in (hold(100, "k"), close(key="k")):
            with pytest.raises(IdempotencyConflict):
                await session.submit(work)

    async def test_what_deposited_cannot_withdraw_or_create(self, store):
        await store.submit(deposit(500, "k"))
        for work in (withdraw(500, "k"), create(key="k")):
            with pytest.raises(IdempotencyConflict):
                await store.submit(work)

    async def test_not_even_with_the_same_content(self, session):
        await session.submit(fund(500, "k"))
        content = fund(500, "k").fingerprint
        with pytest.raises(IdempotencyConflict):
            await session.submit(hold(100, "k", content=content))


class TestDeposits:
    """Spec A2: each owner's unassigned money is their own."""

    async def test_deposits_add_up_per_owner(self, store):
        assert await store.submit(deposit(500, "d")) == Funded(500, 500)
        assert await store.submit(deposit(70, "d2")) == Funded(570, 570)
        assert await store.submit(deposit(9, "d", owner="bob")) == Funded(9, 9)
        assert balance(store, DEPOSIT) == (570, 0, 0, 0)

    async def test_once_per_key(self, store):
        first = await store.submit(deposit(500, "d"))
        assert await store.submit(deposit(500, "d")) == first
        with pytest.raises(IdempotencyConflict):
            await store.submit(deposit(501, "d"))

    async def test_currencies_never_mix(self, store):
        await store.submit(deposit(500, "d"))
        with pytest.raises(CurrencyMismatch):
            await store.submit(deposit(500, "e", asset="EUR"))
        with pytest.raises(CurrencyMismatch):
            await store.submit(create(asset="EUR", from_deposit=True))
        assert balance(store, DEPOSIT) == (500, 0, 0, 0)

    async def test_a_deposit_has_an_end(self, store):
        await store.submit(deposit(AMOUNT_MAX, "d"))
        with pytest.raises(AmountTooLarge):
            await store.submit(deposit(1, "e"))

    async def test_withdrawing(self, store):
        await store.submit(deposit(500, "d"))
        assert await store.submit(withdraw(200, "w")) == Funded(300, 500)
        assert await store.submit(withdraw(200, "w")) == Funded(300, 500)
        assert kinds(store, DEPOSIT) == ["fund 500", "withdraw 200"]

    async def test_never_below_zero(self, store):
        """Guarantee 3, and the refusal is kept."""
        await store.submit(deposit(500, "d"))
        with pytest.raises(InsufficientFunds) as refused:
            await store.submit(withdraw(501, "w"))
        assert (refused.value.needed, refused.value.available) == (501, 500)
        await store.submit(deposit(500, "e"))
        with pytest.raises(InsufficientFunds):
            await store.submit(withdraw(501, "w"))
        with pytest.raises(InsufficientFunds):
            await store.submit(withdraw(1_001, "x", keep_refusal=False))
        assert await store.submit(withdraw(501, "x")) == Funded(499, 1_000)

    async def test_nothing_was_ever_deposited(self, store):
        with pytest.raises(InsufficientFunds) as refused:
            await store.submit(withdraw(1, "w"))
        assert refused.value.available == 0
