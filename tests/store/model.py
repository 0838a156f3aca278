"""What the ledger should do, in plain Python: no database, no batches, no processes. Slow to trust, easy to read.

``apply`` gives an operation's result or raises its refusal, and keeps the books as dictionaries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import singledispatchmethod
from typing import Any

from prepaid.errors import (
    AlreadyPooled,
    BalanceTooLow,
    ChatLimitReached,
    ChatNotFound,
    CurrencyMismatch,
    HoldNotFound,
    HoldResolved,
    IdempotencyConflict,
    InsufficientFunds,
    LeaseCapReached,
    LeaseNotFound,
    MessageLimitReached,
    NotFoundError,
    PoolEmpty,
    PoolFull,
    PrepaidError,
    SessionAlreadyClosed,
    SessionExpired,
    SessionLimitReached,
    SessionNotFound,
    SessionPaused,
    TransitionRefused,
)
from prepaid.records import HoldState, SessionState
from prepaid.store.operations import (
    AddToPool,
    Close,
    Closed,
    CloseIfDue,
    CreateChat,
    Created,
    CreateSession,
    Deposit,
    EndLease,
    Fund,
    Funded,
    Held,
    Hold,
    Lease,
    Operation,
    PlaceTaken,
    Progress,
    Reconcile,
    Release,
    RemoveFromPool,
    SetState,
    Settle,
    Settled,
    TakeFromPool,
    Withdraw,
)

ACTIVE, PAUSED, CLOSED, EXPIRED, DEPOSIT = SessionState
OPEN, CAPTURED, RELEASED = HoldState


@dataclass
class Chat:
    max: int | None
    turns: int = 0
    messages: int = 0
    open: str | None = None


@dataclass
class Account:
    owner: str
    asset: str
    state: SessionState
    used: int
    expires: int | None = None
    idle: int | None = None
    available: int = 0
    held: int = 0
    spent: int = 0
    refunded: int = 0
    funded: int = 0
    loss: int = 0
    chats: list[Chat] = field(default_factory=list)


@dataclass
class Reserved:
    amount: int
    content: Any
    expires: int
    sent: bool
    lease: str | None
    chat_no: int
    state: HoldState = OPEN
    captured: int = 0
    cost: int | None = 0
    delivered: int = 0


@dataclass
class Lent:
    session_id: str
    taker: str
    cap: int | None
    expires: int
    reserved: int = 0
    spent: int = 0
    ended: bool = False


def is_kept(refusal: PrepaidError) -> bool:
    """Whether a key of the caller's remembers it: not what does not exist, nor what waiting may change."""
    if isinstance(refusal, InsufficientFunds):
        return refusal.available + refusal.held < refusal.needed
    return not isinstance(refusal, NotFoundError)


