"""Any sequence of operations, by several managers on one file, does what the model says; the books stay sound.

Guarantees 1 to 5. The model (``store.model``) is the ledger in plain Python.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from prepaid.audit import audit
from prepaid.errors import PrepaidError
from prepaid.records import HoldState, Message, Role, SessionState
from prepaid.statements import build_statement, verify_statement
from prepaid.store.operations import (
    AddToPool,
    CreateChat,
    EndLease,
    Limits,
    Place,
    RemoveFromPool,
    SetState,
    TakeFromPool,
    Turn,
)
from store.books import (
    Clock,
    close,
    close_if_due,
    create,
    deposit,
    fund,
    hold,
    progress,
    reconcile,
    release,
    settle,
    withdraw,
)
from store.model import Model
from stores import open_store

MANAGERS = 3
LIVE = (SessionState.ACTIVE, SessionState.PAUSED)
OWNERS = st.sampled_from(["ann", "bob"])
ASSETS = st.sampled_from(["USD", "USD", "USD", "EUR"])
AMOUNTS = st.integers(1, 60)
COSTS = st.integers(0, 60)
SPANS_MS = st.sampled_from([1, 50, 100, 200])
MAYBE_SPAN_MS = st.none() | SPANS_MS
TURN = Turn((Message(Role.USER, "q"), Message(Role.ASSISTANT, "a")), 3)

PICKS = st.sampled_from(range(100))
"""Chooses among what is there: as a rule what fits, now and then anything."""
WAYS = st.sampled_from([0, 1, 2, 10, 11, 12])
"""The manager, plus 10 where the next step does not wait for this one's answer."""


