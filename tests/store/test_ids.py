"""Ids with the character NUL in them, which PostgreSQL's text cannot have, are kept all the same."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from prepaid.store.ids import pack_id, unpack_id
from prepaid.store.operations import Conversation, DeleteConversation, Entry, SaveConversation
from prepaid.store.queries import conversations

MARK = pack_id("\0")[0]

ids = st.text(st.sampled_from(["\0", MARK, "a", "0", "Ω"]) | st.characters(codec="utf-8"), max_size=20)


@given(ids, ids)
@example("\0", pack_id("\0"))
@example(MARK, pack_id(MARK))
def test_every_id_has_a_form_of_its_own_without_it(one, other):
    assert unpack_id(pack_id(one)) == one
    assert "\0" not in pack_id(one)
    assert (pack_id(one) == pack_id(other)) == (one == other)


def test_a_usual_id_is_kept_as_it_is():
    for usual in ("support-1", "Ω", "", "ﷰ", None):
        assert pack_id(usual) == unpack_id(usual) == usual


async def test_a_conversation_with_such_ids(session):
    """Spec D9: saved, found, listed by its scope, gone on with and deleted."""
    entries = (Entry("e\0", None, "{}"), Entry(MARK + "e", "e\0", "{}"))
    kept = Conversation("talk\0", "1\0", MARK + "e", ("e\0",), "s\0", 5, "{}")
    assert await session.submit(SaveConversation("ses_1", "ann", kept, None, entries))
    await session.submit(
        SaveConversation("ses_1", "ann", Conversation("talk", "1", None, (), "s", 6, "[]"), None)
    )
    reads = session.reads
    assert conversations.record(reads, "ses_1", "talk\0") == "{}"
    assert conversations.records(reads, "ses_1", "s\0", None) == ["{}"]
    assert conversations.entry(reads, "ses_1", MARK + "e") == entries[1]
    assert conversations.entries_to(reads, "ses_1", MARK + "e", None) == list(entries)
    assert conversations.all_entries(reads, "ses_1") == list(entries)
    assert conversations.all_conversations(reads, "ses_1")[0] == kept
    more = Conversation("talk\0", "2\0", "e\0", (), "s\0", 7, "{}")
    assert not await session.submit(SaveConversation("ses_1", "ann", more, "1"))
    assert await session.submit(SaveConversation("ses_1", "ann", more, "1\0"))
    assert not await session.submit(DeleteConversation("ses_1", "ann", "talk\0", "1\0"))
    assert await session.submit(DeleteConversation("ses_1", "ann", "talk\0", "2\0"))
    assert conversations.all_entries(reads, "ses_1") == []
    assert conversations.record(reads, "ses_1", "talk") == "[]"
