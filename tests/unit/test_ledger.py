"""The ledger's own share: amounts and keys checked, ids and fingerprints made, words turned into operations."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepaid.errors import (
    AmountNotExact,
    AmountNotPositive,
    AmountTooLarge,
    CurrencyMismatch,
    IdempotencyConflict,
    InsufficientFunds,
    InvalidRequestError,
    SessionNotFound,
    ValueTooLarge,
)
from prepaid.ledger import Ledger, check_key, deposit_id, fingerprint, key_or_new, milliseconds, new_id
from prepaid.money import AMOUNT_MAX
from prepaid.records import HoldState
from prepaid.store.operations import Funded, Held, Settle
from prepaid.store.sqlite.store import SqliteStore
from store.books import Clock, assert_sound, balance, create, kinds

SECOND = timedelta(seconds=1)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def ledger(tmp_path, clock):
    store = SqliteStore(tmp_path / "ledger.db", clock=clock)
    await store.submit(create())
    yield Ledger(store)
    await assert_sound(store)
    await store.aclose()


class TestAmounts:
    @pytest.mark.parametrize("amount", [1.0, float("nan"), True, "1", None, object()])
    async def test_no_int(self, amount, ledger):
        for call in calls(ledger, amount):
            with pytest.raises(AmountNotExact):
                await call

    @pytest.mark.parametrize("amount", [-1, -(2**63), -(10**5_000)], ids=["-1", "-2**63", "-10**5000"])
    async def test_below_zero(self, amount, ledger):
        for call in calls(ledger, amount):
            with pytest.raises(AmountNotPositive):
                await call

    @pytest.mark.parametrize("amount", [AMOUNT_MAX + 1, 2**63, 10**5_000], ids=["max+1", "2**63", "10**5000"])
    async def test_too_large(self, amount, ledger):
        for call in calls(ledger, amount):
            with pytest.raises(AmountTooLarge):
                await call

    async def test_nothing_is_no_money_to_move(self, ledger):
        for call in (
            ledger.fund("ses_1", "ann", 0),
            ledger.deposit("ann", "USD", 0),
            ledger.withdraw("ann", 0),
        ):
            with pytest.raises(AmountNotPositive):
                await call
        assert (await ledger.hold("ses_1", "ann", 0)).amount == 0

    async def test_a_minimum_above_the_amount(self, ledger):
        with pytest.raises(InvalidRequestError, match="minimum of 6"):
            await ledger.hold("ses_1", "ann", 5, minimum=6)


def calls(ledger, amount):
    return [
        ledger.fund("ses_1", "ann", amount),
        ledger.deposit("ann", "USD", amount),
        ledger.withdraw("ann", amount),
        ledger.hold("ses_1", "ann", amount),
        ledger.hold("ses_1", "ann", AMOUNT_MAX, minimum=object() if amount is None else amount),
        ledger.capture("ses_1", "k", amount),
        ledger.release("ses_1", "k", loss=amount),
        ledger.progress("ses_1", "k", amount, SECOND),
    ]


class TestKeys:
    @pytest.mark.parametrize("key", ["", " ", "a b", "ä", "a\n", "\x7f", "\ud800"])
    async def test_no_key(self, key, ledger):
        with pytest.raises(InvalidRequestError):
            check_key(key)
        with pytest.raises(InvalidRequestError):
            await ledger.hold("ses_1", "ann", 1, key=key)

    def test_too_long(self):
        assert check_key("k" * 255) == "k" * 255
        with pytest.raises(ValueTooLarge) as refused:
            check_key("k" * 256)
        assert (refused.value.size, refused.value.limit) == (256, 255)

    @given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255))
    def test_a_key_stays_as_it_is(self, key):
        assert key_or_new(key) == check_key(key) == key

    def test_new_ones_are_keys_and_sort_by_time(self, monkeypatch):
        made = []
        for second in range(100):
            monkeypatch.setattr(time, "time_ns", lambda second=second: (1_800_000_000 + second) * 10**9)
            made.append(check_key(key_or_new(None)))
        assert made == sorted(set(made))


class TestIds:
    def test_they_sort_by_time(self, monkeypatch):
        made = []
        for ms in range(0, 10**11, 10**9):
            monkeypatch.setattr(time, "time_ns", lambda ms=ms: (1_800_000_000_000 + ms) * 10**6)
            made.append(new_id("ses"))
        assert made == sorted(set(made))

    def test_they_are_all_different(self):
        made = {new_id("ses") for _ in range(10_000)}
        assert len(made) == 10_000
        assert {len(found) for found in made} == {len("ses_") + 22}
        assert all(found < "~" for found in made), "pages start below the tilde"

    def test_a_deposit_is_per_owner(self):
        assert deposit_id("ann") != deposit_id("bob")


class TestFingerprints:
    @given(st.lists(st.integers() | st.text()), st.lists(st.integers() | st.text()))
    def test_different_content_differs(self, one, other):
        assert (fingerprint(*one) == fingerprint(*other)) == (one == other)

    def test_what_looks_alike(self):
        assert fingerprint("a", "b") != fingerprint("ab")
        assert fingerprint("1") != fingerprint(1)
        assert len(fingerprint()) == 16


def test_durations():
    assert milliseconds(timedelta(seconds=1, microseconds=1_999)) == 1_001


class TestWords:
    async def test_an_account_is_its_owners(self, ledger):
        """Spec A5."""
        assert ledger.account("ses_1", "ann").available == 1_000
        await ledger.deposit("ann", "USD", 5)
        for session_id, owner in (("ses_1", "eve"), ("ses_9", "ann"), ("deposit:ann", "ann")):
            with pytest.raises(SessionNotFound):
                ledger.account(session_id, owner)

    async def test_money_comes_and_goes(self, ledger):
        assert await ledger.fund("ses_1", "ann", 5, "f") == Funded(1_005, 1_005)
        assert await ledger.fund("ses_1", "ann", 5, "f") == Funded(1_005, 1_005)
        assert await ledger.fund("ses_1", "ann", 5) == Funded(1_010, 1_010)
        assert await ledger.deposit("ann", "usd", 7, "d") == Funded(7, 7)
        with pytest.raises(IdempotencyConflict):
            await ledger.deposit("ann", "EUR", 7, "d")
        assert await ledger.withdraw("ann", 3, "w") == Funded(4, 7)
        with pytest.raises(InsufficientFunds):
            await ledger.withdraw("ann", 5)

    async def test_a_currency_nobody_knows(self, ledger):
        with pytest.raises(CurrencyMismatch):
            await ledger.deposit("ann", "shells", 7)

    async def test_hold_and_capture(self, ledger):
        held = await ledger.hold("ses_1", "ann", 5_000, minimum=1)
        assert held.amount == 1_000
        assert (await ledger.capture("ses_1", held.key, 400)).released == 600
        assert balance(ledger.store) == (600, 0, 400, 0)

    async def test_hold_and_release(self, ledger):
        held = await ledger.hold("ses_1", "ann", 50, sent=True)
        assert (await ledger.release("ses_1", held.key, loss=20)).available == 1_000
        assert kinds(ledger.store) == ["fund 1000", "exposure 20"]

    async def test_a_hold_of_other_content_conflicts(self, ledger):
        await ledger.hold("ses_1", "ann", 50, key="k")
        assert await ledger.hold("ses_1", "ann", 50, key="k") == Held("k", 50, replayed=True)
        for amount, minimum in ((51, None), (50, 1)):
            with pytest.raises(IdempotencyConflict):
                await ledger.hold("ses_1", "ann", amount, minimum=minimum, key="k")
        await ledger.hold("ses_1", "ann", 50, key="l", content=b"question")
        assert (await ledger.hold("ses_1", "ann", 60, key="l", content=b"question")).replayed

    async def test_a_refusal_is_kept_under_the_callers_key_only(self, ledger):
        for key in ("k", None):
            with pytest.raises(InsufficientFunds):
                await ledger.hold("ses_1", "ann", 2_000, key=key)
        await ledger.fund("ses_1", "ann", 5_000)
        with pytest.raises(InsufficientFunds):
            await ledger.hold("ses_1", "ann", 2_000, key="k")
        assert (await ledger.hold("ses_1", "ann", 2_000)).amount == 2_000

    async def test_settling_in_full(self, ledger):
        held = await ledger.hold("ses_1", "ann", 50, key="k")
        settled = await ledger.settle(Settle("ses_1", held.key, 20, "m", 3, 4, response="{}"))
        assert settled.captured == 20
        assert (await ledger.hold("ses_1", "ann", 50, key="k")).response == "{}"


class TestReconciling:
    async def test_what_nobody_watches_is_settled(self, ledger, clock):
        await ledger.hold("ses_1", "ann", 50, key="a", lasts=SECOND)
        await ledger.hold("ses_1", "ann", 50, key="b", lasts=SECOND, sent=True)
        await ledger.hold("ses_1", "ann", 50, key="c", lasts=SECOND, sent=True)
        await ledger.hold("ses_1", "ann", 50, key="d", lasts=3 * SECOND)
        assert await ledger.progress("ses_1", "b", 30, SECOND) is True
        assert await ledger.reconcile() == []
        clock.advance(1_000)
        assert await ledger.progress("ses_1", "c", 10, 2 * SECOND) is True
        assert [(found.key, found.captured) for found in await ledger.reconcile()] == [("a", 0), ("b", 30)]
        clock.advance(2_000)
        assert {(found.key, found.captured) for found in await ledger.reconcile()} == {("c", 10), ("d", 0)}
        assert balance(ledger.store) == (960, 0, 40, 0)

    async def test_a_batch_at_a_time(self, ledger, clock):
        for number in range(5):
            await ledger.hold("ses_1", "ann", 1, key=f"k{number}", lasts=SECOND)
        clock.advance(1_000)
        assert [len(await ledger.reconcile(limit=2)) for _ in range(4)] == [2, 2, 1, 0]

    async def test_two_sweepers_settle_each_hold_once(self, ledger, clock, monkeypatch):
        """Guarantee 4: what one sweeper settled meanwhile is nothing to the other."""
        await ledger.hold("ses_1", "ann", 1, key="k", lasts=SECOND)
        clock.advance(1_000)
        overdue = ledger.store.reads.overdue_holds(clock(), 10)
        await ledger.reconcile()
        monkeypatch.setattr(ledger.store.reads, "overdue_holds", lambda *_: overdue)
        assert await ledger.reconcile() == []
        assert ledger.store.reads.hold_state("ses_1", "k") == (HoldState.RELEASED, 0)

    async def test_when_the_store_fails_every_failure_is_taken(self, ledger, clock, monkeypatch):
        """A failure nobody awaits would be reported by the event loop as lost."""
        for number in range(3):
            await ledger.hold("ses_1", "ann", 1, key=f"k{number}", lasts=SECOND)
        clock.advance(1_000)
        monkeypatch.setattr(ledger.store.reads, "overdue_holds", lambda *_: [("ses_1", object())] * 3)
        with pytest.raises(TypeError):
            await ledger.reconcile()
