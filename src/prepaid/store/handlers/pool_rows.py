"""The pool: shared sessions, and leases that bound and account what takers spend (spec B7, B8)."""

from __future__ import annotations

from prepaid.errors import AlreadyPooled, LeaseNotFound, PoolEmpty, PoolFull, PrepaidError, TransitionRefused
from prepaid.records import SessionState
from prepaid.store.handlers.account_rows import why_not_live
from prepaid.store.operations import AddToPool, EndLease, Lease, RemoveFromPool, SaveSettings, TakeFromPool
from prepaid.store.unit import Unit, handles
from prepaid.store.versions import settings_version, why_not_version

__all__ = ["leave", "lender"]


_LENDER = """
  SELECT account.owner FROM lease JOIN account USING (session_id)
  WHERE session_id = ? AND lease_id = ? AND taker = ? AND ended_ms IS NULL AND lease.expires_ms > ?"""


def lender(unit: Unit, session_id: str, taker: str, lease_id: str | None) -> str | LeaseNotFound:
    """Who owns the session that ``taker`` has on lease; without a lease, ``taker`` acts as the owner."""
    if lease_id is None:
        return taker
    row = unit.one(_LENDER, (session_id, lease_id, taker, unit.now_ms))
    return str(row[0]) if row else LeaseNotFound(lease_id)


@handles(AddToPool)
def add_to_pool(unit: Unit, work: AddToPool) -> PrepaidError | None:
    """Share an active session, if there is room."""
    reason = why_not_live(unit, work.session_id, work.owner)
    if reason is not None:
        return reason
    (state,) = unit.one("SELECT state FROM account WHERE session_id = ?", (work.session_id,))
    if state != SessionState.ACTIVE:
        return TransitionRefused(work.session_id, SessionState(state).label, "join the pool")
    if unit.one("SELECT 1 FROM pool WHERE session_id = ?", (work.session_id,)):
        return AlreadyPooled(work.session_id)
    size = pool_size(unit)
    if work.limits.pool_max is not None and size >= work.limits.pool_max:
        return PoolFull(size)
    unit.run("INSERT INTO pool VALUES (?, ?, NULL, ?)", (work.session_id, work.cap, unit.now_ms))
    return None


@handles(RemoveFromPool)
def remove_from_pool(unit: Unit, work: RemoveFromPool) -> PrepaidError | None:
    """Stop sharing; nobody can take it any more."""
    reason = why_not_live(unit, work.session_id, work.owner)
    if reason is not None:
        return reason
    if unit.one("SELECT 1 FROM pool WHERE session_id = ?", (work.session_id,)) is None:
        return TransitionRefused(work.session_id, "not pooled", "leave the pool")
    unit.run("DELETE FROM pool WHERE session_id = ?", (work.session_id,))
    return None


@handles(TakeFromPool)
def take_from_pool(unit: Unit, work: TakeFromPool) -> Lease | PrepaidError:
    """Lease the session that has waited longest."""
    _end_overdue(unit)
    row = _first_free(unit)
    if row is None:
        return PoolEmpty(pool_size(unit))
    session_id, cap, owner = row
    expires_ms = unit.now_ms + work.lasts_ms
    unit.run(
        "INSERT INTO lease (session_id, lease_id, taker, cap, taken_ms, expires_ms)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (session_id, work.lease_id, work.taker, cap, unit.now_ms, expires_ms),
    )
    unit.run("UPDATE pool SET lease_id = ? WHERE session_id = ?", (work.lease_id, session_id))
    unit.run("UPDATE account SET last_used_ms = ? WHERE session_id = ?", (unit.now_ms, session_id))
    return Lease(session_id, work.lease_id, owner, work.taker, cap, expires_ms)


def _first_free(unit: Unit) -> tuple[str, int | None, str] | None:
    """The session that has waited longest, locked: until it was, others may have closed it."""
    while True:
        row: tuple[str, int | None, str] | None = unit.one(unit.sql.free_in_pool, (unit.now_ms,))
        if row is None:
            return None
        unit.lock(row[0])
        if unit.one(unit.sql.free_in_pool, (unit.now_ms,)) == row:
            return row


@handles(EndLease)
def end_lease(unit: Unit, work: EndLease) -> PrepaidError | None:
    """Give a session back; the next taker may have it."""
    row = unit.one(
        "SELECT 1 FROM lease WHERE session_id = ?1 AND lease_id = ?2 AND ended_ms IS NULL"
        " AND (taker = ?3 OR (CAST(?3 AS text) IS NULL AND expires_ms <= ?4))",
        (work.session_id, work.lease_id, work.taker, unit.now_ms),
    )
    if row is None:
        return LeaseNotFound(work.lease_id)
    _end(unit, work.session_id, work.lease_id)
    return None


def _end_overdue(unit: Unit) -> None:
    overdue = unit.rows(
        "SELECT session_id, lease_id FROM lease WHERE ended_ms IS NULL AND expires_ms <= ? LIMIT 64",
        (unit.now_ms,),
    )
    for session_id, lease_id in overdue:
        _end(unit, session_id, lease_id)


def _end(unit: Unit, session_id: str, lease_id: str) -> None:
    (free_since_ms,) = unit.one(
        "UPDATE lease SET ended_ms = ?1 WHERE session_id = ?2 AND lease_id = ?3"
        " RETURNING CASE WHEN expires_ms < ?1 THEN expires_ms ELSE ?1 END",
        (unit.now_ms, session_id, lease_id),
    )
    unit.run(
        "UPDATE pool SET lease_id = NULL, pooled_ms = ? WHERE session_id = ? AND lease_id = ?",
        (free_since_ms, session_id, lease_id),
    )


def leave(unit: Unit, session_id: str) -> None:
    """A closed session is in no pool, and nobody's lease on it runs."""
    unit.run("DELETE FROM pool WHERE session_id = ?", (session_id,))
    unit.run(
        "UPDATE lease SET ended_ms = ? WHERE session_id = ? AND ended_ms IS NULL", (unit.now_ms, session_id)
    )


def pool_size(unit: Unit) -> int:
    """How many sessions are pooled, leased ones included."""
    return int(unit.one("SELECT count(*) FROM pool")[0])


@handles(SaveSettings)
def save_settings(unit: Unit, work: SaveSettings) -> PrepaidError | None:
    """Keep configuration for every process."""
    kept = dict(unit.rows("SELECT name, value FROM setting"))
    conflict = why_not_version("The configuration", work.version, settings_version(kept))
    if conflict is not None:
        return conflict
    for name, value in work.values:
        unit.run(
            "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, value),
        )
    return None