class Ledgers(RuleBasedStateMachine):
    """Managers on one database; each step goes through one of them, and waits for its answer or not."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.model = Model(self.clock)
        self.where = self.new_where()
        self.stores = [self.opened() for _ in range(MANAGERS)]
        self.waiting: list = []
        self.manager = 0
        self.sessions = 0
        self.leases = 0
        self.keys = 0

    def teardown(self):
        self.answer()
        for store in self.stores:
            self.loop.run_until_complete(store.aclose())
        self.loop.close()
        self.remove()

    def new_where(self):
        return Path(tempfile.mkdtemp(prefix="ledgers-")) / "x.db"

    def remove(self):
        shutil.rmtree(self.where.parent)

    def opened(self):
        return open_store(self.where, clock=self.clock)

    def do(self, work, way):
        """One step, by a manager; its answer is waited for, or left to come with the next ones'."""
        manager, waits = way % 10, way < 10
        if manager != self.manager:
            self.answer()
        self.manager = manager
        note(f"manager {manager}: {work}")
        self.waiting.append((work, predicted(self.model, work)))
        if waits or len(self.waiting) > 8:
            self.answer()

    def answer(self):
        """Submit what was collected, at once, and compare."""
        waiting, self.waiting = self.waiting, []
        if not waiting:
            return
        answers = self.loop.run_until_complete(self.together([work for work, _ in waiting]))
        for (work, expected), got in zip(waiting, answers, strict=True):
            assert shown(got) == shown(expected), f"{work}:\n got {got!r}\n not {expected!r}"

    async def together(self, works):
        futures = [self.stores[self.manager].submit(work) for work in works]
        return await asyncio.gather(*futures, return_exceptions=True)

    # --- choosing

    def session(self, pick, *states):
        """A session in one of the states, and its owner; now and then any, or somebody else."""
        accounts = self.model.accounts
        fitting = [name for name, account in accounts.items() if account.state in (states or LIVE)]
        anything = [name for name in accounts if not name.startswith("deposit:")] + ["none"]
        found = (
            (fitting or anything)[pick % len(fitting or anything)]
            if pick < 90
            else anything[pick % len(anything)]
        )
        owner = accounts[found].owner if found in accounts else "ann"
        return found, owner if pick % 16 != 15 else "eve"

    def live(self):
        return sum(account.state in LIVE for account in self.model.accounts.values())

    def reserved(self, pick):
        """The session and key of an open hold; now and then of any, or of none."""
        fitting = [place for place, held in self.model.holds.items() if held.state is HoldState.OPEN]
        anything = [*self.model.holds, ("s0", "none")]
        return fitting[pick % len(fitting)] if fitting and pick < 80 else anything[pick % len(anything)]

    def lease(self, pick):
        """A lease that runs, its session and taker; now and then any, or somebody else."""
        leases = self.model.leases
        fitting = [name for name, lease in leases.items() if not lease.ended]
        anything = [*leases, "none"]
        found = fitting[pick % len(fitting)] if fitting and pick < 80 else anything[pick % len(anything)]
        if found not in leases:
            return found, "s0", "bob"
        return found, leases[found].session_id, leases[found].taker if pick % 16 != 15 else "eve"

    def key(self, pick):
        """A new key, or one that was used for something."""
        used = sorted({key for _, key in [*self.model.answers, *self.model.holds]})
        if used and pick >= 75:
            return used[pick % len(used)]
        self.keys += 1
        return f"k{self.keys}"

    # --- money

    @rule(pick=PICKS, amount=AMOUNTS, keyed=PICKS, keep=st.booleans(), way=WAYS)
    def fund(self, pick, amount, keyed, keep, way):
        session, owner = self.session(pick)
        self.do(fund(amount, self.key(keyed), session, owner=owner, keep_refusal=keep), way)

    @rule(owner=OWNERS, asset=ASSETS, amount=AMOUNTS, keyed=PICKS, way=WAYS)
    def deposit(self, owner, asset, amount, keyed, way):
        self.do(deposit(amount, self.key(keyed), owner=owner, asset=asset), way)

    @rule(owner=OWNERS, amount=AMOUNTS, keyed=PICKS, way=WAYS, keep=st.booleans())
    def withdraw(self, owner, amount, keyed, way, keep):
        self.do(withdraw(amount, self.key(keyed), owner=owner, keep_refusal=keep), way)

    @rule(
        pick=PICKS,
        amount=COSTS,
        part=st.integers(0, 4),
        keyed=PICKS,
        lasts=SPANS_MS,
        sent=st.booleans(),
        way=WAYS,
    )
    def hold(self, pick, amount, part, keyed, lasts, sent, way):
        session, owner = self.session(pick, SessionState.ACTIVE)
        minimum, expires_ms = amount * part // 4, self.clock() + lasts
        key = self.key(keyed)
        self.do(
            hold(amount, key, session, owner=owner, minimum=minimum, sent=sent, expires_ms=expires_ms), way
        )

    @rule(pick=PICKS, amount=AMOUNTS, cost=COSTS, way=WAYS)
    def hold_and_settle(self, pick, amount, cost, way):
        """One request in a batch, as most are."""
        session, owner = self.session(pick, SessionState.ACTIVE)
        key = self.key(0)
        self.do(hold(amount, key, session, owner=owner, minimum=1, expires_ms=self.clock() + 100), way)
        self.do(settle(cost, key, session), way)

    @rule(pick=PICKS, amount=AMOUNTS, again=AMOUNTS, way=WAYS)
    def hold_again(self, pick, amount, again, way):
        """A retry, of the same content as a rule."""
        session, key = self.reserved(pick)
        held = self.model.holds.get((session, key))
        content = held.content[0] if held and again < 50 else None
        owner = self.model.accounts[session].owner if session in self.model.accounts else "ann"
        self.do(hold(amount, key, session, owner=owner if again % 6 else "eve", content=content), way)

    @rule(pick=PICKS, amount=COSTS, number=st.integers(0, 1), behind=st.integers(0, 3), keyed=PICKS, way=WAYS)
    def hold_a_turn(self, pick, amount, number, behind, keyed, way):
        with_chats = [name for name, account in self.model.accounts.items() if account.chats]
        session, owner = self.session(pick, SessionState.ACTIVE)
        if with_chats and pick % 5:
            session = with_chats[pick % len(with_chats)]
            owner = self.model.accounts[session].owner
        account = self.model.accounts.get(session)
        chats = account.chats if account else []
        number = number % len(chats) if chats and pick % 7 else number
        turns = chats[number].turns if number < len(chats) else 0
        place = Place(number + 1, turns if behind else turns + 1, 2)
        expires_ms = self.clock() + 100
        key = self.key(keyed)
        self.do(
            hold(amount, key, session, owner=owner, minimum=0, sent=True, expires_ms=expires_ms, place=place),
            way,
        )

    @precondition(lambda self: self.model.leases)
    @rule(pick=PICKS, amount=COSTS, keyed=PICKS, way=WAYS)
    def hold_on_lease(self, pick, amount, keyed, way):
        lease, session, taker = self.lease(pick)
        minimum, expires_ms, key = amount // 2, self.clock() + 100, self.key(keyed)
        self.do(
            hold(amount, key, session, owner=taker, minimum=minimum, lease_id=lease, expires_ms=expires_ms),
            way,
        )

    @precondition(lambda self: self.model.holds)
    @rule(
        pick=PICKS,
        cost=COSTS,
        turn=st.sampled_from([None, TURN, TURN]),
        response=st.sampled_from([None, "said"]),
        unpaid=st.integers(0, 3),
        exposure=st.integers(0, 3),
        way=WAYS,
    )
    def settle(self, pick, cost, turn, response, unpaid, exposure, way):
        session, key = self.reserved(pick)
        held = self.model.holds.get((session, key))
        again = held is not None and held.state is not HoldState.OPEN and held.cost is not None
        cost = held.cost if again and cost < 40 else cost
        more = {"turn": turn, "response": response, "unpaid": unpaid, "exposure": exposure}
        self.do(settle(cost, key, session, **more), way)

    @precondition(lambda self: self.model.holds)
    @rule(pick=PICKS, loss=st.integers(0, 5), way=WAYS)
    def release(self, pick, loss, way):
        session, key = self.reserved(pick)
        self.do(release(key, session, loss=loss), way)

    @precondition(lambda self: self.model.holds)
    @rule(pick=PICKS, delivered=COSTS, lasts=SPANS_MS, way=WAYS)
    def progress(self, pick, delivered, lasts, way):
        session, key = self.reserved(pick)
        self.do(progress(delivered, key, session, until=self.clock() + lasts), way)

    @precondition(lambda self: self.model.holds)
    @rule(pick=PICKS, late=st.booleans(), way=WAYS)
    def reconcile(self, pick, late, way):
        session, key = self.reserved(pick)
        if late:
            self.wait(200)
        self.do(reconcile(key, session), way)

    # --- sessions

    @initialize(idle_ms=MAYBE_SPAN_MS, cap=st.none() | AMOUNTS)
    def open_two(self, idle_ms, cap):
        self.sessions = 2
        for work in (
            create("s0", 500),
            create("s1", 200, owner="bob", idle_ms=idle_ms),
            CreateChat("s0", "ann", "", "{}", limits=Limits(chats_max=2)),
            AddToPool("s1", "bob", cap, Limits(pool_max=2)),
            deposit(300, "deposited"),
        ):
            self.do(work, 0)

    @rule(
        owner=OWNERS,
        asset=ASSETS,
        amount=st.none() | AMOUNTS,
        source=st.sampled_from(["outside", "deposit", "another"]),
        pick=PICKS,
        minimum=st.sampled_from([0, 0, 20]),
        expires=MAYBE_SPAN_MS,
        idle_ms=MAYBE_SPAN_MS,
        limits=st.builds(Limits, st.sampled_from([None, 2, 3]), st.sampled_from([None, 2])),
        keyed=PICKS,
        keep_refusal=st.booleans(),
        way=WAYS,
    )
    def open(self, owner, asset, amount, source, pick, expires, keyed, way, **fields):
        expires_ms = None if expires is None else self.clock() + expires
        if source == "another":
            fields["replaces"], owner = self.session(pick)
        session_id = f"s{self.sessions}"
        work = create(
            session_id,
            amount,
            owner=owner,
            asset=asset,
            key=self.key(keyed),
            expires_ms=expires_ms,
            from_deposit=source == "deposit",
            **fields,
        )
        self.do(work, way)
        self.sessions += session_id in self.model.accounts

    @rule(
        pick=PICKS,
        state=st.sampled_from([SessionState.PAUSED, SessionState.ACTIVE, SessionState.ACTIVE]),
        active_max=st.sampled_from([None, None, 2]),
        way=WAYS,
    )
    def pause_or_resume(self, pick, state, active_max, way):
        session, owner = self.session(pick, SessionState.ACTIVE if state else SessionState.PAUSED)
        self.do(SetState(session, owner, state, Limits(active_max=active_max)), way)

    @precondition(lambda self: self.live() > 1)
    @rule(pick=PICKS, keyed=PICKS, way=WAYS)
    def close(self, pick, keyed, way):
        session, owner = self.session(pick)
        self.do(close(session, owner=owner, key=self.key(keyed) if keyed % 3 else ""), way)

    @rule(pick=PICKS, idle_ms=st.none() | st.sampled_from([100, 10_000]), way=WAYS)
    def close_if_due(self, pick, idle_ms, way):
        session, _ = self.session(pick)
        self.do(close_if_due(session, idle_ms), way)

    @rule(pick=PICKS, message_max=st.sampled_from([None, 4]), way=WAYS)
    def chat(self, pick, message_max, way):
        session, owner = self.session(pick)
        self.do(
            CreateChat(session, owner, "", "{}", message_max=message_max, limits=Limits(chats_max=2)), way
        )

    # --- the pool

    @rule(pick=PICKS, cap=st.none() | AMOUNTS, way=WAYS)
    def share(self, pick, cap, way):
        self.wait(1)  # so that time alone tells who waited longest
        session, owner = self.session(pick)
        self.do(AddToPool(session, owner, cap, Limits(pool_max=2)), way)

    @rule(pick=PICKS, way=WAYS)
    def stop_sharing(self, pick, way):
        session, owner = self.session(pick)
        self.do(RemoveFromPool(session, owner), way)

    @rule(taker=OWNERS, lasts=SPANS_MS, way=WAYS)
    def take(self, taker, lasts, way):
        self.wait(1)
        lease_id = f"l{self.leases}"
        self.do(TakeFromPool("", taker, lease_id, lasts), way)
        self.leases += lease_id in self.model.leases

    @precondition(lambda self: self.model.leases)
    @rule(pick=PICKS, by_taker=st.booleans(), way=WAYS)
    def give_back(self, pick, by_taker, way):
        self.wait(1)
        lease, session, taker = self.lease(pick)
        self.do(EndLease(session, lease, taker if by_taker else None), way)

    # --- time, and what must hold

    @rule(ms=st.sampled_from([1, 50, 100]))
    def wait(self, ms):
        self.answer()
        self.clock.advance(ms)

    @invariant()
    def the_books_are_sound(self):
        if self.waiting:
            return
        reads = self.stores[(self.manager + 1) % MANAGERS].reads
        report = audit(reads)
        assert report.is_clean, str(report)
        accounts = {account.session_id: account for account in reads.accounts("", 100)}
        assert set(accounts) == set(self.model.accounts)
        for session_id, expected in self.model.accounts.items():
            got = accounts[session_id]
            assert balances(got) == balances(expected), session_id
            assert (got.state, got.last_used_ms) == (expected.state, expected.used), session_id
            assert reads.losses(session_id) == expected.loss
            verify_statement(build_statement(reads, session_id))


