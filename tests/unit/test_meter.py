"""Holds around a call of a model that nobody here talks to: opened, kept alive, settled once."""

import asyncio
import gc
from dataclasses import replace
from datetime import timedelta

import pytest

from paying.leaving import cancelled_at
from paying.models import PER_TOKEN
from prepaid import pricing
from prepaid.errors import (
    AmountTooLarge,
    CurrencyMismatch,
    HoldResolved,
    InsufficientFunds,
    ManagerClosed,
    ProviderUsageInvalid,
    StoreBusy,
    StoreCorrupted,
)
from prepaid.meter import Meter, PaidCall, Payer, Replay
from prepaid.meter.call import to_the_end
from prepaid.records import Price, Unit, Usage
from prepaid.store.operations import PlaceTaken, Progress, Release, Settle

pytest_plugins = ["paying.fixtures"]

QUOTED = pricing.quote("m", PER_TOKEN, 10, 45)
"""Holds 100, and 12 at least."""

DEAR = pricing.quote("dear", Price.flat("USD", Unit.TOKEN, 10_000_000, 20_000_000), 10, 45)
"""Holds 1,000, and 120 at least."""


@pytest.fixture
async def payer(desk):
    return await desk.payer(10_000)


async def test_a_call_is_held_settled_and_what_is_left_released(desk, payer):
    call = await desk.meter.open(payer, QUOTED)
    assert isinstance(call, PaidCall)
    assert (call.granted, call.output_limit, call.is_lowered, call.is_keyed) == (100, 45, False, False)
    assert desk.account(payer).held == 100
    settled = await call.settle(Usage(10, 5))
    assert (settled.captured, settled.released, settled.available) == (20, 80, 9_980)
    assert call.is_resolved
    await call.abandon()
    desk.check(payer, spent=20)


async def test_a_listener_hears_how_calls_ended(desk, payer):
    heard = []
    desk.meter.listener = lambda *told: heard.append(told)
    paid = await desk.meter.open(payer, QUOTED)
    await paid.settle(Usage(10, 5))
    failed = await desk.meter.open(payer, QUOTED)
    await failed.abandon(7)
    assert [(model, type(work), told.captured, told.exposure) for model, work, told in heard] == [
        ("m", Settle, 20, 0),
        ("m", Release, 0, 7),
    ]


async def test_a_listener_hears_of_what_a_cancelled_caller_has_paid(desk, payer):
    """However often it is cancelled: anyio's scopes cancel at each step."""
    heard = []
    desk.meter.listener = lambda *told: heard.append(told)
    call = await desk.meter.open(payer, QUOTED)
    settling = asyncio.create_task(call.settle(Usage(10, 5)))
    await asyncio.sleep(0)
    while not settling.done():
        settling.cancel()
        await asyncio.sleep(0)
    assert settling.cancelled()
    assert [told.captured for _, _, told in heard] == [20]
    desk.check(payer, spent=20)


async def test_a_listener_hears_of_what_the_sweep_has_settled(quick):
    """Nobody watched it, but somebody lost by it."""
    heard = []
    quick.meter.listener = lambda *told: heard.append(told)
    payer = await quick.payer(1_000)
    call = await quick.meter.open(payer, QUOTED)
    held = call.granted
    await quick.meter.aclose()
    quick.meter.running.clear()
    quick.clock.advance(60)
    await quick.meter.reconcile()
    assert [(model, work, told.exposure) for model, work, told in heard] == [("interrupted", None, held)]


async def test_a_call_that_is_abandoned_costs_nothing(desk, payer):
    call = await desk.meter.open(payer, QUOTED)
    await call.abandon()
    await call.abandon()
    assert desk.lines(payer) == []
    desk.check(payer, spent=0)


async def test_what_was_delivered_of_an_abandoned_call_is_our_loss(desk, payer):
    """Spec C12: at most the hold."""
    for usage in (Usage(10, 5), Usage(10, 10**6)):
        call = await desk.meter.open(payer, QUOTED)
        call.usage = usage
        await call.abandon()
    assert desk.lines(payer) == ["exposure 20 m", "exposure 100 m"]
    desk.check(payer, spent=0)


async def test_settling_twice_gives_the_same_or_a_conflict(desk, payer):
    """Guarantee 4."""
    call = await desk.meter.open(payer, QUOTED)
    settled = await call.settle(Usage(10, 5))
    assert await call.settle(Usage(10, 5)) == settled
    with pytest.raises(HoldResolved):
        await call.settle(Usage(10, 6))
    desk.check(payer, spent=20)


async def test_another_model_answered_in_the_end(desk, payer):
    call = await desk.meter.open(payer, QUOTED, others=(DEAR,))
    assert (call.granted, call.quoted) == (1_000, QUOTED)
    await call.settle(Usage(10, 5), quoted=DEAR)
    assert desk.lines(payer) == ["capture 200 dear"]


