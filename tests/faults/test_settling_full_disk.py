"""A disk that is full, or a process that is killed, while an answer is to be settled: what was delivered is charged,
or booked as what we may owe the provider, and nothing stays held (spec P3)."""

import asyncio
from contextlib import aclosing

import pytest

from paying.desk import Desk
from paying.models import END, Pause, Scripted
from prepaid.errors import HoldResolved, StoreFull
from prepaid.records import ChatRequest, Message, Role
from prepaid.turns import Question

from .fullness import FaultyDisk

QUESTION = "one two three"
GRANTED = 3 + 2 * 64
COST = 3 + 2 * 2
SAID = [f"user: {QUESTION}", "assistant: Hello world"]


@pytest.fixture
def disk():
    with FaultyDisk() as made:
        yield made


@pytest.fixture
async def desk(disk, tmp_path):
    made = Desk(tmp_path / "x.db", vfs=disk.vfs_name)
    yield made
    disk.release()
    await made.aclose()


@pytest.fixture
async def payer(desk):
    payer = await desk.payer(10_000)
    await desk.chat(payer)
    return payer


def asked(desk, payer, model):
    question = Message(Role.USER, QUESTION)
    request = ChatRequest(model.info.name, (question,))
    return Question(payer, request, (model,), place=desk.place(payer), asked=(question,))


async def begun(desk, question):
    """A stream that has its hold and has not spoken."""
    return desk.turns.run(question, await desk.turns.reserve(question))


async def until(check):
    while not check():  # noqa: ASYNC110 -- the ledger tells nobody
        await asyncio.sleep(0.002)


def exposed(desk, payer):
    lines = desk.store.reads.transfers(payer.session_id)
    return sum(line.amount for line in lines if line.kind == "exposure")


async def leave(desk, payer, disk):
    """A reader takes two words, and leaves while the disk is full."""
    events = await begun(desk, asked(desk, payer, Scripted(["Hello", " world", " and more", END])))
    await anext(events)
    await anext(events)
    disk.fill(of="-wal")
    await events.aclose()
    assert disk.refused_writes
    assert desk.account(payer).held == GRANTED


async def test_who_left_pays_and_finds_the_turn_once_there_is_room(desk, payer, disk):
    await leave(desk, payer, disk)
    for _ in range(3):  # as often as the sweep comes by meanwhile
        refused = disk.refused_writes
        await desk.meter.reconcile()
        await until(lambda: desk.meter.owed and disk.refused_writes > refused)  # noqa: B023 -- waited for here
    disk.release()
    await desk.meter.reconcile()
    await until(lambda: not desk.account(payer).held)
    assert desk.check(payer, spent=COST).held == 0
    assert (desk.said(payer), exposed(desk, payer), desk.meter.owed) == (SAID, 0, {})
    await desk.meter.reconcile()
    assert desk.account(payer).spent == COST


async def test_the_heart_tries_again_where_nobody_sweeps(disk, tmp_path):
    desk = Desk(tmp_path / "x.db", vfs=disk.vfs_name, hold_seconds=0.03)
    payer = await desk.payer(10_000)
    await desk.chat(payer)
    await leave(desk, payer, disk)
    disk.release()
    await until(lambda: not desk.account(payer).held)
    assert desk.check(payer, spent=COST).held == 0
    assert desk.said(payer) == SAID
    await desk.aclose()


async def test_closing_the_meter_tries_again(disk, tmp_path):
    desk = Desk(tmp_path / "x.db", vfs=disk.vfs_name)
    payer = await desk.payer(10_000)
    await desk.chat(payer)
    await leave(desk, payer, disk)
    disk.release()
    await desk.aclose()
    again = Desk(tmp_path / "x.db")
    assert again.check(payer, spent=COST).held == 0
    assert again.said(payer) == SAID
    await again.aclose()


async def test_an_answer_that_failed_at_its_settlement_is_free_and_booked(desk, payer, disk):
    """Spec C12: its caller was told that it failed. What was delivered is our loss, once there is room."""
    events = await begun(desk, asked(desk, payer, Scripted(["Hello", " world", END])))
    got = []

    async def read():
        async with aclosing(events):
            async for event in events:
                got.append(event)
                if len(got) == 2:
                    disk.fill(of="-wal")

    with pytest.raises(StoreFull):
        await read()
    assert len(got) == 2
    disk.release()
    await desk.meter.reconcile()
    await until(lambda: not desk.account(payer).held)
    assert desk.check(payer, spent=0).held == 0
    assert exposed(desk, payer) == COST


@pytest.mark.parametrize("is_told", [True, False], ids=["told by a heartbeat", "before the first heartbeat"])
async def test_killed_in_mid_stream(is_told, disk, tmp_path):
    """What the last heartbeat told is captured; the rest of the hold is booked: nothing delivered is neither."""
    desk = Desk(tmp_path / "x.db", vfs=disk.vfs_name, hold_seconds=0.03 if is_told else 60)
    payer = await desk.payer(10_000)
    await desk.chat(payer)
    pause = Pause()
    events = await begun(desk, asked(desk, payer, Scripted(["Hello", " world", pause, END])))
    await anext(events)
    await anext(events)
    if is_told:
        await until(lambda: told(desk, payer) == COST)
    desk.meter._heart.cancel()  # the process is gone
    again = Desk(tmp_path / "x.db")
    again.clock.advance(3_600)
    (settled,) = await again.meter.reconcile()
    charged = COST if is_told else 0
    assert settled.captured == charged
    assert again.check(payer, spent=charged).held == 0
    assert exposed(again, payer) == GRANTED - charged
    assert again.said(payer) == []
    pause.go.set()
    with pytest.raises(HoldResolved):  # it was not gone after all
        [event async for event in events]
    await again.aclose()
    assert exposed(desk, payer) == GRANTED - charged
    await desk.aclose()


def told(desk, payer):
    ((delivered,),) = desk.store.reads.rows(
        "SELECT delivered FROM hold WHERE session_id = ?", (payer.session_id,)
    )
    return delivered


async def test_a_sweep_that_comes_first_has_the_last_word(desk, payer, disk, tmp_path):
    """The disk stays full beyond the deadline; another process has room again before ours tries."""
    await leave(desk, payer, disk)
    disk.release()
    again = Desk(tmp_path / "x.db")
    again.clock.advance(3_600)
    (settled,) = await again.meter.reconcile()
    assert settled.captured == 0
    await desk.meter.reconcile()
    await until(lambda: not desk.meter.owed)
    assert desk.check(payer, spent=0).held == 0
    assert exposed(desk, payer) == GRANTED
    await again.aclose()
