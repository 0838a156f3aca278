"""The audit finds what it says it finds: each rule is broken once, by hand, and reported."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from prepaid.audit import audit
from prepaid.store.lines import line_digest, payload_of
from prepaid.store.queries.audit import RULES
from prepaid.store.sqlite.source import SqliteSource

from .books import something_of_everything

CHAIN = "lines are chained by hash (guarantee 6)"
ANSWERS = "what was answered under a key can be said again (guarantee 5)"
SUMS = "an account is the sum of its lines (guarantee 1)"

BROKEN = {
    "funded = available + held + spent + refunded (guarantee 1)": [
        "UPDATE account SET available = available + 1 WHERE session_id = 's1'"
    ],
    "no amount is negative (guarantee 3)": [
        "UPDATE account SET available = -1, held = held + available + 1 WHERE session_id = 's1'"
    ],
    "a key that was answered did what it says (guarantee 5)": [
        "UPDATE operation SET key = 'another' WHERE key = 'd'"
    ],
    ANSWERS: ["UPDATE operation SET response = '{' WHERE key = 'd'"],
    "held = its open holds (guarantee 2)": ["UPDATE hold SET amount = amount + 1 WHERE key = 'open'"],
    "spent = what its holds captured (guarantee 1)": [
        "UPDATE hold SET captured = captured - 1, cost = cost - 1 WHERE key = 'done'"
    ],
    "a hold captures at most its amount, its cost, and only once captured (guarantee 4)": [
        "UPDATE hold SET cost = captured - 1 WHERE key = 'done'"
    ],
    "a hold has one line, of what it captured (guarantee 4)": [
        "UPDATE hold SET key = 'moved' WHERE key = 'done'"
    ],
    "a hold belongs to an account that is no deposit (guarantee 2)": [
        "UPDATE hold SET session_id = 'deposit:ann' WHERE key = 'open'"
    ],
    "a refused key has no hold (guarantee 5)": ["UPDATE operation SET key = 'open' WHERE key = 'refused'"],
    "a session that has ended has nothing available (guarantee 1)": [
        "UPDATE account SET state = 2 WHERE session_id = 's1'"
    ],
    "every line is in its account's chain (guarantee 6)": [
        "UPDATE transfer SET session_id = 'nobody' WHERE key = 'done'"
    ],
    "a session has an account, and an account that is no deposit a session": [
        "DELETE FROM session WHERE session_id = 's1'"
    ],
    "a session that has ended says when": ["UPDATE session SET closed_ms = NULL WHERE session_id = 's2'"],
    "a session that has ended waits for no clean-up": [
        "UPDATE session SET seen_ms = 1 WHERE session_id = 's2'"
    ],
    "a tag says its session's state and owner": ["UPDATE session_tag SET owner = 'eve'"],
    "a session has the tags it says": ["DELETE FROM session_tag"],
    "what deposits paid to sessions, sessions got (guarantee 1)": [
        "UPDATE transfer SET credit = 'owner' WHERE kind = 'withdraw' AND credit = 'session'"
    ],
    "tallies count sessions": ["UPDATE tally SET n = n + 1 WHERE scope = 'all:ann'"],
    "a lease has reserved what its open holds hold (guarantee 2)": [
        "UPDATE lease SET reserved = reserved + 1"
    ],
    "a lease has spent what its holds captured (guarantee 1)": ["UPDATE lease SET spent = spent + 1"],
    "a lease stays within its cap": ["UPDATE lease SET cap = 1"],
    "a key with a cap has reserved what its open holds hold (guarantee 2)": [
        "UPDATE api_key SET reserved = reserved + 1"
    ],
    "a key with a cap has spent what its holds captured, and stays within (guarantee 1)": [
        "UPDATE api_key SET cap = 1"
    ],
    "a pooled session is live, and its lease runs": ["UPDATE lease SET ended_ms = 1"],
    "a session counts its chats, and its current one is among them": ["UPDATE session SET current_chat = 9"],
    "a chat's open turn is an open hold's, and the other way round (guarantee 2)": [
        "UPDATE chat SET open_turn = NULL"
    ],
    "a chat has spent what its holds captured (guarantee 1)": ["UPDATE chat SET spent = spent + 1"],
    "a chat counts its messages, without gaps (guarantee 6)": ["DELETE FROM message WHERE body = 'two'"],
    "every message is in a chat (guarantee 6)": ["UPDATE chat SET message_count = message_count - 1"],
    CHAIN: ["UPDATE transfer SET model = 'dearer' WHERE key = 'done'"],
    SUMS: ["UPDATE transfer SET amount = amount - 1 WHERE key = 'done'"],
}


@pytest.fixture
async def books(open_store):
    """A database with something of everything in it."""
    store = open_store()
    await something_of_everything(store.submit)
    return store


GUARDS = {
    "sqlite": [
        "PRAGMA ignore_check_constraints = ON",
        "DROP TRIGGER transfer_is_final",
        "DROP TRIGGER transfer_is_kept",
        "DROP TRIGGER tally_moved",
    ],
    "postgres": [
        "DROP TRIGGER transfer_is_final ON transfer",
        "DROP TRIGGER tally_moved ON account",
        """DO $$ DECLARE checked record; BEGIN
             FOR checked IN SELECT conrelid::regclass AS table, conname FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0
             LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', checked.table, checked.conname); END LOOP;
           END $$""",
    ],
}
"""What keeps each database from what no operation could do."""


@pytest.fixture
def tamper(books, database, by_hand):
    """Changes the database as no operation could."""
    return partial(by_hand, *GUARDS[database.removeprefix("given-")])


async def test_sound_books_are_clean(books):
    report = await books.report(audit)
    assert report.is_clean
    assert str(report) == "4 accounts and 10 lines: all of it adds up."


def test_every_rule_is_broken_once():
    assert set(BROKEN) == {*RULES, *SqliteSource.sql.rules, ANSWERS, CHAIN, SUMS}


@pytest.mark.parametrize("rule", BROKEN)
async def test_a_broken_rule_is_found(rule, books, tamper):
    tamper(*BROKEN[rule])
    report = await books.report(audit)
    assert not report.is_clean
    assert rule in {finding.rule for finding in report.findings}, str(report)
    assert f"{len(report.findings)} contradictions" in str(report)
    assert f"[{rule}]" in str(report)


def last_line(books):
    return books.reads.transfers("s1")[-1]


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE account SET head = x'00' WHERE session_id = 's1'",
        "UPDATE transfer SET seq = seq + 100 WHERE key = 'done'",
        "UPDATE transfer SET digest = x'00' WHERE key = 'done'",
        "UPDATE transfer SET model = 'dearer' WHERE key = 'done'",
    ],
)
async def test_a_broken_chain_is_found(forgery, books, tamper):
    tamper(forgery)
    assert CHAIN in {finding.rule for finding in (await books.report(audit)).findings}


async def test_a_forged_chain_is_found_by_its_sums(books, tamper):
    """Whoever writes a line with the right digest still has to make the books agree."""
    line = last_line(books)
    before = books.reads.transfers("s1")[-2].digest
    forged = line_digest(before, line.seq, payload_of(replace(line, amount=line.amount - 1))).hex()
    tamper(
        f"UPDATE transfer SET amount = amount - 1, digest = x'{forged}' WHERE key = 'lent'",
        f"UPDATE account SET head = x'{forged}' WHERE session_id = 's1'",
    )
    found = {finding.rule for finding in (await books.report(audit)).findings}
    assert CHAIN not in found
    assert {SUMS, "a hold has one line, of what it captured (guarantee 4)"} <= found