class Model:
    """The books."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.clock = clock
        self.accounts: dict[str, Account] = {}
        self.holds: dict[tuple[str, str], Reserved] = {}
        self.answers: dict[tuple[str, str], tuple[str, Any, object]] = {}
        self.pool: dict[str, tuple[int, int | None, str | None]] = {}  # since, cap, lease
        self.leases: dict[str, Lent] = {}

    @singledispatchmethod
    def apply(self, work: Operation) -> object:
        raise NotImplementedError(work)

    # --- who may, and what was answered before

    def live(self, session_id: str, owner: str) -> Account:
        account = self.accounts.get(session_id)
        if account is None or account.owner != owner or account.state is DEPOSIT:
            raise SessionNotFound(session_id)
        if account.state is CLOSED:
            raise SessionAlreadyClosed(session_id, account.refunded)
        if account.state is EXPIRED or (account.expires is not None and account.expires <= self.clock()):
            raise SessionExpired(session_id)
        return account

    def active(self, session_id: str, owner: str) -> Account:
        account = self.live(session_id, owner)
        if account.state is PAUSED:
            raise SessionPaused(session_id)
        return account

    def once(
        self, scope: str, work: Any, kind: str, act: Callable[[], object], *, keeps: bool = True
    ) -> object:
        """Guarantee 5. ``keeps`` says whether refusals are kept."""
        place, content = (scope, work.key), (kind, getattr(work, "fingerprint", b""))
        if place in self.answers:
            *before, answer = self.answers[place]
            if tuple(before) != content:
                raise IdempotencyConflict(work.key)
            if isinstance(answer, PrepaidError):
                raise answer
            return answer
        if place in self.holds:
            raise IdempotencyConflict(work.key)
        try:
            answer = act()
        except PrepaidError as refusal:
            if keeps and is_kept(refusal):
                self.answers[place] = (*content, refusal)
            raise
        self.answers[place] = (*content, answer)
        return answer

    # --- holds

    @apply.register
    def _(self, work: Hold) -> object:
        place = (work.session_id, work.key)
        content = (work.fingerprint, work.lease_id and work.owner)
        if work.keep_refusal and (place in self.answers or place in self.holds):
            return self.held_before(work, content)
        try:
            granted = self.obstacle(work) or self.reserve(work)
        except PrepaidError as refusal:
            if work.keep_refusal and is_kept(refusal):
                self.answers[place] = ("hold", content, refusal)
            raise
        if isinstance(granted, PlaceTaken):
            return granted
        chat_no = work.place.chat_no if work.place else 0
        self.holds[place] = Reserved(granted, content, work.expires_ms, work.sent, work.lease_id, chat_no)
        if chat_no:
            self.accounts[work.session_id].chats[chat_no - 1].open = work.key
        return Held(work.key, granted)

    def held_before(self, work: Hold, content: Any) -> Held:
        place = (work.session_id, work.key)
        if work.lease_id is not None:
            lease = self.leases.get(work.lease_id)
            if lease is None or (lease.session_id, lease.taker) != (work.session_id, work.owner):
                raise LeaseNotFound(work.lease_id)
        elif work.session_id not in self.accounts or self.accounts[work.session_id].owner != work.owner:
            raise SessionNotFound(work.session_id)
        response = None
        if place in self.answers:
            kind, said, answer = self.answers[place]
            if (kind, said) != ("hold", content):
                raise IdempotencyConflict(work.key)
            if isinstance(answer, PrepaidError):
                raise answer
            response = answer
        hold = self.holds[place]
        if hold.content != content:
            raise IdempotencyConflict(work.key)
        return Held(work.key, hold.amount, True, hold.state, response)

    def running(self, work: Hold) -> Lent:
        lease = self.leases.get(work.lease_id or "")
        theirs = lease is not None and (lease.session_id, lease.taker) == (work.session_id, work.owner)
        if lease is None or not theirs or lease.ended or lease.expires <= self.clock():
            raise LeaseNotFound(work.lease_id or "")
        return lease

    def payer(self, work: Hold) -> str:
        if work.lease_id is None:
            return work.owner
        return self.accounts[self.running(work).session_id].owner

    def obstacle(self, work: Hold) -> PlaceTaken | None:
        if work.place is None:
            return None
        account, place = self.accounts.get(work.session_id), work.place
        chat = account.chats[place.chat_no - 1] if account and place.chat_no <= len(account.chats) else None
        is_free = chat is not None and chat.open is None and chat.turns == place.turns
        if is_free and (chat.max is None or chat.messages + place.messages <= chat.max):
            return None
        self.active(work.session_id, self.payer(work))
        if chat is None:
            raise ChatNotFound(f"{work.session_id}.{place.chat_no}")
        if chat.open is not None:
            return PlaceTaken(chat.open, self.holds[work.session_id, chat.open].expires)
        if chat.turns != place.turns:
            return PlaceTaken(None, None)
        raise MessageLimitReached("max_messages", chat.max or 0)

    def reserve(self, work: Hold) -> int:
        amount, lease = work.amount, None
        if work.lease_id is not None:
            lease = self.running(work)
            if lease.cap is not None:
                left = lease.cap - lease.reserved - lease.spent
                if left < work.minimum:
                    raise LeaseCapReached("cap", lease.cap)
                amount = min(amount, left)
        account = self.active(work.session_id, self.payer(work))
        granted = min(amount, account.available)
        if granted < min(amount, work.minimum):
            raise InsufficientFunds(work.minimum, account.available, account.held)
        account.available -= granted
        account.held += granted
        account.used = self.clock()
        if lease is not None:
            lease.reserved += granted
        return granted

    def resolve(self, session_id: str, key: str, state: HoldState, cost: int) -> Reserved:
        hold = self.holds[session_id, key]
        account = self.accounts[session_id]
        hold.state, hold.cost, hold.captured = state, cost, min(hold.amount, cost)
        account.held -= hold.amount
        account.spent += hold.captured
        account.available += hold.amount - hold.captured
        account.used = self.clock()
        if account.state in {CLOSED, EXPIRED}:
            account.refunded += account.available
            account.available = 0
        if hold.lease is not None:
            self.leases[hold.lease].reserved -= hold.amount
            self.leases[hold.lease].spent += hold.captured
        if hold.chat_no:
            account.chats[hold.chat_no - 1].open = None
        return hold

    @apply.register
    def _(self, work: Settle) -> Settled:
        hold = self.holds.get((work.session_id, work.key))
        if hold is None:
            raise HoldNotFound(work.key)
        account = self.accounts[work.session_id]
        if hold.state is not OPEN:
            if (hold.state, hold.cost) != (CAPTURED, work.cost):
                raise HoldResolved(work.key, hold.state.name.lower(), hold.captured)
        else:
            self.resolve(work.session_id, work.key, CAPTURED, work.cost)
            account.loss += work.cost - hold.captured + work.unpaid + work.exposure
            if hold.chat_no and work.turn is not None:
                account.chats[hold.chat_no - 1].turns += 1
                account.chats[hold.chat_no - 1].messages += len(work.turn.messages)
            if work.response is not None:
                self.answers[work.session_id, work.key] = ("hold", hold.content, work.response)
        rest, short = hold.amount - hold.captured, work.cost - hold.captured + work.unpaid
        return Settled(work.key, hold.captured, rest, short, account.available, work.exposure)

    @apply.register
    def _(self, work: Release) -> Settled:
        hold = self.holds.get((work.session_id, work.key))
        if hold is None:
            raise HoldNotFound(work.key)
        if hold.state is CAPTURED:
            raise HoldResolved(work.key, "captured", hold.captured)
        account = self.accounts[work.session_id]
        if hold.state is OPEN:
            self.resolve(work.session_id, work.key, RELEASED, 0)
            account.loss += work.loss
        return Settled(work.key, 0, hold.amount, 0, account.available, work.loss)

    @apply.register
    def _(self, work: Progress) -> bool:
        hold = self.holds.get((work.session_id, work.key))
        if hold is None or hold.state is not OPEN:
            return False
        hold.delivered = max(hold.delivered, work.delivered)
        hold.expires = max(hold.expires, work.expires_ms)
        return True

    @apply.register
    def _(self, work: Reconcile) -> Settled | None:
        hold = self.holds.get((work.session_id, work.key))
        if hold is None or hold.state is not OPEN or hold.expires > self.clock():
            return None
        account, cost = self.accounts[work.session_id], min(hold.amount, hold.delivered)
        self.resolve(work.session_id, work.key, CAPTURED if cost else RELEASED, cost)
        loss = hold.amount - cost if hold.sent else 0
        account.loss += loss
        hold.cost = None if cost else 0  # nobody knows what it would have cost
        return Settled(work.key, cost, hold.amount - cost, 0, account.available, loss)

    # --- money from and to outside

    def add(self, session_id: str, amount: int) -> Funded:
        account = self.accounts[session_id]
        account.available += amount
        account.funded += amount
        account.used = self.clock()
        return Funded(account.available, account.funded)

    def take(self, deposit_id: str, amount: int) -> Account:
        account = self.accounts.get(deposit_id)
        if account is None or account.available < amount:
            raise InsufficientFunds(amount, account.available if account else 0)
        account.available -= amount
        account.refunded += amount
        return account

    @apply.register
    def _(self, work: Fund) -> object:
        account = self.accounts.get(work.session_id)
        if account is None or account.owner != work.owner or account.state is DEPOSIT:
            raise SessionNotFound(work.session_id)

        def act() -> Funded:
            self.live(work.session_id, work.owner)
            return self.add(work.session_id, work.amount)

        return self.once(work.session_id, work, "fund", act, keeps=work.keep_refusal)

    @apply.register
    def _(self, work: Deposit) -> object:
        def act() -> Funded:
            account = self.accounts.setdefault(
                work.session_id, Account(work.owner, work.asset, DEPOSIT, self.clock())
            )
            if account.asset != work.asset:
                raise CurrencyMismatch(
                    f"The deposit of {work.owner!r} is in {account.asset}, not in {work.asset}."
                )
            return self.add(work.session_id, work.amount)

        return self.once(work.session_id, work, "deposit", act, keeps=False)

    @apply.register
    def _(self, work: Withdraw) -> object:
        def act() -> Funded:
            account = self.take(work.session_id, work.amount)
            return Funded(account.available, account.funded)

        return self.once(work.session_id, work, "withdraw", act, keeps=work.keep_refusal)

    # --- sessions

    def count(self, states: set[SessionState], owner: str | None = None) -> int:
        return sum(
            account.state in states and owner in {None, account.owner} for account in self.accounts.values()
        )

    def check_limits(self, active_max: int | None, per_user_max: int | None, owner: str) -> None:
        if active_max is not None and self.count({ACTIVE}) >= active_max:
            raise SessionLimitReached("max_active_sessions", active_max)
        if per_user_max is not None and self.count({ACTIVE, PAUSED}, owner) >= per_user_max:
            raise SessionLimitReached("max_sessions_per_user", per_user_max)

    @apply.register
    def _(self, work: CreateSession) -> object:
        scope = f"deposit:{work.owner}"
        if not work.keep_refusal:
            return self.open(work, scope)
        return self.once(scope, work, "create", lambda: self.open(work, scope))

    def open(self, work: CreateSession, deposit_id: str) -> Created:
        amount, held = work.amount or 0, 0
        if work.replaces is not None:
            amount, held = self.replace(work, work.replaces)
        else:
            self.check_limits(work.limits.active_max, work.limits.per_user_max, work.owner)
            if work.from_deposit:
                amount = self.from_deposit(work, deposit_id)
            if amount < work.minimum:
                raise BalanceTooLow(amount, work.minimum)
            if work.from_deposit:
                self.take(deposit_id, amount)
        account = Account(work.owner, work.asset, ACTIVE, self.clock(), work.expires_ms, work.idle_ms)
        self.accounts[work.session_id] = account
        self.add(work.session_id, amount)
        return Created(work.session_id, amount, held)

    def from_deposit(self, work: CreateSession, deposit_id: str) -> int:
        deposit = self.accounts.get(deposit_id)
        there = deposit.available if deposit else 0
        if deposit is not None and deposit.asset != work.asset:
            raise CurrencyMismatch(
                f"The deposit of {work.owner!r} is in {deposit.asset}, not in {work.asset}."
            )
        amount = there if work.amount is None else work.amount
        if amount == 0:
            raise InsufficientFunds(max(work.minimum, 1), 0)
        if amount > there:
            raise InsufficientFunds(amount, there)
        return amount

    def replace(self, work: CreateSession, replaced: str) -> tuple[int, int]:
        account = self.live(replaced, work.owner)
        if account.asset != work.asset:
            raise CurrencyMismatch(f"Session {replaced} is in {account.asset}, not in {work.asset}.")
        free = account.available + sum(self.holds[replaced, key].amount for key in self.unsent(replaced))
        if free < work.minimum:
            raise BalanceTooLow(free, work.minimum)
        if account.state is PAUSED:
            self.check_limits(work.limits.active_max, None, work.owner)
        closed = self.end(replaced, CLOSED)
        return closed.refunded, closed.held

    def unsent(self, session_id: str) -> list[str]:
        return [
            key
            for (owner, key), hold in self.holds.items()
            if owner == session_id and hold.state is OPEN and not hold.sent
        ]

    def end(self, session_id: str, state: SessionState) -> Closed:
        account = self.accounts[session_id]
        for key in self.unsent(session_id):
            self.resolve(session_id, key, RELEASED, 0)
        account.state = state
        refund, account.available = account.available, 0
        account.refunded += refund
        self.pool.pop(session_id, None)
        for lease in self.leases.values():
            lease.ended |= lease.session_id == session_id
        return Closed(session_id, account.owner, refund, account.held, expired=state is EXPIRED)

    @apply.register
    def _(self, work: SetState) -> None:
        account = self.live(work.session_id, work.owner)
        if account.state is work.state:
            action = "pause" if work.state is PAUSED else "resume"
            raise TransitionRefused(work.session_id, account.state.label, action)
        if work.state is ACTIVE:
            self.check_limits(work.limits.active_max, None, work.owner)
        account.state, account.used = work.state, self.clock()

    @apply.register
    def _(self, work: Close) -> object:
        account = self.accounts.get(work.session_id)
        if account is None or account.owner != work.owner or account.state is DEPOSIT:
            raise SessionNotFound(work.session_id)

        def act() -> Closed:
            if (
                account.state in {ACTIVE, PAUSED}
                and account.expires is not None
                and account.expires <= self.clock()
            ):
                return self.end(work.session_id, EXPIRED)
            self.live(work.session_id, work.owner)
            return self.end(work.session_id, CLOSED)

        return self.once(work.session_id, work, "close", act, keeps=False) if work.key else act()

    @apply.register
    def _(self, work: CloseIfDue) -> Closed | None:
        account = self.accounts.get(work.session_id)
        if account is None or account.state not in {ACTIVE, PAUSED}:
            return None
        idle = account.idle if work.idle_ms is None else work.idle_ms
        used = self.clock() if account.held else account.used
        dues = [used + idle] if idle is not None else []
        dues += [account.expires] if account.expires is not None else []
        return self.end(work.session_id, EXPIRED) if dues and min(dues) <= self.clock() else None

    @apply.register
    def _(self, work: CreateChat) -> int:
        account = self.live(work.session_id, work.owner)
        if work.limits.chats_max is not None and len(account.chats) >= work.limits.chats_max:
            raise ChatLimitReached("max_chats_per_session", work.limits.chats_max)
        account.chats.append(Chat(work.message_max))
        return len(account.chats)

    # --- the pool

    @apply.register
    def _(self, work: AddToPool) -> None:
        account = self.live(work.session_id, work.owner)
        if account.state is not ACTIVE:
            raise TransitionRefused(work.session_id, account.state.label, "join the pool")
        if work.session_id in self.pool:
            raise AlreadyPooled(work.session_id)
        if work.limits.pool_max is not None and len(self.pool) >= work.limits.pool_max:
            raise PoolFull(len(self.pool))
        self.pool[work.session_id] = (self.clock(), work.cap, None)

    @apply.register
    def _(self, work: RemoveFromPool) -> None:
        self.live(work.session_id, work.owner)
        if self.pool.pop(work.session_id, None) is None:
            raise TransitionRefused(work.session_id, "not pooled", "leave the pool")

    @apply.register
    def _(self, work: TakeFromPool) -> Lease:
        for lease_id, lease in self.leases.items():
            if not lease.ended and lease.expires <= self.clock():
                self.give_back(lease_id)
        free = []
        for session_id, (since, cap, lent) in self.pool.items():
            account = self.accounts[session_id]
            expired = account.expires is not None and account.expires <= self.clock()
            if lent is None and account.state is ACTIVE and not expired:
                free.append((since, session_id, cap))
        if not free:
            raise PoolEmpty(len(self.pool))
        since, session_id, cap = min(free, key=lambda found: found[:2])
        expires = self.clock() + work.lasts_ms
        self.leases[work.lease_id] = Lent(session_id, work.taker, cap, expires)
        self.pool[session_id] = (since, cap, work.lease_id)
        self.accounts[session_id].used = self.clock()
        return Lease(session_id, work.lease_id, self.accounts[session_id].owner, work.taker, cap, expires)

    @apply.register
    def _(self, work: EndLease) -> None:
        lease = self.leases.get(work.lease_id)
        if lease is None or lease.ended or lease.session_id != work.session_id:
            raise LeaseNotFound(work.lease_id)
        if work.taker != lease.taker and (work.taker is not None or lease.expires > self.clock()):
            raise LeaseNotFound(work.lease_id)
        self.give_back(work.lease_id)

    def give_back(self, lease_id: str) -> None:
        lease = self.leases[lease_id]
        lease.ended = True
        since_cap_lent = self.pool.get(lease.session_id)
        if since_cap_lent is not None and since_cap_lent[2] == lease_id:
            self.pool[lease.session_id] = (min(lease.expires, self.clock()), since_cap_lent[1], None)
