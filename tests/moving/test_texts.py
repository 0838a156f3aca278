"""Texts with the character NUL, which PostgreSQL cannot have: those of old files arrive, strangers' close nothing."""

from __future__ import annotations

from contextlib import closing

import apsw
import pytest

from prepaid.errors import StoreCorrupted
from prepaid.moving.backups import backup, restore
from prepaid.moving.migrating import migrate
from prepaid.store.ids import pack_id
from prepaid.store.operations import Conversation, Entry, SaveConversation
from prepaid.store.queries import conversations
from store.books import create

from .worlds import place, run, seen

pytestmark = pytest.mark.slow

TALK = Conversation("talk\0", "1\0", "e\0", ("e",), "s\0", 5, "{}")
ENTRIES = (Entry("e", None, "{}"), Entry("e\0", "e", "{}"))

KEPT = {"conversation": ("conversation_id", "revision", "scope"), "conversation_entry": ("entry_id",)}


def by_hand(path, statement, *values):
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute(statement, values)


def as_version_5_kept_it(path):
    """Ids as they are, and nothing else: the tables were the same."""
    for table, columns in KEPT.items():
        for column in columns:
            for raw in ("talk\0", "1\0", "s\0", "e\0"):
                by_hand(path, f"UPDATE {table} SET {column} = ? WHERE {column} = ?", raw, pack_id(raw))
    by_hand(path, "PRAGMA user_version = 5")


def move(left, reached):
    with closing(place(left)) as source, closing(place(reached)) as target:
        migrate(source, target)


def talks(where):
    with closing(place(where)) as found:
        return found.ask(
            lambda reads: (
                conversations.all_conversations(reads, "s3"),
                conversations.all_entries(reads, "s3"),
                conversations.record(reads, "s3", "talk\0"),
            )
        )


def test_an_old_file_with_such_ids_arrives_and_comes_back(worlds):
    left, reached, again = worlds.filled("sqlite"), worlds.new("postgres"), worlds.new("sqlite")
    run(left, lambda store: store.submit(SaveConversation("s3", "ann", TALK, None, ENTRIES)))
    as_version_5_kept_it(left)
    assert ("talk\0",) in rows(left, "SELECT conversation_id FROM conversation")
    move(left, reached)
    assert talks(reached) == ([TALK], list(ENTRIES), "{}")
    move(reached, again)
    assert talks(again) == ([TALK], list(ENTRIES), "{}")
    assert seen(again) == seen(reached)


def rows(path, query):
    with closing(apsw.Connection(str(path))) as connection:
        return connection.execute(query).fetchall()


def test_what_only_a_stranger_can_have_written_is_told_before_anything_is_closed(worlds, tmp_path):
    left, reached = worlds.filled("sqlite"), worlds.new("postgres")
    by_hand(left, "UPDATE session SET name = ? WHERE session_id = 's3'", "a\0b")
    with pytest.raises(StoreCorrupted, match=r"name of session \('s3'\) has the character NUL"):
        move(left, reached)
    run(left, lambda store: store.submit(create("s8")))
    with closing(place(left)) as source:
        backup(source, tmp_path / "backup")
    with closing(place(reached)) as target:
        with pytest.raises(StoreCorrupted, match="character NUL"):
            restore(tmp_path / "backup", target)
        assert target.mark() is None
    run(reached, lambda store: store.submit(create("s8")))
    other = worlds.new("sqlite")
    move(left, other)
    assert seen(other) == seen(left)


def test_an_id_that_no_index_can_have_is_told_before_anything_is_closed(worlds):
    left, reached = worlds.filled("sqlite"), worlds.new("postgres")
    run(left, lambda store: store.submit(SaveConversation("s3", "ann", TALK, None, ENTRIES)))
    by_hand(left, "UPDATE conversation_entry SET entry_id = ? WHERE entry_id = 'e'", "🙂" * 700)
    with pytest.raises(StoreCorrupted, match=r"entry_id of conversation_entry .* more than 2,600 bytes"):
        move(left, reached)
    run(left, lambda store: store.submit(create("s8")))


@pytest.mark.parametrize("text", ["🙂" * 256, "\0" + "x" * 1023], ids=["four bytes each", "hexadecimal"])
def test_the_longest_ids_arrive(worlds, text):
    left, reached = worlds.filled("sqlite"), worlds.new("postgres")
    talk = Conversation(text, "1", text, (text,), text, 5, "{}")
    saved = SaveConversation("s3", "ann", talk, None, (Entry(text, None, "{}"),))
    run(left, lambda store: store.submit(saved))
    move(left, reached)
    with closing(place(reached)) as found:
        assert found.ask(lambda reads: conversations.all_conversations(reads, "s3")) == [talk]
