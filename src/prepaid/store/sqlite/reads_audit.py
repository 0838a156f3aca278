"""Questions whose every answer is a contradiction: each names what a row says and what others say of it.

Set-based and over the whole database, for ``audit``; nothing on the hot path asks them.
"""

from __future__ import annotations

from typing import Final

from prepaid.records import SessionState
from prepaid.store.sqlite.query import Queries
from prepaid.store.sqlite.unit import RANGE

__all__ = ["AuditReads"]

_ENDED: Final = f"({SessionState.CLOSED:d}, {SessionState.EXPIRED:d})"

_RULES: Final = {
    "funded = available + held + spent + refunded": """
      SELECT session_id, funded, available + held + spent + refunded FROM account
      WHERE funded <> available + held + spent + refunded
         OR min(funded, available, held, spent, refunded) < 0""",
    "held = its open holds (guarantee 2)": """
      SELECT session_id, held, coalesce(counted, 0) FROM account
      LEFT JOIN (SELECT session_id, sum(amount) AS counted FROM hold WHERE state = 0 GROUP BY session_id)
        USING (session_id)
      WHERE held <> coalesce(counted, 0)""",
    "spent = what its holds captured": """
      SELECT session_id, spent, coalesce(counted, 0) FROM account
      LEFT JOIN (SELECT session_id, sum(captured) AS counted FROM hold GROUP BY session_id)
        USING (session_id)
      WHERE spent <> coalesce(counted, 0)""",
    "a hold captures at most its amount, its cost, and only once captured": """
      SELECT session_id || ' ' || key, captured,
        CASE WHEN state <> 1 THEN 0 WHEN cost < 0 THEN amount ELSE min(amount, cost) END FROM hold
      WHERE captured > CASE WHEN state <> 1 THEN 0 WHEN cost < 0 THEN amount ELSE min(amount, cost) END
         OR captured < CASE WHEN state = 1 AND cost >= 0 THEN min(amount, cost) ELSE 0 END""",
    "a hold has one line, of what it captured (guarantee 4)": """
      SELECT coalesce(h.session_id, l.session_id) || ' ' || coalesce(h.key, l.key),
        coalesce(h.captured, 0), coalesce(l.amount, 0)
      FROM (SELECT session_id, key, captured FROM hold WHERE captured > 0) AS h
      FULL JOIN (SELECT session_id, key, sum(amount) AS amount, count(*) AS n FROM transfer
                 WHERE kind = 'capture' GROUP BY session_id, key) AS l
        ON h.session_id = l.session_id AND h.key = l.key
      WHERE h.captured IS NOT l.amount OR l.n <> 1""",
    "a hold belongs to an account that is no deposit": """
      SELECT session_id || ' ' || hold.key, 1, 0 FROM hold LEFT JOIN account USING (session_id)
      WHERE coalesce(account.state, 4) = 4""",
    "a refused key has no hold (guarantee 5)": """
      SELECT session_id || ' ' || key, 1, 0 FROM hold JOIN operation USING (session_id, key)
      WHERE status = 'refused' OR kind <> 'hold' OR hold.fingerprint <> operation.fingerprint""",
    "a session that has ended has nothing available": f"""
      SELECT session_id, available, 0 FROM account WHERE state IN {_ENDED} AND available <> 0""",
    "every line is in its account's chain": """
      SELECT session_id, coalesce(line_count, 0), coalesce(counted, 0) FROM account
      FULL JOIN (SELECT session_id, count(*) AS counted FROM transfer GROUP BY session_id)
        USING (session_id)
      WHERE coalesce(line_count, 0) <> coalesce(counted, 0)""",
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
      WHERE session_tag.state IS NOT account.state OR session_tag.owner IS NOT account.owner""",
    "a session has the tags it says": """
      SELECT session_id, json_array_length(tags), coalesce(counted, 0) FROM session
      LEFT JOIN (SELECT session_id, count(*) AS counted FROM session_tag GROUP BY session_id)
        USING (session_id)
      WHERE (SELECT count(DISTINCT value) FROM json_each(tags)) <> coalesce(counted, 0)""",
    "what deposits paid to sessions, sessions got": """
      SELECT coalesce(d.owner, s.owner) || ' ' || coalesce(d.key, s.key),
        coalesce(s.amount, 0), coalesce(d.amount, 0)
      FROM (SELECT owner, key, sum(amount) AS amount FROM transfer JOIN account USING (session_id)
            WHERE kind = 'withdraw' AND credit = 'session' GROUP BY owner, key) AS d
      FULL JOIN (SELECT owner, key, sum(amount) AS amount FROM transfer JOIN account USING (session_id)
                 WHERE kind = 'fund' AND debit = 'deposit' GROUP BY owner, key) AS s
        ON d.owner = s.owner AND d.key = s.key
      WHERE d.amount IS NOT s.amount""",
    "tallies count sessions": """
      SELECT coalesce(said.scope, found.scope), coalesce(said.n, 0), coalesce(found.n, 0)
      FROM tally AS said FULL JOIN (
        SELECT '' AS scope, count(*) AS n FROM account WHERE state = 0
        UNION ALL SELECT 'live:' || owner, count(*) FROM account WHERE state < 2 GROUP BY owner
        UNION ALL SELECT 'all:' || owner, count(*) FROM account WHERE state <> 4 GROUP BY owner
      ) AS found ON said.scope = found.scope
      WHERE coalesce(said.n, 0) <> coalesce(found.n, 0)""",
    "a lease has reserved what its open holds hold": """
      SELECT session_id || ' ' || lease_id, reserved, coalesce(counted, 0) FROM lease
      LEFT JOIN (SELECT session_id, lease_id, sum(amount) AS counted FROM hold WHERE state = 0
                 GROUP BY session_id, lease_id) USING (session_id, lease_id)
      WHERE reserved <> coalesce(counted, 0)""",
    "a lease has spent what its holds captured": """
      SELECT session_id || ' ' || lease_id, spent, coalesce(counted, 0) FROM lease
      LEFT JOIN (SELECT session_id, lease_id, sum(captured) AS counted FROM hold
                 GROUP BY session_id, lease_id) USING (session_id, lease_id)
      WHERE spent <> coalesce(counted, 0)""",
    "a key with a cap has reserved what its open holds hold": """
      SELECT holder || '.' || number, reserved, coalesce(counted, 0) FROM api_key
      LEFT JOIN (SELECT session_id AS holder, key_no AS number, sum(amount) AS counted FROM hold
                 WHERE state = 0 GROUP BY session_id, key_no) USING (holder, number)
      WHERE reserved <> coalesce(counted, 0)""",
    "a key with a cap has spent what its holds captured, and stays within": """
      SELECT holder || '.' || number, reserved + spent, min(reserved + coalesce(counted, 0), coalesce(cap, 0))
      FROM api_key
      LEFT JOIN (SELECT session_id AS holder, key_no AS number, sum(captured) AS counted FROM hold
                 GROUP BY session_id, key_no) USING (holder, number)
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
      LEFT JOIN (SELECT session_id, count(*) AS counted, max(chat_no) AS last FROM chat GROUP BY session_id)
        USING (session_id)
      WHERE chat_count <> coalesce(counted, 0) OR current_chat > chat_count OR last > chat_count""",
    "a chat's open turn is an open hold's, and the other way round": """
      SELECT session_id || '.' || chat_no, open_turn IS NOT NULL, key IS NOT NULL FROM chat
      FULL JOIN (SELECT session_id, chat_no, key FROM hold WHERE state = 0 AND chat_no > 0)
        USING (session_id, chat_no)
      WHERE open_turn IS NOT key""",
    "a chat has spent what its holds captured": """
      SELECT session_id || '.' || chat_no, coalesce(spent, 0), coalesce(counted, 0) FROM chat
      FULL JOIN (SELECT session_id, chat_no, sum(captured) AS counted FROM hold WHERE chat_no > 0
                 GROUP BY session_id, chat_no) USING (session_id, chat_no)
      WHERE coalesce(spent, 0) <> coalesce(counted, 0)""",
    "a chat counts its messages, without gaps": f"""
      SELECT session_id || '.' || chat_no, message_count, count(message.id) FROM chat
      LEFT JOIN message ON message.id > messages_from
                       AND message.id <= messages_from + {RANGE}
      GROUP BY session_id, chat_no
      HAVING message_count <> count(message.id)
          OR coalesce(max(message.id), messages_from) <> messages_from + message_count
          OR coalesce(max(message.turn), 0) > turn_count""",
    "every message is in a chat": """
      SELECT 'all chats', coalesce(sum(message_count), 0), (SELECT count(*) FROM message) FROM chat
      HAVING coalesce(sum(message_count), 0) <> (SELECT count(*) FROM message)""",
}


class AuditReads(Queries):
    """What an audit asks."""

    def damage(self) -> list[str]:
        """What the database itself finds wrong with its file, at most 100 entries."""
        return [row[0] for row in self.rows("PRAGMA integrity_check") if row[0] != "ok"]

    def contradictions(self) -> list[tuple[str, str, int, int]]:
        """``(rule, subject, what it says, what others say)`` wherever a rule is broken."""
        return [(rule, *row) for rule, sql in _RULES.items() for row in self.rows(sql)]
