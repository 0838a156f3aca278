"""Durable hold and capture pairs on PostgreSQL through the public ``Ledger``, against pgbench.

pgbench does the same work on the same tables: each operation in one server-side function and one transaction, for
a hold must be durable before a model is asked. It runs at whichever number of clients serves it best. Also told is
both in one function and one transaction, which no caller could use.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.context import Context
from benchmarks.filling import new_session_ids, open_sessions
from benchmarks.harness import Figure, interleave, per_second, ratios
from benchmarks.ledger import COST, HELD, OWNER, SESSIONS, Crowd
from prepaid.ledger import Ledger
from prepaid.store.postgres.connection import connect
from prepaid.store.postgres.store import PostgresStore

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from postgres_server import Databases, OwnServer

SERVER = {"shared_buffers": "256MB", "max_wal_size": "4GB", "max_connections": "200"}
CLIENTS = 1_024
"""As many as TigerBeetle's figure has. With 256 a lane's batches are a quarter as large, and a pair costs a third more."""
HANDS = (4, 8, 16, 32, 64)
"""Numbers of clients that pgbench is tried with."""
PUBLISHED = {"TigerBeetle's Python client, 1,024 clients": 18_600, "SQLite, group commit with apsw": 30_342}
PUBLISHED_PGBENCH = 5_578
"""Pairs per second on another machine of this size, all in one run. Only their ratios carry over."""

FUNCTIONS = """
  CREATE FUNCTION hold_once(session text, hold_key text, wanted bigint) RETURNS void LANGUAGE plpgsql AS $$
  DECLARE now_ms bigint := extract(epoch FROM clock_timestamp()) * 1000;
  BEGIN
    UPDATE account SET available = available - wanted, held = held + wanted, last_used_ms = now_ms
    WHERE session_id = session AND owner = 'OWNER' AND state = 0 AND available >= wanted
      AND (expires_ms IS NULL OR expires_ms > now_ms);
    IF NOT FOUND THEN RAISE 'refused'; END IF;
    INSERT INTO hold VALUES (session, hold_key, '\\x00112233445566778899aabbccddeeff', wanted, 0, 0, 0, 0, false,
                             now_ms + 30000, 'OWNER', 0, NULL, NULL);
  END $$;

  CREATE FUNCTION capture_once(session text, hold_key text, paid bigint) RETURNS void LANGUAGE plpgsql AS $$
  DECLARE
    now_ms bigint := extract(epoch FROM clock_timestamp()) * 1000;
    reserved bigint; took bigint; number bigint; digest bytea;
  BEGIN
    UPDATE hold SET state = 1, captured = least(amount, paid), cost = paid
    WHERE session_id = session AND key = hold_key AND state = 0 RETURNING amount, captured INTO reserved, took;
    IF NOT FOUND THEN RAISE 'refused'; END IF;
    UPDATE account SET available = available + reserved - took, held = held - reserved, spent = spent + took,
      request_count = request_count + 1, last_used_ms = now_ms, line_count = line_count + 1,
      head = line_digest(head, line_count + 1, concat_ws(E'\\n', 'capture', 'session', 'revenue', took, hold_key,
                                                         now_ms, 'OWNER', 0, '', 0, 0))
    WHERE session_id = session RETURNING line_count, head INTO number, digest;
    INSERT INTO transfer VALUES (session, number, 'capture', 'session', 'revenue', took, hold_key, now_ms, 'OWNER',
                                 0, '', 0, 0, digest);
  END $$;

  CREATE FUNCTION pair(session text, hold_key text, wanted bigint, paid bigint) RETURNS void LANGUAGE plpgsql AS $$
  BEGIN
    PERFORM hold_once(session, hold_key, wanted);
    PERFORM capture_once(session, hold_key, paid);
  END $$;

  CREATE TABLE numbered (n bigint PRIMARY KEY, session_id text NOT NULL);
