"""Sessions that serve on: the one that is found instead of opened, and ages that change."""

from __future__ import annotations

import json
from dataclasses import asdict

from prepaid.errors import PrepaidError
from prepaid.store.handlers.lifecycle import create
from prepaid.store.handlers.replay import earlier, remember
from prepaid.store.operations import ChooseSession, Created, GetOrCreate, SetIdle
from prepaid.store.unit import Unit, apply, handles

_FUNDED = """
  SELECT session_id FROM account WHERE owner = ? AND state = 0 AND available > 0 AND asset = ?
    AND (expires_ms IS NULL OR expires_ms > ?) ORDER BY session_id DESC LIMIT 1"""

_CHOICE = "choose"
"""The kind of a key that was bound to a session."""

_USE = """
  UPDATE account SET last_used_ms = ?, request_count = request_count + 1 WHERE session_id = ?
  RETURNING session_id, available"""

_NEXT_LIVE = """
  SELECT session_id FROM (
    SELECT * FROM (
      SELECT session_id FROM account WHERE state = 0 AND session_id > ?1 ORDER BY 1 LIMIT ?2) AS subquery
    UNION ALL
    SELECT * FROM (
      SELECT session_id FROM account WHERE state = 1 AND session_id > ?1 ORDER BY 1 LIMIT ?2) AS subquery
  ) AS subquery ORDER BY session_id LIMIT ?2"""

_SET_IDLE = """
  UPDATE session SET idle_ms = ?1, due_ms = (
    SELECT CASE WHEN expires_ms < seen_ms + ?1 THEN expires_ms ELSE seen_ms + ?1 END FROM account
    WHERE account.session_id = session.session_id)
  WHERE session_id = ?2 AND idle_ms IS NOT NULL AND closed_ms IS NULL"""


@handles(GetOrCreate)
def get_or_create(unit: Unit, wanted: GetOrCreate) -> Created | PrepaidError:
    """The owner's newest session that can pay, counted as used; else a new one. One, however many ask.

    Looks at the owner's active sessions only, which ``max_sessions_per_user`` bounds, and as a rule at
    the newest alone.
    """
    found = _newest_funded(unit, wanted)
    if found is None:
        return create(unit, wanted)
    return Created(*unit.one(_USE, (unit.now_ms, found)))


@handles(ChooseSession)
def choose_session(unit: Unit, work: ChooseSession) -> Created | PrepaidError:
    """The session that an owner's key was bound to before, or else one to bind it to."""
    answered = earlier(unit, work.session_id, work.key, _CHOICE, work.fingerprint)
    if answered is not None:
        return answered if isinstance(answered, PrepaidError) else Created(**json.loads(answered))
    chosen = apply(unit, work.wanted)
    if isinstance(chosen, Created):
        remember(unit, work.session_id, work.key, _CHOICE, work.fingerprint, json.dumps(asdict(chosen)))
        return chosen
    assert isinstance(chosen, PrepaidError), "a session is opened or refused"
    return chosen


def _newest_funded(unit: Unit, wanted: GetOrCreate) -> str | None:
    """Its id, locked: until it was, others may have spent or closed it."""
    values = (wanted.owner, wanted.asset, unit.now_ms)
    while True:
        row = unit.one(_FUNDED, values)
        if row is None:
            return None
        unit.lock(row[0])
        if unit.one(_FUNDED, values) == row:
            return str(row[0])


@handles(SetIdle)
def set_idle(unit: Unit, work: SetIdle) -> str | None:
    """The next live sessions get another idle age, counted from when they were last seen used."""
    page = unit.rows(_NEXT_LIVE, (work.session_id, work.limit))
    for (session_id,) in page:
        unit.lock(session_id)
        unit.run(_SET_IDLE, (work.idle_ms, session_id))
    return str(page[-1][0]) if page else None