async def test_a_call_in_another_models_hands(desk, payer):
    call = await desk.meter.open(payer, QUOTED, others=(DEAR,))
    call.quoted = DEAR
    call.usage = Usage(10, 5)
    assert (call.delivered, call.output_limit) == (200, 45)


async def test_the_cheapest_decides_whether_there_is_enough(desk):
    payer = await desk.payer(12)
    call = await desk.meter.open(payer, DEAR, others=(QUOTED,))
    assert (call.granted, call.output_limit, call.is_lowered) == (12, 0, True)
    call.quoted = QUOTED
    assert (call.output_limit, call.is_lowered) == (1, True)
    await call.abandon()
    with pytest.raises(InsufficientFunds):
        await desk.meter.open(payer, DEAR)
    desk.check(payer, spent=0)


async def test_every_quote_is_in_the_accounts_currency(desk, payer):
    euros = pricing.quote("euro", Price.flat("EUR", Unit.TOKEN, 1, 1), 10, 45)
    for quoted, others in ((euros, ()), (QUOTED, (euros,))):
        with pytest.raises(CurrencyMismatch):
            await desk.meter.open(payer, quoted, others=others)
    desk.check(payer, spent=0)


async def test_amounts_that_no_ledger_can_hold(desk, payer):
    price = Price.flat("USD", Unit.TOKEN, 0, 2**80)
    call = await desk.meter.open(payer, pricing.quote("m", price, 0, 2**60), others=(QUOTED,))
    assert call.granted == 10_000
    await call.abandon()
    with pytest.raises(AmountTooLarge):
        await desk.meter.open(payer, pricing.quote("m", replace(price, per_request=2**62), 0, 2**60))
    call = await desk.meter.open(payer, QUOTED)
    await call.settle(Usage(10, 10**12), quoted=pricing.quote("m", price, 0, 1))
    assert min(desk.lines(payer)) == "capture 100 m"
    desk.check(payer, spent=100)


@pytest.mark.parametrize("usage", [Usage(-1, 0), Usage(0, 10**13), Usage(output_bytes=-1), Usage(0.5, 1)])
async def test_a_usage_that_cannot_be_settles_nothing(desk, payer, usage):
    call = await desk.meter.open(payer, QUOTED)
    with pytest.raises(ProviderUsageInvalid):
        await call.settle(usage)
    assert not call.is_resolved
    await call.abandon()
    desk.check(payer, spent=0)


async def test_a_key_stands_for_the_amounts_where_no_content_is_given(desk, payer):
    call = await desk.meter.open(payer, QUOTED, key="k")
    assert call.is_keyed
    await call.settle(Usage(10, 5), response="what was said")
    assert await desk.meter.open(payer, QUOTED, key="k") == Replay("what was said")


async def test_a_place_that_is_taken_holds_nothing(desk, payer):
    await desk.chat(payer)
    place = desk.place(payer)
    call = await desk.meter.open(payer, QUOTED, place=place)
    taken = await desk.meter.open(payer, QUOTED, place=place)
    assert isinstance(taken, PlaceTaken)
    assert taken.open_turn == call.key
    assert desk.account(payer).held == 100
    await call.abandon()
    desk.check(payer, spent=0)


async def test_leaving_while_a_place_turns_out_to_be_taken(desk, payer):
    await desk.chat(payer)
    place = desk.place(payer)
    call = await desk.meter.open(payer, QUOTED, place=place)
    asking = asyncio.create_task(desk.meter.open(payer, QUOTED, place=place))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert desk.store.reads.chat(payer.session_id, 1).open_turn == call.key
    await call.abandon()


async def test_what_is_available(desk, payer):
    assert (await desk.meter.available(payer)) == 10_000
    assert (await desk.meter.available(Payer("ses_none", "ann", "USD"))) == 0


# --- the heartbeat -------------------------------------------------------------------------------


class Told:
    """Stands before a store's ``submit`` and waits for heartbeats."""

    def __init__(self, desk, error=None) -> None:
        self._submit = desk.store.submit
        self._desk = desk
        self.error = error
        self.beats = []
        self._beaten = asyncio.Event()

    def __call__(self, operation):
        if isinstance(operation, Progress):
            self.beats.append((operation.key, operation.delivered))
            self._beaten.set()
            if self.error is not None:
                raise self.error
        return self._submit(operation)

    async def beat(self):
        """The next round of heartbeats is over, and written."""
        self._beaten.clear()
        await self._beaten.wait()
        await self._submit(Progress("none", "none", 0, 0))


@pytest.fixture
async def quick(open_desk, monkeypatch):
    """A desk whose holds last so short that the heart beats at once; its clock stands still for them."""
    desk = open_desk(hold_seconds=0.03)
    desk.clock.advance(0)
    desk.told = Told(desk)
    monkeypatch.setattr(desk.store, "submit", desk.told)
    return desk


