"""What a node remembers: how far it has read each chain, and where each request stands.

A small SQLite file of the node's own, in the hands of one process at a time. What is written is durable when
the call returns. A request moves along ``State``; its answer is here before anything of it is sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import apsw

from prepaid.chain.ai import Request
from prepaid.chain.node.kept import Sent, answer_text, made_text, read_answer, read_made, read_sent, sent_text
from prepaid.chain.node.own_file import OwnFile, Schema
from prepaid.chain.values import Answer

__all__ = ["Entry", "Journal", "Page", "State"]

_SCHEMA: Final = Schema(
    "node.journal",
    0x7072706E,
    """
  CREATE TABLE place (
    chain_id INTEGER NOT NULL, contract TEXT NOT NULL, next_block INTEGER NOT NULL,
    PRIMARY KEY (chain_id, contract)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE request (
    chain_id INTEGER NOT NULL, contract TEXT NOT NULL, request_id TEXT NOT NULL,
    state TEXT NOT NULL, block INTEGER NOT NULL, made TEXT NOT NULL, answer TEXT, sent TEXT,
    reason TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (chain_id, contract, request_id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX request_by_state ON request (chain_id, contract, state, block);""",
)

_HERE: Final = "chain_id = ? AND contract = ?"
_SEE: Final = """
  INSERT INTO request (chain_id, contract, request_id, state, block, made) VALUES (?, ?, ?, 'seen', ?, ?)
  ON CONFLICT DO UPDATE
  SET state = iif(answer IS NULL, 'seen', 'answered'), block = excluded.block, sent = NULL, reason = ''
  WHERE state = 'gone' RETURNING state"""


class State(StrEnum):
    """Where a request stands; from ``CONFIRMED`` on they are ends.

    ``ANSWERING``: it was found worth answering, and the model may have been asked. ``LOST``: another node
    answered. ``GONE``: the chain no longer knows it; it is ``SEEN`` again if it comes back. ``OVER``: we did
    not answer it, and it is past its deadline.
    """

    SEEN = "seen"
    ANSWERING = "answering"
    ANSWERED = "answered"
    SENT = "sent"
    CONFIRMED = "confirmed"
    DECLINED = "declined"
    LOST = "lost"
    EXPIRED = "expired"
    GONE = "gone"
    OVER = "over"

    @property
    def is_end(self) -> bool:
        """Whether nothing more is to be done."""
        return self not in _OPEN


_OPEN: Final = (State.SEEN, State.ANSWERING, State.ANSWERED, State.SENT)
_MARKS: Final = ", ".join(f"'{state}'" for state in _OPEN)


@dataclass(frozen=True, slots=True)
class Entry:
    """A request as far as it has come; ``reason`` is why it ended where it did."""

    request: Request
    state: State
    answer: Answer | None
    sent: Sent | None
    reason: str


class Journal(OwnFile):
    """The file.

    Raises:
        StoreError: it cannot be opened or written, or another process has it open.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, _SCHEMA)

    def page(self, chain_id: int, contract: str) -> Page:
        """The part on one contract."""
        return Page(self, (chain_id, contract))


class Page:
    """What is remembered of one contract on one chain."""

    def __init__(self, journal: Journal, here: tuple[int, str]) -> None:
        self._journal = journal
        self._here = here

    async def next_block(self) -> int | None:
        """The first block that was not read yet; ``None`` if none was."""
        query = f"SELECT next_block FROM place WHERE {_HERE}"
        return await self._journal.run(lambda books: books.execute(query, self._here).get)

    async def read_on(self, requests: Iterable[Request], next_block: int) -> list[tuple[str, State]]:
        """Remember requests and that all blocks before ``next_block`` were read, as one.

        Returns the ids of those that are to be worked on, with where they stand: new, or back after they were
        gone.
        """
        rows = [(*self._here, each.request_id, each.block_number, made_text(each)) for each in requests]

        def write(books: apsw.Connection) -> list[tuple[str, State]]:
            told = [(row[2], books.execute(_SEE, row).get) for row in rows]
            books.execute("INSERT OR REPLACE INTO place VALUES (?, ?, ?)", (*self._here, next_block))
            return [(request_id, State(state)) for request_id, state in told if state is not None]

        return await self._journal.run(write)

    async def entry(self, request_id: str) -> Entry:
        """A request that was remembered."""
        found = await self.find(request_id)
        assert found is not None, "only ids from this file are asked for"
        return found

    async def find(self, request_id: str) -> Entry | None:
        """A request, if it was remembered."""
        query = f"SELECT made, state, answer, sent, reason FROM request WHERE {_HERE} AND request_id = ?"
        found = await self._journal.run(
            lambda books: books.execute(query, (*self._here, request_id)).fetchone()
        )
        if found is None:
            return None
        made, state, answer, sent, reason = found
        return Entry(read_made(request_id, made), State(state), read_answer(answer), read_sent(sent), reason)

    async def unfinished(self) -> list[tuple[str, State]]:
        """Ids and states of the requests that have not ended, oldest first."""
        query = f"SELECT request_id, state FROM request WHERE {_HERE} AND state IN ({_MARKS}) ORDER BY block"
        return [(str(request_id), State(str(state))) for request_id, state in await self._rows(query)]

    async def left(self) -> list[str]:
        """Ids of requests that we did not answer, and of which we do not know whether others did."""
        states = f"('{State.DECLINED}', '{State.EXPIRED}')"
        query = f"SELECT request_id FROM request WHERE {_HERE} AND state IN {states} ORDER BY block"
        return [str(request_id) for (request_id,) in await self._rows(query)]

    async def gone(self) -> set[str]:
        """Ids of requests that the chain did not know any more."""
        query = f"SELECT request_id FROM request WHERE {_HERE} AND state = '{State.GONE}'"
        return {str(request_id) for (request_id,) in await self._rows(query)}

    async def counts(self) -> dict[State, int]:
        """How many requests stand where."""
        query = f"SELECT state, count(*) FROM request WHERE {_HERE} GROUP BY state"
        return {State(str(state)): int(count) for state, count in await self._rows(query)}

    async def move(self, request_id: str, state: State, reason: str = "") -> None:
        """The request stands here now."""
        await self._update(request_id, "state = ?, reason = ?", state, reason)

    async def keep_answer(self, request_id: str, answer: Answer) -> None:
        """It is answered with this; whatever is sent from now on is that."""
        await self._update(request_id, "state = ?, answer = ?", State.ANSWERED, answer_text(answer))

    async def keep_sent(self, request_id: str, sent: Sent) -> None:
        """This transaction is about to be sent."""
        await self._update(request_id, "state = ?, sent = ?", State.SENT, sent_text(sent))

    async def drop_sent(self, request_id: str) -> None:
        """The transaction is void; the answer is to be sent in another."""
        await self._update(request_id, "state = ?, sent = NULL", State.ANSWERED)

    async def forget(self, before_block: int) -> int:
        """Drop requests of older blocks that have ended; how many."""
        query = f"DELETE FROM request WHERE {_HERE} AND state NOT IN ({_MARKS}) AND block < ?"

        def write(books: apsw.Connection) -> int:
            books.execute(query, (*self._here, before_block))
            return books.changes()

        return await self._journal.run(write)

    async def _rows(self, query: str) -> list[Any]:
        return await self._journal.run(lambda books: books.execute(query, self._here).fetchall())

    async def _update(self, request_id: str, change: str, *values: str) -> None:
        query = f"UPDATE request SET {change} WHERE {_HERE} AND request_id = ?"
        row = (*values, *self._here, request_id)
        await self._journal.run(lambda books: books.execute(query, row).fetchall())
