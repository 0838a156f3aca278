"""Questions whose every answer is a contradiction: each names what a row says and what others say of it.

Set-based and over the whole database, for ``audit``; nothing on the hot path asks them. Where two sides
have no index in common they are compared by sums over both: SQLite reads one side of a full join anew for
each row of the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prepaid.records import SessionState
from prepaid.store.queries.base import Queries

__all__ = ["RULES", "AuditReads"]

_ENDED: Final = f"({SessionState.CLOSED:d}, {SessionState.EXPIRED:d})"

RULES: Final = {
    "funded = available + held + spent + refunded (guarantee 1)": """
      SELECT session_id, funded, available + held + spent + refunded FROM account
      WHERE funded <> available + held + spent + refunded""",
    "no amount is negative (guarantee 3)": """
      SELECT session_id, least, 0 FROM (
        SELECT session_id, available AS least FROM account UNION ALL SELECT session_id, held FROM account
        UNION ALL SELECT session_id, funded FROM account UNION ALL SELECT session_id, spent FROM account
        UNION ALL SELECT session_id, refunded FROM account
        UNION ALL SELECT session_id || ' ' || key, amount FROM hold
        UNION ALL SELECT session_id || ' ' || key, amount - 1 FROM transfer
      ) AS amounts WHERE least < 0""",
    "held = its open holds (guarantee 2)": """
      SELECT session_id, held, coalesce(counted, 0) FROM account
      LEFT JOIN (SELECT session_id, sum(amount) AS counted FROM hold WHERE state = 0
                 GROUP BY session_id) AS found
        USING (session_id)
      WHERE held <> coalesce(counted, 0)""",
    "spent = what its holds captured (guarantee 1)": """
      SELECT session_id, spent, coalesce(counted, 0) FROM account
      LEFT JOIN (SELECT session_id, sum(captured) AS counted FROM hold GROUP BY session_id) AS found
        USING (session_id)
      WHERE spent <> coalesce(counted, 0)""",
    "a hold captures at most its amount, its cost, and only once captured (guarantee 4)": """
      SELECT session_id || ' ' || key, captured,
        CASE WHEN state <> 1 THEN 0 WHEN cost BETWEEN 0 AND amount THEN cost ELSE amount END FROM hold
      WHERE captured > CASE WHEN state <> 1 THEN 0 WHEN cost BETWEEN 0 AND amount THEN cost ELSE amount END
         OR captured < CASE WHEN state <> 1 OR cost < 0 THEN 0 WHEN cost < amount THEN cost ELSE amount END
    """,
    "a hold has one line, of what it captured (guarantee 4)": """
      SELECT session_id || ' ' || key, sum(captured), sum(amount) FROM (
        SELECT session_id, key, captured, 0 AS amount, 0 AS n FROM hold WHERE captured > 0
        UNION ALL SELECT session_id, key, 0, amount, 1 FROM transfer WHERE kind = 'capture'
      ) AS found GROUP BY session_id, key HAVING sum(captured) <> sum(amount) OR sum(n) <> 1""",
    "a hold belongs to an account that is no deposit (guarantee 2)": """
      SELECT session_id || ' ' || hold.key, 1, 0 FROM hold LEFT JOIN account USING (session_id)
      WHERE coalesce(account.state, 4) = 4""",
    "a refused key has no hold (guarantee 5)": """
      SELECT session_id || ' ' || key, 1, 0 FROM hold JOIN operation USING (session_id, key)
      WHERE status = 'refused' OR kind <> 'hold' OR hold.fingerprint <> operation.fingerprint""",
    "a key that was answered did what it says (guarantee 5)": """
      SELECT operation.session_id || ' ' || operation.key, coalesce(hold.state, 0), 1 FROM operation
      LEFT JOIN hold ON hold.session_id = operation.session_id AND hold.key = operation.key
      LEFT JOIN (SELECT session_id, key FROM transfer WHERE kind IN ('fund', 'withdraw')
                 GROUP BY session_id, key) AS line
        ON line.session_id = operation.session_id AND line.key = operation.key
      WHERE operation.status = 'done' AND (
        operation.kind = 'hold' AND hold.state IS DISTINCT FROM 1
        OR operation.kind IN ('fund', 'deposit', 'withdraw') AND line.key IS NULL)""",
    "a session that has ended has nothing available (guarantee 1)": f"""
      SELECT session_id, available, 0 FROM account WHERE state IN {_ENDED} AND available <> 0""",
    "every line is in its account's chain (guarantee 6)": """
      SELECT session_id, sum(said), sum(counted) FROM (
        SELECT session_id, line_count AS said, 0 AS counted FROM account
        UNION ALL SELECT session_id, 0, count(*) FROM transfer GROUP BY session_id
      ) AS found GROUP BY session_id HAVING sum(said) <> sum(counted)""",
    "a session has an account, and an account that is no deposit a session": """
      SELECT session_id, session.name IS NOT NULL, coalesce(account.state, 4) <> 4
      FROM account FULL JOIN session USING (session_id)
      WHERE (session.name IS NOT NULL) <> (coalesce(account.state, 4) <> 4)""",
    "a session that has ended says when": f"""
      SELECT session_id, closed_ms IS NOT NULL, state IN {_ENDED} FROM account JOIN session USING (session_id)
      WHERE (closed_ms IS NOT NULL) <> (state IN {_ENDED})""",
    "a session that has ended waits for no clean-up": f"""
      SELECT session_id, 1, 0 FROM account JOIN session USING (session_id)
      WHERE state IN {_ENDED} AND (due_ms IS NOT NULL OR seen_ms IS NOT NULL)""",
    "a tag says its session's state and owner": """
      SELECT session_tag.session_id || ' ' || tag, session_tag.state, coalesce(account.state, -1)
      FROM session_tag LEFT JOIN account USING (session_id)
      WHERE session_tag.state IS DISTINCT FROM account.state
         OR session_tag.owner IS DISTINCT FROM account.owner""",
    "what deposits paid to sessions, sessions got (guarantee 1)": """
      SELECT owner || ' ' || key, sum(got), sum(paid) FROM (
        SELECT owner, key, 0 AS got, amount AS paid FROM transfer JOIN account USING (session_id)
        WHERE kind = 'withdraw' AND credit = 'session'
        UNION ALL SELECT owner, key, amount, 0 FROM transfer JOIN account USING (session_id)
        WHERE kind = 'fund' AND debit = 'deposit'
      ) AS found GROUP BY owner, key HAVING sum(got) <> sum(paid)""",
    "tallies count sessions": """
      SELECT scope, sum(said), sum(counted) FROM (
        SELECT scope, n AS said, 0 AS counted FROM tally
        UNION ALL SELECT '', 0, count(*) FROM account WHERE state = 0
        UNION ALL SELECT 'live:' || owner, 0, count(*) FROM account WHERE state < 2 GROUP BY owner
        UNION ALL SELECT 'all:' || owner, 0, count(*) FROM account WHERE state <> 4 GROUP BY owner
      ) AS found GROUP BY scope HAVING sum(said) <> sum(counted)""",
    "a lease has reserved what its open holds hold (guarantee 2)": """
      SELECT session_id || ' ' || lease_id, reserved, coalesce(counted, 0) FROM lease
      LEFT JOIN (SELECT session_id, lease_id, sum(amount) AS counted FROM hold WHERE state = 0
                 GROUP BY session_id, lease_id) AS found USING (session_id, lease_id)
      WHERE reserved <> coalesce(counted, 0)""",
    "a lease has spent what its holds captured (guarantee 1)": """
      SELECT session_id || ' ' || lease_id, spent, coalesce(counted, 0) FROM lease
      LEFT JOIN (SELECT session_id, lease_id, sum(captured) AS counted FROM hold
                 GROUP BY session_id, lease_id) AS found USING (session_id, lease_id)
      WHERE spent <> coalesce(counted, 0)""",
    "a key with a cap has reserved what its open holds hold (guarantee 2)": """
      SELECT holder || '.' || number, reserved, coalesce(counted, 0) FROM api_key
      LEFT JOIN (SELECT session_id AS holder, key_no AS number, sum(amount) AS counted FROM hold
                 WHERE state = 0 GROUP BY session_id, key_no) AS found USING (holder, number)
      WHERE reserved <> coalesce(counted, 0)""",
    "a key with a cap has spent what its holds captured, and stays within (guarantee 1)": """
      SELECT holder || '.' || number, spent,
        CASE WHEN reserved + spent > coalesce(cap, 0) THEN coalesce(cap, 0) - reserved
             ELSE coalesce(counted, 0) END
      FROM api_key
      LEFT JOIN (SELECT session_id AS holder, key_no AS number, sum(captured) AS counted FROM hold
                 GROUP BY session_id, key_no) AS found USING (holder, number)
      WHERE spent <> coalesce(counted, 0) OR reserved + spent > coalesce(cap, 0)""",
    "a lease stays within its cap": """
      SELECT session_id || ' ' || lease_id, reserved + spent, cap FROM lease WHERE reserved + spent > cap""",
    "a pooled session is live, and its lease runs": f"""
      SELECT pool.session_id, 1, 0 FROM pool LEFT JOIN account USING (session_id)
      LEFT JOIN lease ON lease.session_id = pool.session_id AND lease.lease_id = pool.lease_id
      WHERE account.state IS NULL OR account.state IN {_ENDED}
         OR (pool.lease_id IS NOT NULL AND (lease.taker IS NULL OR lease.ended_ms IS NOT NULL))""",
    "a session counts its chats, and its current one is among them": """
      SELECT session_id, chat_count, coalesce(counted, 0) FROM session
      LEFT JOIN (SELECT session_id, count(*) AS counted, max(chat_no) AS last FROM chat
                 GROUP BY session_id) AS found
        USING (session_id)
      WHERE chat_count <> coalesce(counted, 0) OR current_chat > chat_count OR last > chat_count""",
    "a chat's open turn is an open hold's, and the other way round (guarantee 2)": """
      SELECT session_id || '.' || chat_no, open_turn IS NOT NULL, key IS NOT NULL FROM chat
      FULL JOIN (SELECT session_id, chat_no, key FROM hold WHERE state = 0 AND chat_no > 0) AS found
        USING (session_id, chat_no)
      WHERE open_turn IS DISTINCT FROM key""",
    "a chat has spent what its holds captured (guarantee 1)": """
      SELECT session_id || '.' || chat_no, sum(said), sum(counted) FROM (
        SELECT session_id, chat_no, spent AS said, 0 AS counted FROM chat
        UNION ALL SELECT session_id, chat_no, 0, captured FROM hold WHERE chat_no > 0
      ) AS found GROUP BY session_id, chat_no HAVING sum(said) <> sum(counted)""",
    "every message is in a chat (guarantee 6)": """
      SELECT 'all chats', coalesce(sum(message_count), 0), (SELECT count(*) FROM message) FROM chat
      HAVING coalesce(sum(message_count), 0) <> (SELECT count(*) FROM message)""",
}


_ANSWERS: Final = """
  SELECT session_id, key, kind, status, response FROM operation WHERE (session_id, key) > (?, ?)
  ORDER BY session_id, key LIMIT ?"""


class AuditReads(Queries):
    """What an audit asks."""

    def damage(self) -> list[str]:
        """What the database itself finds wrong with its files."""
        return self.source.damage()

    @property
    def rule_count(self) -> int:
        """How many rules there are."""
        return len(RULES) + len(self.sql.rules)

    def account_count(self) -> int:
        """How many accounts there are, deposits included."""
        return int(self.row("SELECT count(*) FROM account")[0])

    def contradictions(self) -> Iterator[list[tuple[str, str, int, int]]]:
        """Rule by rule, ``(rule, subject, what it says, what others say)`` wherever it is broken."""
        for rule, sql in {**RULES, **self.sql.rules}.items():
            yield [(rule, subject, int(said), int(counted)) for subject, said, counted in self.rows(sql)]

    def answers(self, after: tuple[str, str], limit: int) -> list[tuple[str, str, str, str, str]]:
        """What was answered under keys after ``(session_id, key)``: these two, kind, status and response."""
        return self.rows(_ANSWERS, (*after, limit))
