"""Holds and heartbeats in a batch: what ``store.handlers.holds`` does, on rows in memory."""

from __future__ import annotations

from prepaid.errors import (
    AuthenticationError,
    ChatNotFound,
    IdempotencyConflict,
    InsufficientFunds,
    KeyCapReached,
    LeaseCapReached,
    LeaseNotFound,
    MessageLimitReached,
    PrepaidError,
    SessionAlreadyClosed,
    SessionExpired,
    SessionNotFound,
    SessionPaused,
)
from prepaid.records import HoldState, SessionState
from prepaid.store.handlers.chat_rows import chat_id
from prepaid.store.handlers.holds import fingerprint_of
from prepaid.store.operations import Held, Hold, PlaceTaken, Progress
from prepaid.store.postgres.book.rows import AccountRow, Book, HoldRow, KeyRow, LeaseRow, OperationRow
from prepaid.store.refusals import kept_form, refusal_of
from prepaid.store.spaces import key_sent

__all__ = ["hold", "progress"]


def hold(book: Book, wanted: Hold) -> Held | PlaceTaken | PrepaidError:
    """Reserve money for one request, at most once per key."""
    if wanted.keep_refusal:  # otherwise the key is fresh, and has no past
        before = _held_before(book, wanted)
        if before is not None:
            return before
    granted = _obstacle(book, wanted) or _reserve(book, wanted)
    if isinstance(granted, PrepaidError) and wanted.keep_refusal:
        _remember_refusal(book, wanted, granted)
    if not isinstance(granted, int):
        return granted
    place = (wanted.session_id, wanted.key)
    chat_no = wanted.place.chat_no if wanted.place else 0
    row = book.holds[place] = HoldRow(
        *place,
        fingerprint=fingerprint_of(wanted),
        amount=granted,
        state=HoldState.OPEN,
        captured=0,
        cost=0,
        delivered=0,
        sent=wanted.sent,
        expires_ms=wanted.expires_ms,
        actor=wanted.owner,
        chat_no=chat_no,
        lease_id=wanted.lease_id,
        key_no=wanted.key_no,
        is_new=True,
    )
    book.change(row)
    if chat_no:
        chat = book.chats[wanted.session_id, chat_no]
        chat.open_turn, chat.open_expires_ms = wanted.key, wanted.expires_ms
        book.change(chat)
    return Held(wanted.key, granted)


def progress(book: Book, work: Progress) -> bool:
    """Keep a running request's hold alive; ``False`` if it is resolved already."""
    row = book.holds.get((work.session_id, work.key))
    if row is None or row.state != HoldState.OPEN:
        return False
    row.delivered = max(row.delivered, work.delivered)
    row.expires_ms = max(row.expires_ms, work.expires_ms)
    book.change(row)
    return True


def _held_before(book: Book, wanted: Hold) -> Held | PrepaidError | None:
    """What this key got earlier: the same hold, the same refusal, or a conflict."""
    kept = book.operations.get((wanted.session_id, wanted.key))
    row = book.holds.get((wanted.session_id, wanted.key))
    if kept is None and row is None:
        return None
    stranger = _why_not_theirs(book, wanted)
    if stranger is not None:
        return stranger
    fingerprint = fingerprint_of(wanted)
    if kept is not None:
        if (kept.kind, kept.fingerprint) != ("hold", fingerprint):
            return IdempotencyConflict(key_sent(wanted.key))
        if kept.status == "refused":
            return refusal_of(kept.response)
    assert row is not None, "a key that was answered has its hold"
    if row.fingerprint != fingerprint:
        return IdempotencyConflict(key_sent(wanted.key))
    response = None if kept is None else kept.response
    return Held(wanted.key, row.amount, replayed=True, state=HoldState(row.state), response=response)


def _remember_refusal(book: Book, wanted: Hold, error: PrepaidError) -> None:
    response = kept_form(error)
    if response is None:
        return
    place = (wanted.session_id, wanted.key)
    row = OperationRow(*place, "hold", fingerprint_of(wanted), "refused", response)
    book.operations[place] = row
    book.change(row)


def _why_not_theirs(book: Book, wanted: Hold) -> PrepaidError | None:
    """To whom the session is not, nor ever was on lease, its keys do not exist either (spec A5)."""
    if wanted.lease_id is not None:
        lease = book.leases.get((wanted.session_id, wanted.lease_id))
        return None if lease and lease.taker == wanted.owner else LeaseNotFound(wanted.lease_id)
    account = book.accounts.get(wanted.session_id)
    return None if account and account.owner == wanted.owner else SessionNotFound(wanted.session_id)


