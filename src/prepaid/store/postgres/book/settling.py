"""What becomes of holds in a batch: what ``store.handlers.money`` does, on rows in memory."""

from __future__ import annotations

from prepaid.errors import HoldNotFound, HoldResolved, PrepaidError
from prepaid.records import HoldState, SessionState
from prepaid.store.handlers.money import COST_UNKNOWN
from prepaid.store.messages import pack
from prepaid.store.operations import INTERRUPTED, Reconcile, Release, Settle, Settled
from prepaid.store.postgres.book.rows import AccountRow, Book, HoldRow, OperationRow

__all__ = ["reconcile", "release", "settle"]


def settle(book: Book, work: Settle) -> Settled | PrepaidError:
    """Capture what it cost, release the rest, and save the turn."""
    row = book.holds.get((work.session_id, work.key))
    if row is None:
        return HoldNotFound(work.key)
    account = book.accounts[work.session_id]
    if row.state != HoldState.OPEN:
        if row.state == HoldState.CAPTURED and row.cost == work.cost:
            return _settled(account, row, work)
        return HoldResolved(work.key, HoldState(row.state).name.lower(), row.captured)
    row.state, row.captured, row.cost = HoldState.CAPTURED, min(row.amount, work.cost), work.cost
    if row.captured:
        _capture(book, account, row, work)
    else:  # a line of nothing says nothing
        account.request_count += 1
        _give_back(book, account, row.amount)
    for kind, loss in (("shortfall", work.cost - row.captured + work.unpaid), ("exposure", work.exposure)):
        if loss:
            _append(book, account, kind, loss, work.key, model=work.model)
    _settle_counts(book, row)
    if row.chat_no:
        _close_turn(book, row, work)
    if work.response is not None:
        kept = OperationRow(work.session_id, work.key, "hold", row.fingerprint, "done", work.response)
        book.operations[work.session_id, work.key] = kept
        book.change(kept)
    book.change(row, account)
    return _settled(account, row, work)


def _settled(account: AccountRow, row: HoldRow, work: Settle) -> Settled:
    shortfall = work.cost - row.captured + work.unpaid
    left = row.amount - row.captured
    return Settled(work.key, row.captured, left, shortfall, account.available, work.exposure)


def release(book: Book, work: Release) -> Settled | PrepaidError:
    """Give a hold back whole."""
    row = book.holds.get((work.session_id, work.key))
    if row is None:
        return HoldNotFound(work.key)
    account = book.accounts[work.session_id]
    if row.state == HoldState.CAPTURED:
        return HoldResolved(work.key, "captured", row.captured)
    if row.state == HoldState.OPEN:
        row.state = HoldState.RELEASED
        if row.chat_no:
            chat = book.chats[row.session_id, row.chat_no]
            chat.open_turn = None
            book.change(chat)
        _settle_counts(book, row)
        if work.loss:
            _append(book, account, "exposure", work.loss, work.key, model=work.model)
        _give_back(book, account, row.amount)
        book.change(row, account)
    return Settled(work.key, 0, row.amount, 0, account.available, work.loss)


def reconcile(book: Book, work: Reconcile) -> Settled | None:
    """Settle a hold whose request nobody watches any more; ``None`` if it was not overdue."""
    row = book.holds.get((work.session_id, work.key))
    if row is None or row.state != HoldState.OPEN or row.expires_ms > book.now_ms:
        return None
    delivered = min(row.amount, row.delivered)
    exposure = row.amount - delivered if row.sent else 0
    if not delivered:
        outcome = release(book, Release(work.session_id, work.key, exposure, model=INTERRUPTED))
    else:
        outcome = settle(
            book, Settle(work.session_id, work.key, delivered, model=INTERRUPTED, exposure=exposure)
        )
        # Its caller, should it still come, must not take this for its own: the turn was not saved.
        row.cost = COST_UNKNOWN
    assert isinstance(outcome, Settled)
    return outcome


def _capture(book: Book, account: AccountRow, row: HoldRow, work: Settle) -> None:
    """Move the balance and write the line."""
    account.available += row.amount - row.captured
    account.held -= row.amount
    account.spent += row.captured
    account.request_count += 1
    account.last_used_ms = book.now_ms
    book.append_line(
        account,
        (
            "capture",
            "session",
            "revenue",
            row.captured,
            work.key,
            book.now_ms,
            row.actor,
            row.chat_no,
            work.model,
            work.input_units,
            work.output_units,
        ),
    )
    _pay_out(book, account, work.key)


def _give_back(book: Book, account: AccountRow, amount: int) -> None:
    """Release money to its session, or through it to its owner where the session is closed."""
    account.available += amount
    account.held -= amount
    account.last_used_ms = max(account.last_used_ms, book.now_ms)
    _pay_out(book, account, "release")


def _pay_out(book: Book, account: AccountRow, key: str) -> None:
    """A closed session's free money goes back to its owner."""
    if account.state < SessionState.CLOSED or not account.available:
        return
    amount, owner = account.available, account.owner
    account.available = 0
    account.refunded += amount
    line = ("refund", "session", "owner", amount, key, book.now_ms, owner, 0, "", 0, 0)
    book.append_line(account, line)


def _append(book: Book, account: AccountRow, kind: str, amount: int, key: str, model: str = "") -> None:
    """A line of what we lose to a provider."""
    book.append_line(account, (kind, "loss", "provider", amount, key, book.now_ms, "", 0, model, 0, 0))


def _settle_counts(book: Book, row: HoldRow) -> None:
    """What was held under a lease or a key with a cap is spent, and the rest is room again."""
    if row.lease_id is not None:
        lease = book.leases[row.session_id, row.lease_id]
        lease.reserved -= row.amount
        lease.spent += row.captured
        book.change(lease)
    if row.key_no is not None:
        key = book.keys[row.session_id, row.key_no]
        key.reserved -= row.amount
        key.spent += row.captured
        book.change(key)


def _close_turn(book: Book, row: HoldRow, work: Settle) -> None:
    """Save a turn's messages at its place; without a turn the model call was a step of a longer one."""
    chat = book.chats[row.session_id, row.chat_no]
    chat.open_turn = None
    chat.spent += row.captured
    book.change(chat)
    if work.turn is None:
        return
    chat.turn_count += 1
    chat.answering_ms += work.turn.answering_ms
    chat.last_ms = book.now_ms
    for message in work.turn.messages:
        chat.message_count += 1
        place = (row.session_id, row.chat_no, chat.message_count, chat.turn_count)
        kind, body = pack(message)
        book.new_messages.append((*place, kind, book.now_ms, body))