def balances(account):
    return account.funded, account.available, account.held, account.spent, account.refunded


def predicted(model, work):
    try:
        return model.apply(work)
    except PrepaidError as refusal:
        return refusal


def shown(outcome):
    return (type(outcome), vars(outcome)) if isinstance(outcome, PrepaidError) else outcome


COMMON = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
}


class TestLedgers(Ledgers.TestCase):
    settings = settings(max_examples=50, stateful_step_count=50, **COMMON)


@pytest.fixture(scope="class")
def databases(request, postgres):
    """Hypothesis makes its machines without fixtures, so their class keeps what they need."""
    request.cls.machine.databases = postgres


class PostgresLedgers(Ledgers):
    """On PostgreSQL. One lane keeps the order of steps that do not wait for each other."""

    databases = None

    def new_where(self):
        return self.databases.new()

    def remove(self):
        self.databases.give_back(self.where)

    def opened(self):
        return open_store(self.where, clock=self.clock, lanes=1)


class LanedLedgers(PostgresLedgers):
    """With several lanes a step waits for the one before, which another lane may have."""

    def opened(self):
        return open_store(self.where, clock=self.clock)

    def do(self, work, way):
        super().do(work, way % 10)


@pytest.mark.usefixtures("databases")
class TestPostgresLedgers(PostgresLedgers.TestCase):
    machine = PostgresLedgers
    settings = settings(max_examples=8, stateful_step_count=40, **COMMON)


@pytest.mark.usefixtures("databases")
class TestLanedLedgers(LanedLedgers.TestCase):
    machine = LanedLedgers
    settings = settings(max_examples=4, stateful_step_count=40, **COMMON)