def expires_ms(desk, key):
    return desk.store.reads.row("SELECT expires_ms FROM hold WHERE key = ?", (key,))[0]


async def test_a_process_that_slept_sweeps_what_others_left_and_not_its_own_calls(open_desk):
    """A suspended or starved machine wakes past its own deadlines, and its sweep may come before its heart."""
    desk = open_desk(hold_seconds=30)
    payer = await desk.payer(1_000)
    call, early = [await desk.meter.open(payer, QUOTED) for _ in range(2)]
    await desk.ledger.hold(payer.session_id, payer.owner, 10, key="of-one-that-crashed")
    desk.clock.advance(3_600_000)
    await early.settle(Usage(10, 5))
    assert [swept.key for swept in await desk.meter.reconcile()] == ["of-one-that-crashed"]
    assert expires_ms(desk, call.key) > desk.clock()
    await call.settle(Usage(10, 5))
    desk.check(payer, spent=40)


async def test_a_hold_lives_through_a_long_stream(quick):
    """Its deadline moves on, and what was delivered is known to whoever has to settle it."""
    payer = await quick.payer(1_000)
    call = await quick.meter.open(payer, QUOTED)
    first = expires_ms(quick, call.key)
    quick.clock.advance(1)
    await quick.told.beat()
    assert expires_ms(quick, call.key) > first
    assert quick.told.beats[-1] == (call.key, 0)
    call.usage = Usage(10, 5)
    await quick.told.beat()
    assert quick.told.beats[-1] == (call.key, 20)
    await call.abandon()
    quick.check(payer, spent=0)


async def test_a_crash_in_mid_stream_is_settled_for_what_was_delivered(quick):
    """The heart stops, the deadline passes: delivered is captured, the rest released, the risk booked."""
    payer = await quick.payer(1_000)
    call = await quick.meter.open(payer, QUOTED, others=(DEAR,))
    call.quoted, call.usage = DEAR, Usage(10, 5)
    await quick.told.beat()
    await quick.meter.aclose()
    quick.clock.advance(60)
    await quick.ledger.reconcile()
    assert quick.lines(payer) == ["capture 200 interrupted", "exposure 800 interrupted"]
    quick.check(payer, spent=200)


async def test_the_heart_beats_for_all_and_rests_when_nothing_runs(quick):
    payer = await quick.payer(1_000)
    calls = [await quick.meter.open(payer, QUOTED) for _ in range(3)]
    heart = quick.meter._heart
    await quick.told.beat()
    await quick.told.beat()
    assert {key for key, _ in quick.told.beats} == {call.key for call in calls}
    for call in calls:
        await call.abandon()
    await heart
    again = await quick.meter.open(payer, QUOTED)
    assert quick.meter._heart is not heart
    await again.abandon()
    quick.check(payer, spent=0)


async def test_a_full_queue_does_not_stop_the_heart(quick):
    payer = await quick.payer(1_000)
    call = await quick.meter.open(payer, QUOTED)
    quick.told.error = StoreBusy("full")
    await quick.told.beat()
    quick.told.error = None
    before = expires_ms(quick, call.key)
    quick.clock.advance(1)
    await quick.told.beat()
    assert expires_ms(quick, call.key) > before
    await call.abandon()


async def test_what_was_delivered_is_measured_at_each_beat(quick):
    payer = await quick.payer(1_000)
    call = await quick.meter.open(payer, QUOTED)
    call.measure = lambda: Usage(10, 5)
    await quick.told.beat()
    assert quick.told.beats[-1] == (call.key, 20)
    await call.abandon()
    assert call.measure is None
    assert quick.lines(payer) == ["exposure 20 m"]


async def test_a_model_that_cannot_count_does_not_stop_the_heart(quick):
    seen = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context["exception"]))
    payer = await quick.payer(1_000)
    calls = [await quick.meter.open(payer, QUOTED) for _ in range(2)]
    calls[0].measure = {}.popitem
    calls[1].usage = Usage(10, 5)
    await quick.told.beat()
    await quick.told.beat()
    assert set(quick.told.beats[-2:]) == {(calls[0].key, 0), (calls[1].key, 20)}
    assert {type(error) for error in seen} == {KeyError}
    for call in calls:
        await call.abandon()


async def test_a_call_that_is_dropped_is_forgotten(quick):
    payer = await quick.payer(1_000)
    call = await quick.meter.open(payer, QUOTED)
    heart = quick.meter._heart
    await quick.told.beat()
    del call
    gc.collect()
    await heart
    quick.clock.advance(60)
    await quick.ledger.reconcile()
    quick.check(payer, spent=0)