""".replace("OWNER", OWNER)

SESSION = "(SELECT session_id FROM numbered WHERE n = :s)"
TWO = f"""\\set s random(0, {SESSIONS - 1})
\\set k random(1, 9000000000000000000)
SELECT hold_once({SESSION}, :k::text, {HELD});
SELECT capture_once({SESSION}, :k::text, {COST});
"""
ONE = f"""\\set s random(0, {SESSIONS - 1})
\\set k random(1, 9000000000000000000)
SELECT pair({SESSION}, :k::text, {HELD}, {COST});
"""


@dataclass(slots=True)
class Hand:
    """pgbench on a database with the same sessions in it."""

    server: OwnServer
    database: str
    folder: Path

    async def prepare(self, ids: list[str]) -> None:
        connection = await connect(self.database)
        await connection.execute(FUNCTIONS)
        await connection.executemany("INSERT INTO numbered VALUES ($1, $2)", list(enumerate(ids)))
        await connection.execute("ANALYZE")
        await connection.close()
        for name, script in (("two", TWO), ("one", ONE)):
            (self.folder / name).write_text(script)

    async def pairs(self, name: str, count: int, clients: int) -> float:
        """Seconds per pair."""
        arguments = ["-n", "-M", "prepared", "-f", self.folder / name, "-j", "2"]
        arguments += ["-c", clients, "-t", max(count // clients, 1), self.database]
        program = await asyncio.create_subprocess_exec(
            self.server.bin / "pgbench", *map(str, arguments), stdout=-1, stderr=-1
        )
        told, wrong = await program.communicate()
        found = re.search(rb"tps = ([0-9.]+) \(without", told)
        assert found, wrong.decode()
        return 1 / float(found[1])

    async def best(self, name: str, count: int) -> int:
        """The number of clients that serves it best."""
        took = {clients: await self.pairs(name, count, clients) for clients in HANDS}
        return min(took, key=took.__getitem__)


@asynccontextmanager
async def sides(context: Context) -> AsyncIterator[tuple[Crowd, Hand]]:
    with context.folder() as folder:
        server = await asyncio.to_thread(lambda: OwnServer(**SERVER))
        try:
            databases = await asyncio.to_thread(Databases, server.url)
            ids = new_session_ids(SESSIONS)
            hand = Hand(server, databases.new(), folder)
            for url in (hand.database, databases.new()):
                store = PostgresStore(url)
                await open_sessions(store, ids, users=1)
                if url == hand.database:
                    await store.aclose()
            await hand.prepare(ids)
            yield Crowd(Ledger(store), ids), hand
            await store.aclose()
        finally:
            await asyncio.to_thread(server.stop)


async def throughput(context: Context) -> list[Figure]:
    async with sides(context) as (crowd, hand):
        ours, theirs = context.scaled(20_480, CLIENTS), context.scaled(6_400, 640)
        two, one = await hand.best("two", theirs), await hand.best("one", theirs)
        context.say(f"pgbench is best with {two} clients, and {one} for both in one")
        samples = await interleave(
            {
                "prepaid": lambda: crowd.pairs(ours, CLIENTS),
                "pgbench": lambda: hand.pairs("two", theirs, two),
                "in one": lambda: hand.pairs("one", theirs, one),
            },
            context.rounds,
        )
    what = f"hold + capture pairs on PostgreSQL, {CLIENTS} clients, {SESSIONS:,} sessions"
    ours_told = {"prepaid": per_second(samples, "prepaid")}
    return [
        Figure(
            what,
            f"pgbench, each in a function, {two} clients",
            ratios(samples, "pgbench", "prepaid"),
            at_least=3,
            told={**ours_told, "pgbench": per_second(samples, "pgbench")},
        ),
        Figure(
            what,
            f"pgbench, both in one function and transaction, {one} clients",
            ratios(samples, "in one", "prepaid"),
            at_least=3,
            told={**ours_told, "pgbench": per_second(samples, "in one")},
        ),
        *(
            Figure(
                what,
                f"{name}, published: {rate:,}/s, which is {rate / PUBLISHED_PGBENCH:.2f} × pgbench in that run",
                [ratio * PUBLISHED_PGBENCH / rate for ratio in ratios(samples, "in one", "prepaid")],
                told={"pgbench in that run": f"{PUBLISHED_PGBENCH:,}/s"},
            )
            for name, rate in PUBLISHED.items()
        ),
    ]


async def hot(context: Context) -> list[Figure]:
    async with sides(context) as (crowd, _):
        one = Crowd(crowd.ledger, crowd.session_ids[500:501])
        count = context.scaled(20_480, CLIENTS)
        samples = await interleave(
            {"spread": lambda: crowd.pairs(count, CLIENTS), "one": lambda: one.pairs(count, CLIENTS)},
            context.rounds,
        )
    return [
        Figure(
            f"pairs on one session on PostgreSQL, {CLIENTS} clients",
            f"spread over {SESSIONS:,} sessions",
            ratios(samples, "spread", "one"),
            at_least=0.8,
            told={"one": per_second(samples, "one"), "spread": per_second(samples, "spread")},
        )
    ]
