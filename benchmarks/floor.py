"""The floor: what somebody would write by hand with the standard library's ``sqlite3``.

One connection, WAL, ``synchronous=FULL``, a transaction for each step, prepared statements from sqlite3's
own cache, nothing checked that is not checked in SQL. The rows have the same columns with contents of the
same sizes as ours, so the same bytes have to be made durable; a line's digest is a constant (no hash is
computed), balances are one row, and no secondary index is kept but the one that finds overdue holds.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

_SCHEMA = """
CREATE TABLE account (
  session_id TEXT PRIMARY KEY, owner TEXT NOT NULL, asset TEXT NOT NULL, state INTEGER NOT NULL,
  funded INTEGER NOT NULL, available INTEGER NOT NULL CHECK (available >= 0), held INTEGER NOT NULL,
  spent INTEGER NOT NULL, refunded INTEGER NOT NULL, request_count INTEGER NOT NULL,
  last_used_ms INTEGER NOT NULL, expires_ms INTEGER, line_count INTEGER NOT NULL, head BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE hold (
  session_id TEXT NOT NULL, key TEXT NOT NULL, fingerprint BLOB NOT NULL, amount INTEGER NOT NULL,
  state INTEGER NOT NULL, captured INTEGER NOT NULL, cost INTEGER NOT NULL, delivered INTEGER NOT NULL,
  sent INTEGER NOT NULL, expires_ms INTEGER NOT NULL, actor TEXT NOT NULL, chat_no INTEGER NOT NULL,
  PRIMARY KEY (session_id, key)
) WITHOUT ROWID;
CREATE INDEX hold_open ON hold (expires_ms) WHERE state = 0;

CREATE TABLE transfer (
  id INTEGER PRIMARY KEY, session_id TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL,
  debit TEXT NOT NULL, credit TEXT NOT NULL, amount INTEGER NOT NULL, key TEXT NOT NULL, at_ms INTEGER NOT NULL,
  actor TEXT NOT NULL, chat_no INTEGER NOT NULL, model TEXT NOT NULL, input_units INTEGER NOT NULL,
  output_units INTEGER NOT NULL, digest BLOB NOT NULL
);

CREATE TABLE message (
  session_id TEXT NOT NULL, seq INTEGER NOT NULL, role INTEGER NOT NULL, at_ms INTEGER NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (session_id, seq)
) WITHOUT ROWID;
"""

_RESERVE = (
    "UPDATE account SET available = available - ?1, held = held + ?1, last_used_ms = ?2"
    " WHERE session_id = ?3 AND available >= ?1"
)
_HOLD = "INSERT INTO hold VALUES (?, ?, ?, ?, 0, 0, 0, 0, 1, ?, 'bob', ?)"
_BEFORE = "SELECT fingerprint, amount, state FROM hold WHERE session_id = ? AND key = ?"
_RESOLVE = (
    "UPDATE hold SET state = 1, captured = ?1, cost = ?1 WHERE session_id = ?2 AND key = ?3 AND state = 0"
)
_CAPTURE = (
    "UPDATE account SET available = available + ?1 - ?2, held = held - ?1, spent = spent + ?2,"
    " request_count = request_count + 1, line_count = line_count + 1, last_used_ms = ?3, head = ?4"
    " WHERE session_id = ?5 RETURNING line_count"
)
_TRANSFER = (
    "INSERT INTO transfer (session_id, seq, kind, debit, credit, amount, key, at_ms, actor, chat_no, model,"
    " input_units, output_units, digest)"
    " VALUES (?, ?, 'capture', 'session', 'revenue', ?, ?, ?, 'bob', ?, 'offline', 10, 20, ?)"
)
_DIGEST = bytes(range(32))
_FINGERPRINT = bytes(range(16))
_MONEY = 10**12


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


class Floor:
    """Hold, capture and save by hand."""

    def __init__(self, path: Path, session_ids: Sequence[str]) -> None:
        self.connection = connect(path)
        self.run = self.connection.execute
        self.connection.executescript(_SCHEMA)
        self.run("BEGIN")
        for session_id in session_ids:
            self.run(
                "INSERT INTO account VALUES (?, 'bob', 'USD', 0, ?, ?, 0, 0, 0, 0, 0, NULL, 0, ?)",
                (session_id, _MONEY, _MONEY, _DIGEST),
            )
        self.run("COMMIT")

    def close(self) -> None:
        self.connection.close()

    def hold(
        self, session_id: str, key: str, amount: int, *, chat_no: int = 0, is_keyed: bool = False
    ) -> None:
        """One transaction. With a caller's key, what it got before is looked up first."""
        now_ms = time.time_ns() // 1_000_000
        self.run("BEGIN IMMEDIATE")
        if is_keyed:
            assert self.run(_BEFORE, (session_id, key)).fetchone() is None
        assert self.run(_RESERVE, (amount, now_ms, session_id)).rowcount == 1
        self.run(_HOLD, (session_id, key, _FINGERPRINT, amount, now_ms + 30_000, chat_no))
        self.run("COMMIT")

    def capture(self, session_id: str, key: str, amount: int, cost: int) -> None:
        self.run("BEGIN IMMEDIATE")
        self._settle(session_id, key, amount, cost, 0)
        self.run("COMMIT")

    def save_turn(
        self, session_id: str, key: str, amount: int, cost: int, question: str, answer: str
    ) -> None:
        """Settle and both messages in one transaction."""
        self.run("BEGIN IMMEDIATE")
        seq, now_ms = self._settle(session_id, key, amount, cost, 1)
        insert = "INSERT INTO message VALUES (?, ?, ?, ?, ?)"
        self.run(insert, (session_id, seq * 2 - 1, 1, now_ms, question))
        self.run(insert, (session_id, seq * 2, 2, now_ms, answer))
        self.run("COMMIT")

    def _settle(self, session_id: str, key: str, amount: int, cost: int, chat_no: int) -> tuple[int, int]:
        now_ms = time.time_ns() // 1_000_000
        assert self.run(_RESOLVE, (cost, session_id, key)).rowcount == 1
        (seq,) = self.run(_CAPTURE, (amount, cost, now_ms, _DIGEST, session_id)).fetchone()
        self.run(_TRANSFER, (session_id, seq, cost, key, now_ms, chat_no, _DIGEST))
        return seq, now_ms