@pytest.mark.parametrize(("error", "reported"), [(StoreCorrupted("gone"), 0), (ZeroDivisionError(), 1)])
async def test_a_heartbeat_that_fails_is_the_sweeps_business_unless_nobody_foresaw_it(
    open_desk, monkeypatch, error, reported
):
    desk = open_desk(hold_seconds=0.003)
    payer = await desk.payer(1_000)
    failed = asyncio.get_running_loop().create_future()
    failed.set_exception(error)
    call = await desk.meter.open(payer, QUOTED)
    seen = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context["exception"]))
    submit, beaten = desk.store.submit, asyncio.Event()

    def submitted(operation):
        if isinstance(operation, Progress):
            beaten.set()
            return failed
        return submit(operation)

    with monkeypatch.context() as failing:
        failing.setattr(desk.store, "submit", submitted)
        await beaten.wait()
        await asyncio.sleep(0)
    await call.abandon()
    assert seen[:1] == [error] * reported


async def test_a_heartbeat_that_was_cancelled_with_its_loop_is_not_looked_at(open_desk, monkeypatch):
    desk = open_desk(hold_seconds=0.003)
    payer = await desk.payer(1_000)
    call = await desk.meter.open(payer, QUOTED)
    submit, beaten = desk.store.submit, asyncio.Event()

    def submitted(operation):
        future = submit(operation)
        if isinstance(operation, Progress):
            future.cancel()
            beaten.set()
        return future

    with monkeypatch.context() as failing:
        failing.setattr(desk.store, "submit", submitted)
        await beaten.wait()
        await asyncio.sleep(0)
    await call.abandon()
    desk.check(payer, spent=0)


async def test_nothing_is_opened_once_all_is_stopped(desk, payer):
    assert await desk.meter.stop(1)
    with pytest.raises(ManagerClosed):
        await desk.meter.open(payer, QUOTED)
    assert desk.account(payer).held == 0


async def test_what_is_owed_stays_owed_while_the_stores_queue_is_full(desk, payer, monkeypatch):
    call = await desk.meter.open(payer, QUOTED)
    submit = desk.store.submit

    def full(operation):
        if isinstance(operation, Settle | Release):
            raise StoreBusy("full")
        return submit(operation)

    with monkeypatch.context() as failing:
        failing.setattr(desk.store, "submit", full)
        with pytest.raises(StoreBusy):
            await call.abandon()
        await desk.meter.reconcile()
        assert list(desk.meter.owed) == [call]
        assert desk.account(payer).held == 100
    await desk.meter.reconcile()
    while desk.account(payer).held:  # noqa: ASYNC110 -- the ledger tells nobody
        await asyncio.sleep(0)
    assert desk.meter.owed == {}
    desk.check(payer, spent=0)


@pytest.mark.parametrize("is_resolved", [True, False])
async def test_what_failed_again_is_owed_unless_something_else_settled_it(
    desk, payer, monkeypatch, is_resolved
):
    call = await desk.meter.open(payer, QUOTED)
    submit, again = desk.store.submit, asyncio.get_running_loop().create_future()
    work = Release(payer.session_id, call.key)
    desk.meter.owe(call, work)
    with monkeypatch.context() as failing:
        failing.setattr(desk.store, "submit", lambda each: again if each is work else submit(each))
        await desk.meter.reconcile()
    assert desk.meter.owed == {}
    call.is_resolved = is_resolved
    again.set_exception(StoreBusy("busy"))
    await asyncio.sleep(0)
    assert list(desk.meter.owed) == [call] * (not is_resolved)


async def test_closing_a_meter_that_never_beat(desk):
    await Meter(desk.ledger, timedelta(seconds=1)).aclose()


# --- to the end ----------------------------------------------------------------------------------


async def test_to_the_end_however_often_we_are_cancelled():
    future = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(to_the_end(future))
    for _ in range(3):
        await asyncio.sleep(0)
        waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()
    future.set_result(1)
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_failure_at_the_end_is_told_even_so(desk, payer):
    future = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(to_the_end(future))
    await asyncio.sleep(0)
    waiting.cancel()
    future.set_exception(StoreBusy("busy"))
    with pytest.raises(StoreBusy):
        await waiting


async def test_opening_is_cancelled_at_every_await(desk):
    for number in range(5):
        payer = await desk.payer(1_000)
        opening = asyncio.create_task(opened(desk, payer, number))
        result = (await asyncio.gather(opening, return_exceptions=True))[0]
        if isinstance(result, PaidCall):
            await result.abandon()
            break
        assert isinstance(result, asyncio.CancelledError)
        desk.check(payer, spent=0)
    assert number > 0
    desk.check(payer, spent=0)


async def opened(desk, payer, number):
    return await cancelled_at(desk.meter.open(payer, QUOTED), number)
