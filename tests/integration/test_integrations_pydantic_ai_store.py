"""Spec D9: pydantic-ai's conversations on our store. One suite for its own in-memory store and for ours.

pydantic-ai ships no conformance test for conversation stores (as of 2.68; for workspaces it does), so what
its documentation and its own store promise is written down here, and ours is compared with its own.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_ai import BinaryContent, Conversation
from pydantic_ai.conversation_store import (
    ConversationConflict,
    ConversationEntry,
    ConversationRecord,
    InMemoryConversationStore,
)
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import (
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.tools import DeferredToolRequests
from pydantic_ai.usage import RequestUsage, RunUsage

from prepaid import SessionManager
from prepaid.audit import audit
from prepaid.errors import (
    InvalidRequestError,
    SessionAlreadyClosed,
    SessionDataUnreadable,
    SessionNotFound,
    ValueTooLarge,
)
from prepaid.integrations.pydantic_ai import PrepaidConversationStore, _to_conversation
from prepaid.store.queries import conversations as conversation_reads


@pytest.fixture
async def manager(where):
    async with SessionManager(where, auto_cleanup=False) as manager:
        yield manager


@pytest.fixture
async def session(manager):
    return await manager.create_session("ann", "1 USD")


@pytest.fixture
def ours(session):
    return PrepaidConversationStore(session)


@pytest.fixture(params=["theirs", "ours"])
def store(request, session):
    return InMemoryConversationStore() if request.param == "theirs" else PrepaidConversationStore(session)


def said(text):
    return ModelRequest([UserPromptPart(text, timestamp=datetime(2026, 1, 1, tzinfo=UTC))])


def texts(messages):
    return [message.parts[0].content for message in messages]


def talk(*words, conversation_id="talk", **fields):
    return Conversation(messages=[said(word) for word in words], conversation_id=conversation_id, **fields)


async def saved(store, *words, conversation_id="talk", **options):
    """A conversation that was saved and loaded again."""
    await store.save(talk(*words, conversation_id=conversation_id), **options)
    return await store.load(conversation_id)


RICH = [
    ModelRequest(
        [
            SystemPromptPart("Be brief."),
            UserPromptPart(
                ["Look:", BinaryContent.narrow_type(BinaryContent(b"\x00\xff", media_type="image/png"))]
            ),
        ],
        instructions="Ünïcode\n",
        metadata={"a": [1, None]},
    ),
    ModelResponse(
        [ThinkingPart("hm"), ToolCallPart("look", {"q": 1}, "c1"), ToolCallPart("look", '{"q": 2}', "c2")],
        usage=RequestUsage(input_tokens=3, output_tokens=2),
        model_name="offline",
    ),
    ModelRequest(
        [
            ToolReturnPart("look", {"found": ["a"]}, "c1", metadata={"b": 2}),
            ToolReturnPart("look", "Again", "c2", outcome="retried"),
        ]
    ),
    ModelResponse([TextPart("Done \U0001f680")], finish_reason="stop"),
]


@pytest.mark.parametrize(
    ("store", "database"),
    [("theirs", "sqlite"), ("ours", "sqlite"), ("ours", "postgres")],
    indirect=["store"],
)
class TestLikeTheirOwn:
    """What its own store does, ours does too."""

    async def test_what_was_never_saved_is_not_there(self, store):
        assert await store.load("talk") is None
        assert await store.load_entries("talk") is None
        assert await store.list_conversations() == []
        await store.delete("talk")

    async def test_what_was_saved_is_loaded(self, store):
        """Spec D9: whole, whatever the messages are of."""
        conversation = Conversation(
            messages=RICH, conversation_id="talk", usage=RunUsage(requests=2, tool_calls=1)
        )
        entries = await store.save(conversation)
        loaded = await store.load("talk")
        assert loaded == conversation
        assert [entry.message for entry in entries] == RICH
        assert await store.load_entries("talk") == entries

    async def test_what_a_paused_run_waits_for_is_kept(self, store):
        waiting = DeferredToolRequests(
            approvals=[ToolCallPart("pay", {"n": 1}, "c1")], metadata={"c1": {"why": "big"}}
        )
        await store.save(talk("a", deferred_tool_requests=waiting))
        assert (await store.load("talk")).deferred_tool_requests == waiting

    async def test_a_save_appends_what_is_new(self, store):
        conversation = await saved(store, "a", "b")
        conversation.messages.append(said("c"))
        (entry,) = await store.save(conversation)
        before = await store.load_entries("talk")
        assert texts(each.message for each in before) == ["a", "b", "c"]
        assert entry == before[-1]
        assert [each.parent_id for each in before] == [None, before[0].id, before[1].id]
        assert await store.save(conversation) == []

    async def test_a_part_is_loaded_and_saved_to_the_whole(self, store):
        await saved(store, *"abcdef")
        conversation = await store.load("talk", limit=2)
        assert texts(conversation.messages) == ["e", "f"]
        conversation.messages.append(said("g"))
        await store.save(conversation)
        assert texts((await store.load("talk")).messages) == list("abcdefg")
        assert await store.load_entries("talk", limit=0) == []
        assert len(await store.load_entries("talk", limit=100)) == 7
        with pytest.raises(UserError):
            await store.load("talk", limit=-1)

    async def test_whoever_saves_later_must_have_loaded_what_was_saved_before(self, store):
        first, second = await saved(store, "a"), await store.load("talk")
        first.messages.append(said("b"))
        second.messages.append(said("c"))
        await store.save(first)
        with pytest.raises(ConversationConflict):
            await store.save(second)
        assert texts((await store.load("talk")).messages) == ["a", "b"]

    async def test_a_conversation_is_begun_once(self, store):
        await store.save(talk("a"))
        with pytest.raises(ConversationConflict):
            await store.save(talk("a"))

    async def test_a_deleted_one_cannot_be_saved_over(self, store):
        conversation = await saved(store, "a")
        await store.delete("talk")
        assert await store.load("talk") is None
        with pytest.raises(ConversationConflict):
            await store.save(conversation)
        await store.save(talk("new"))
        with pytest.raises(ConversationConflict):
            await store.save(conversation)

    async def test_of_many_writers_at_once_one_wins_each_time(self, store):
        """Spec D9: atomic, with optimistic revision checks."""
        await saved(store, "start")

        async def write(name):
            while True:
                conversation = await store.load("talk")
                conversation.messages.append(said(name))
                try:
                    await store.save(conversation)
                except ConversationConflict:
                    await asyncio.sleep(0)
                else:
                    return

        await asyncio.gather(*(write(f"writer {number}") for number in range(16)))
        messages = texts((await store.load("talk")).messages)
        assert messages[0] == "start"
        assert sorted(messages[1:]) == sorted(f"writer {number}" for number in range(16))

    async def test_a_rewritten_history_is_a_branch(self, store):
        await saved(store, "a", "b", "c")
        (record,) = await store.list_conversations()
        rewritten = talk("a", "x", revision=record.revision)
        (entry,) = await store.save(rewritten)
        entries = await store.load_entries("talk")
        assert texts(each.message for each in entries) == ["a", "x"]
        assert entry == entries[-1]
        (after,) = await store.list_conversations()
        assert texts(each.message for each in await store.read_history(after.branches[0])) == ["a", "b", "c"]

    async def test_a_conversation_branches_and_goes_back(self, store):
        conversation = await saved(store, "a", "b", "c")
        branched = await store.branch("talk", at=1, expected_revision=conversation.revision)
        branched.messages.append(said("x"))
        await store.save(branched)
        (record,) = await store.list_conversations()
        back = await store.branch("talk", from_entry=record.branches[0], expected_revision=branched.revision)
        assert texts(back.messages) == ["a", "b", "c"]
        (record,) = await store.list_conversations()
        assert texts(each.message for each in await store.read_history(record.branches[0])) == ["a", "x"]
        with pytest.raises(ConversationConflict):
            await store.branch("talk", at=1, expected_revision=conversation.revision)
        with pytest.raises(UserError):
            await store.branch("talk", at=9, expected_revision=back.revision)
        with pytest.raises(UserError):
            await store.branch("other", at=0, expected_revision=None)

    async def test_a_fork_goes_its_own_way(self, store):
        conversation = await saved(store, "a", "b", "c")
        fork = await store.fork("talk", at=2, new_conversation_id="fork")
        fork.messages.append(said("x"))
        await store.save(fork)
        conversation.messages.append(said("d"))
        await store.save(conversation)
        assert texts((await store.load("fork")).messages) == ["a", "b", "x"]
        assert texts((await store.load("talk")).messages) == ["a", "b", "c", "d"]
        record = await store.read_record("fork")
        assert (record.forked_from, record.forked_at) == ("talk", (await store.load_entries("talk"))[1].id)
        with pytest.raises(ConversationConflict):
            await store.fork("talk", new_conversation_id="fork")

    async def test_what_is_shared_outlives_either(self, store):
        await saved(store, "a", "b", "c")
        await store.fork("talk", at=2, new_conversation_id="fork")
        entries = await store.load_entries("talk")
        await store.delete("talk")
        assert texts((await store.load("fork")).messages) == ["a", "b"]
        with pytest.raises(LookupError):
            await store.read_entry(entries[2].id)
        assert await store.read_entry(entries[1].id) == entries[1]
        await store.delete("fork")
        for entry in entries:
            with pytest.raises(LookupError):
                await store.read_entry(entry.id)

    async def test_what_a_branch_has_left_is_deleted_with_it(self, store):
        conversation = await saved(store, "a", "b", "c")
        branched = await store.branch("talk", at=1, expected_revision=conversation.revision)
        branched.messages.append(said("x"))
        await store.save(branched)
        entries = [*await store.load_entries("talk")]
        (record,) = await store.list_conversations()
        entries += await store.read_history(record.branches[0])
        await store.delete("talk")
        for entry in entries:
            with pytest.raises(LookupError):
                await store.read_entry(entry.id)

    async def test_a_fork_of_what_was_just_deleted_conflicts(self, store):
        await saved(store, "a", "b")
        record = await store.read_record("talk")
        await store.delete("talk")
        fork = ConversationRecord(conversation_id="fork", head_id=record.head_id)
        with pytest.raises(ConversationConflict):
            await store.write_record(fork, expected_revision=None)
        assert await store.read_record("fork") is None

    async def test_a_scope_keeps_a_conversation_to_its_owner(self, store):
        await saved(store, "a", scope="ann")
        assert await store.load("talk", scope="bob") is None
        assert await store.load_entries("talk", scope="bob") is None
        conversation = await store.load("talk", scope="ann")
        with pytest.raises(ConversationConflict):
            await store.save(conversation, scope="bob")
        await store.delete("talk", scope="bob")
        assert await store.load("talk") is not None
        with pytest.raises(UserError):
            await store.fork("talk", source_scope="bob")
        await store.delete("talk", scope="ann")
        assert await store.load("talk") is None

    async def test_conversations_are_listed_newest_first(self, store):
        for number in range(6):
            scope = "even" if number % 2 == 0 else "odd"
            await store.save(talk("a", conversation_id=f"talk {number}"), scope=scope)
        first = await store.load("talk 0")
        first.messages.append(said("b"))
        await store.save(first)

        async def listed(**options):
            return [record.conversation_id for record in await store.list_conversations(**options)]

        assert await listed() == ["talk 0", "talk 5", "talk 4", "talk 3", "talk 2", "talk 1"]
        assert await listed(limit=2) == ["talk 0", "talk 5"]
        assert await listed(limit=0) == []
        assert await listed(scope="even") == ["talk 0", "talk 4", "talk 2"]
        assert await listed(scope="odd", limit=1) == ["talk 5"]
        assert await listed(scope="none") == []
        with pytest.raises(UserError):
            await listed(limit=-1)

    async def test_changing_what_was_given_or_loaded_changes_nothing_stored(self, store):
        conversation = talk("a")
        await store.save(conversation)
        conversation.messages[0].parts[0].content = "changed"
        loaded = await store.load("talk")
        assert texts(loaded.messages) == ["a"]
        loaded.messages[0].parts[0].content = "changed"
        (record,) = await store.list_conversations()
        record.branches.append("x")
        assert texts((await store.load("talk")).messages) == ["a"]
        assert (await store.read_record("talk")).branches == []

    async def test_an_empty_conversation_is_a_conversation(self, store):
        await store.save(talk())
        assert (await store.load("talk")).messages == []
        assert await store.load_entries("talk") == []
        assert (await store.read_record("talk")).head_id is None

    async def test_a_delete_of_an_older_revision_conflicts(self, store):
        record = await store.read_record((await saved(store, "a")).conversation_id)
        conversation = await store.load("talk")
        conversation.messages.append(said("b"))
        await store.save(conversation)
        for revision in (record.revision, "none"):
            with pytest.raises(ConversationConflict):
                await store.delete_record("talk", expected_revision=revision)
        with pytest.raises(ConversationConflict):
            await store.delete_record("other", expected_revision=record.revision)


# --- compared, whatever is done ------------------------------------------------------------------

names = st.sampled_from(["one", "two"])
steps = st.one_of(
    st.tuples(st.just("save"), names, st.integers(0, 3)),
    st.tuples(st.just("rewrite"), names, st.integers(0, 3)),
    st.tuples(st.just("stale"), names),
    st.tuples(st.just("branch"), names, st.integers(0, 6)),
    st.tuples(st.just("back"), names, st.integers(0, 3)),
    st.tuples(st.just("fork"), names, names, st.integers(0, 6)),
    st.tuples(st.just("delete"), names),
)


async def take(store, step, number):  # noqa: PLR0911 -- one for each kind of step
    """One step; what a user sees of its outcome."""
    kind, name, *more = step
    conversation = await store.load(name) or Conversation(conversation_id=name)
    match kind:
        case "save":
            conversation.messages += [said(f"{number}.{each}") for each in range(more[0])]
            return len(await store.save(conversation))
        case "rewrite":
            messages = [*conversation.messages[: more[0]], said(f"rewritten {number}")]
            rewritten = Conversation(messages=messages, conversation_id=name, revision=conversation.revision)
            return len(await store.save(rewritten))
        case "stale":
            conversation.messages.append(said(f"{number}"))
            await store.save(dataclasses.replace(conversation))
            return await store.save(conversation)
        case "branch":
            return len(
                (await store.branch(name, at=more[0], expected_revision=conversation.revision)).messages
            )
        case "back":
            record = await store.read_record(name)
            tips = [] if record is None else record.branches
            tip = tips[more[0] % len(tips)] if tips else "none"
            return len(
                (await store.branch(name, from_entry=tip, expected_revision=conversation.revision)).messages
            )
        case "fork":
            return len((await store.fork(name, at=more[1], new_conversation_id=more[0])).messages)
        case _:
            return await store.delete(name)


async def seen(store):
    """All that a user can see of a store, without ids."""
    found = []
    for record in await store.list_conversations():
        lines = [
            texts(e.message for e in await store.read_history(tip))
            for tip in [record.head_id, *record.branches]
        ]
        found.append((record.conversation_id, record.forked_from, lines))
    return found


@given(st.lists(steps, max_size=12))
@settings(max_examples=25, deadline=None)
def test_whatever_is_done_ours_shows_what_theirs_shows(tmp_path_factory, done):
    """Spec D9: the same steps, and after each the same outcome and the same conversations."""

    async def compare():
        path = tmp_path_factory.mktemp("compared") / "a.db"
        async with SessionManager(path, auto_cleanup=False) as manager:
            stores = [
                InMemoryConversationStore(),
                PrepaidConversationStore(await manager.create_session("ann", "1 USD")),
            ]
            for number, step in enumerate(done):
                outcomes = []
                for store in stores:
                    try:
                        outcomes.append(await take(store, step, number))
                    except UserError as error:
                        outcomes.append(type(error))
                assert outcomes[0] == outcomes[1], step
                assert await seen(stores[0]) == await seen(stores[1]), step
            assert (await count_entries(manager)) == len(stores[0]._entries)
            await refs_are_right(manager)

    asyncio.run(compare())


async def count_entries(manager):
    (count,) = manager._workspace.store.reads.row("SELECT count(*) FROM conversation_entry")
    return count


async def refs_are_right(manager):
    """An entry knows how many point at it, and parents are older than their children."""
    reads = manager._workspace.store.reads
    entries = reads.rows("SELECT id, parent, refs FROM conversation_entry")
    pointed_at = Counter(parent for _, parent, _ in entries)
    for head, branches in reads.rows("SELECT head, branches FROM conversation"):
        pointed_at.update([head, *json.loads(branches)])
    assert [each for each in entries if each[1] is not None and each[1] >= each[0]] == []
    assert [each for each in entries if each[2] != pointed_at[each[0]]] == []


# --- what only ours promises ---------------------------------------------------------------------


async def test_another_sessions_conversation_does_not_exist(manager, ours):
    """Spec D9: owned. Spec A5."""
    await saved(ours, "secret")
    entries = await ours.load_entries("talk")
    for user in ("ann", "bob"):
        other = PrepaidConversationStore(await manager.create_session(user, "1 USD"))
        assert await other.load("talk") is None
        assert await other.list_conversations() == []
        with pytest.raises(LookupError):
            await other.read_entry(entries[0].id)
        with pytest.raises(LookupError):
            await other.read_history(entries[0].id)
        with pytest.raises(UserError):
            await other.fork("talk")
        stolen = ConversationRecord(conversation_id="mine", head_id=entries[0].id)
        with pytest.raises(ConversationConflict):
            await other.write_record(stolen, expected_revision=None)
        await other.save(talk("own"))
        await other.delete("talk")
    assert texts((await ours.load("talk")).messages) == ["secret"]


async def test_a_handle_of_somebody_else_opens_nothing(session, manager):
    foreign = type(session)(manager._workspace, type(session._payer)(session.session_id, "bob", "USD"))
    with pytest.raises(SessionNotFound):
        PrepaidConversationStore(foreign)


async def test_conversations_survive_a_restart(where):
    """Spec D9: persisted."""
    async with SessionManager(where) as manager:
        session = await manager.create_session("ann", "1 USD")
        conversation = talk("a", "b")
        await PrepaidConversationStore(session).save(conversation)
    async with SessionManager(where) as manager:
        store = PrepaidConversationStore(manager.get_session(session.session_id, "ann"))
        loaded = await store.load("talk")
        assert loaded == conversation
        loaded.messages.append(said("c"))
        await store.save(loaded)
        assert len(await store.load_entries("talk")) == 3


async def test_conversations_are_saved_and_restored_with_their_session(session, ours, tmp_path):
    """Spec C10, D9."""
    conversation = await saved(ours, "a", "b", "c", scope="s")
    branched = await ours.branch("talk", at=1, expected_revision=conversation.revision)
    await ours.fork("talk", new_conversation_id="fork")
    data = await session.serialize()
    async with SessionManager(tmp_path / "new.db") as elsewhere:
        store = PrepaidConversationStore(await elsewhere.deserialize_session("ann", data))
        assert await seen(store) == await seen(ours)
        assert await store.load("talk") == branched
        assert (await store.read_record("talk")).scope == "s"
        await refs_are_right(elsewhere)
        await store.delete("talk")
        await store.delete("fork")
        assert await count_entries(elsewhere) == 0


async def test_a_conflict_leaves_no_entry_behind(manager, ours):
    conversation = await saved(ours, "a")
    stale = await ours.load("talk")
    conversation.messages.append(said("b"))
    await ours.save(conversation)
    before = await count_entries(manager)
    stale.messages += [said("x"), said("y")]
    with pytest.raises(ConversationConflict):
        await ours.save(stale)
    assert await count_entries(manager) == before


async def test_entries_that_point_nowhere_conflict(ours):
    lost = ConversationEntry(parent_id="gone", message=said("a"))
    record = ConversationRecord(conversation_id="talk", head_id=lost.id)
    with pytest.raises(ConversationConflict):
        await ours.write_record(record, new_entries=[lost], expected_revision=None)
    whole = ConversationEntry(parent_id=None, message=said("a"))
    record = ConversationRecord(conversation_id="talk", head_id=whole.id, branches=["gone"])
    with pytest.raises(ConversationConflict):
        await ours.write_record(record, new_entries=[whole], expected_revision=None)
    record = ConversationRecord(conversation_id="talk", head_id=whole.id)
    with pytest.raises(ConversationConflict):
        await ours.write_record(record, new_entries=[whole, whole], expected_revision=None)
    assert await ours.list_conversations() == []


async def test_a_session_that_has_ended_takes_no_changes(session, ours):
    conversation = await saved(ours, "a")
    await session.close()
    conversation.messages.append(said("b"))
    with pytest.raises(SessionAlreadyClosed):
        await ours.save(conversation)
    with pytest.raises(SessionAlreadyClosed):
        await ours.delete("talk")
    assert texts((await ours.load("talk")).messages) == ["a"]


@pytest.mark.parametrize(
    "wrong",
    ["", "x" * 1025, "🙂" * 257, "\ud800"],
    ids=["empty", "long", "long in bytes", "half a surrogate"],
)
async def test_an_id_that_cannot_be_kept_is_refused(ours, wrong):
    error = ValueTooLarge if len(wrong) > 1 else InvalidRequestError
    with pytest.raises(error):
        await ours.save(talk("a", conversation_id=wrong))
    with pytest.raises(error):
        await ours.load(wrong)


async def test_a_message_too_long_is_refused(ours, monkeypatch):
    monkeypatch.setattr("prepaid.integrations.parts.BODY_BYTES_MAX", 2_000)
    with pytest.raises(ValueTooLarge, match="2000"):
        await ours.save(talk("x" * 2_001))


@pytest.mark.parametrize("database", ["sqlite"])
async def test_what_pydantic_ai_does_not_understand_any_more_names_the_session(manager, session, ours):
    """As a downgrade, or forged saved data, may leave it."""
    await saved(ours, "a")
    for table, column in (("conversation_entry", "body"), ("conversation", "record")):
        manager._workspace.store._writer._unit.run(f"UPDATE {table} SET {column} = '[7]'")
        with pytest.raises(SessionDataUnreadable, match=session.session_id):
            await ours.load("talk")


async def test_a_cancelled_save_is_done_or_not(ours):
    """Who cancels finds it settled."""
    task = asyncio.ensure_future(
        ours.write_record(ConversationRecord(conversation_id="talk", head_id=None), expected_revision=None)
    )
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await ours.read_record("talk") is not None


@pytest.mark.parametrize("database", ["sqlite"])
async def test_a_long_history_is_read_from_its_end(manager, ours):
    """The last messages cost as much of ten as of thousands: no row before them is read."""
    await saved(ours, *(str(number) for number in range(2_000)))
    await refs_are_right(manager)
    reads = manager._workspace.store.reads
    (record,) = await ours.list_conversations()
    plan = reads.rows(
        "EXPLAIN QUERY PLAN " + conversation_reads._LINE,
        ("s", record.head_id, 10),
    )
    assert not [step for *_, step in plan if step.startswith("SCAN") and "line" not in step]
    assert texts((await ours.load("talk", limit=3)).messages) == ["1997", "1998", "1999"]
    await ours.delete("talk")
    assert await count_entries(manager) == 0


async def test_the_books_are_not_touched(manager, ours):
    await saved(ours, "a", "b")
    assert (await manager._workspace.store.report(audit)).is_clean


def test_a_time_without_a_zone_is_this_machines():
    aware = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=7)
    record = ConversationRecord(conversation_id="talk", head_id=None, updated_at=aware)
    naive = dataclasses.replace(record, updated_at=aware.astimezone().replace(tzinfo=None))
    assert _to_conversation(record).updated_us == _to_conversation(naive).updated_us == 1767225600000007