def _obstacle(book: Book, wanted: Hold) -> PlaceTaken | PrepaidError | None:
    """What keeps the turn from its place; who may not spend here learns nothing of the chat."""
    if wanted.place is None:
        return None
    obstacle = _why_not_place(book, wanted.session_id, wanted)
    if obstacle is None:
        return None
    owner = wanted.owner
    if wanted.lease_id is not None:
        lease = _running_lease(book, wanted)
        if lease is None:
            return LeaseNotFound(wanted.lease_id)
        owner = book.accounts[wanted.session_id].owner
    return _why_not_active(book, wanted.session_id, owner) or obstacle


def _why_not_place(book: Book, session_id: str, wanted: Hold) -> PlaceTaken | PrepaidError | None:
    place = wanted.place
    assert place is not None
    chat = book.chats.get((session_id, place.chat_no))
    if chat is None:
        return ChatNotFound(chat_id(session_id, place.chat_no))
    if chat.open_turn is not None:
        open_hold = book.holds.get((session_id, chat.open_turn))
        return PlaceTaken(chat.open_turn, open_hold.expires_ms if open_hold else chat.open_expires_ms)
    if chat.turn_count != place.turns:
        return PlaceTaken(None, None)
    if chat.message_max is not None and chat.message_count + place.messages > chat.message_max:
        return MessageLimitReached("max_messages", chat.message_max)
    return None


def _running_lease(book: Book, wanted: Hold) -> LeaseRow | None:
    """The taker's lease, as long as it runs."""
    lease = book.leases.get((wanted.session_id, wanted.lease_id or ""))
    if lease is None or wanted.session_id not in book.accounts or lease.taker != wanted.owner:
        return None
    return lease if lease.ended_ms is None and lease.expires_ms > book.now_ms else None


def _reserve(book: Book, wanted: Hold) -> int | PrepaidError:
    owner, amount = wanted.owner, wanted.amount
    lease: LeaseRow | None = None
    key: KeyRow | None = None
    if wanted.lease_id is not None:
        lease = _running_lease(book, wanted)
        if lease is None:
            return LeaseNotFound(wanted.lease_id)
        owner = book.accounts[wanted.session_id].owner
        if lease.cap is not None:
            left = lease.cap - lease.reserved - lease.spent
            if left < wanted.minimum:
                return LeaseCapReached("cap", lease.cap)
            amount = min(amount, left)
    if wanted.key_no is not None:
        key = book.keys.get((wanted.session_id, wanted.key_no))
        room = _left_under_cap(key, wanted)
        if isinstance(room, PrepaidError):
            return _why_not_active(book, wanted.session_id, owner) or room
        amount = min(amount, room)
    granted = _reserve_up_to(book, wanted, owner, amount)
    if isinstance(granted, PrepaidError):
        return granted
    for counted in (lease, key):
        if counted is not None:
            counted.reserved += granted
            book.change(counted)
    return granted


def _left_under_cap(key: KeyRow | None, wanted: Hold) -> int | PrepaidError:
    """What a capped key may still hold, at least what is wanted at least."""
    if key is None or key.cap is None or key.revoked_ms is not None:
        return AuthenticationError("This API key is not valid (any more).")
    left = key.cap - key.reserved - key.spent
    if left < wanted.minimum:
        return KeyCapReached(f"pp_{key.holder}.{key.number}", key.cap, wanted.minimum, left, key.reserved)
    return left


def _reserve_up_to(book: Book, wanted: Hold, owner: str, amount: int) -> int | PrepaidError:
    reason = _why_not_active(book, wanted.session_id, owner)
    if reason is not None:
        return reason
    account = book.accounts[wanted.session_id]
    granted = min(amount, account.available)
    if granted < min(amount, wanted.minimum):
        return InsufficientFunds(wanted.minimum, account.available, account.held)
    account.available -= granted
    account.held += granted
    account.last_used_ms = book.now_ms
    book.change(account)
    return granted


def _why_not_active(book: Book, session_id: str, owner: str) -> PrepaidError | None:
    """Why this owner cannot spend the session, whatever there is on it."""
    account: AccountRow | None = book.accounts.get(session_id)
    if account is None or account.owner != owner or account.state == SessionState.DEPOSIT:
        return SessionNotFound(session_id)
    if account.state == SessionState.CLOSED:
        return SessionAlreadyClosed(session_id, account.refunded)
    overdue = account.expires_ms is not None and account.expires_ms <= book.now_ms
    if account.state == SessionState.EXPIRED or overdue:
        return SessionExpired(session_id)
    return SessionPaused(session_id) if account.state == SessionState.PAUSED else None
