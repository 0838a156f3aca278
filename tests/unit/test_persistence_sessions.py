"""Spec C10: sessions as data, and back from it, with everything but money."""

from __future__ import annotations

import asyncio
import copy
import json
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prepaid import AgentConfig, SessionManager
from prepaid.audit import audit
from prepaid.errors import (
    AuthenticationError,
    InsufficientFunds,
    InvalidRequestError,
    PrepaidError,
    SessionAlreadyClosed,
    SessionDataUnreadable,
    SessionLimitReached,
    SessionNotFound,
)
from prepaid.records import Message, Role, ToolCall
from prepaid.sessions.persistence import FileAdapter
from prepaid.sessions.saved_data import read_saved
from prepaid.store.operations import AddItems, AppendMessages, Conversation, Entry, SaveConversation


@pytest.fixture
async def manager(tmp_path):
    async with SessionManager(tmp_path / "here.db", auto_cleanup=False) as manager:
        yield manager


@pytest.fixture
async def elsewhere(tmp_path):
    """Another database: what a disaster leaves."""
    async with SessionManager(tmp_path / "elsewhere.db", auto_cleanup=False) as manager:
        yield manager


async def rich_session(manager, user="ann"):
    """A session with something of everything."""
    session = await manager.create_session(
        user,
        "10 USD",
        session_name="Süpport",
        metadata={"deep": [{"a": None}], "n": 1.5},
        preferences={"language": "de"},
        tags=["work", "urgent"],
        expires_at=timedelta(days=3),
    )
    config = AgentConfig(temperature=0.0, max_output_tokens=50, fallback_models=("offline",), debug=True)
    first = await session.create_new_chat(
        chat_name="First", agent_config=config, system_prompt="Be brief.", max_messages=40, metadata={"x": 1}
    )
    await first.send_message("Hello")
    await first.send_message("Again")
    second = await session.create_new_chat(chat_name="Second", tags=["b"])
    calls = (ToolCall("c1", "look", '{"q": "ü"}'),)
    used = (Message(Role.ASSISTANT, "", calls), Message(Role.TOOL, "found\n", tool_call_id="c1"))
    await manager._workspace.store.submit(AppendMessages(session.session_id, user, second.chat_no, used))
    await second.send_message("So?")
    await session.switch_to_chat(first.chat_id)
    await keep_for_other_libraries(manager, session)
    return session


async def keep_for_other_libraries(manager, session):
    submit, names = manager._workspace.store.submit, (session.session_id, session.user_id)
    entries = (Entry("e1", None, "[1]"), Entry("e2", "e1", "[2]"), Entry("e3", "e1", "[3]"))
    kept = Conversation("talk", "r1", "e2", ("e3",), "scope", 1_700_000_000_000_000, '{"a": 1}')
    assert await submit(SaveConversation(*names, kept, None, entries))
    fork = Conversation("fork", "r2", "e1", (), None, 1_700_000_000_000_001, "{}")
    assert await submit(SaveConversation(*names, fork, None))
    await submit(AddItems(*names, 0, ('{"role": "user"}',)))
    await submit(AddItems(*names, 2, ('{"n": 1}', '{"n": 2}')))


async def is_clean(manager):
    report = await manager._workspace.store.report(audit)
    assert report.is_clean, str(report)


def without_account(data):
    return {name: value for name, value in data.items() if name != "account"}


async def test_a_session_is_data_that_json_can_carry(manager):
    """Spec C10: serialize."""
    session = await rich_session(manager)
    data = await session.serialize()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert (data["session_id"], data["user_id"], data["name"]) == (session.session_id, "ann", "Süpport")
    assert [len(chat["messages"]) for chat in data["chats"]] == [4, 4]
    assert data["chats"][0]["config"]["system_prompt"] == "Be brief."
    assert data["account"]["available"] == session.available
    assert session.api_key.split("_")[-1] not in json.dumps(data)


async def test_it_comes_back_whole_and_without_money(manager, elsewhere):
    """Spec C10: same id, chats, configuration and messages; a snapshot never mints money."""
    session = await rich_session(manager)
    data = await session.serialize()
    restored = await elsewhere.deserialize_session("ann", json.loads(json.dumps(data)))
    assert restored.session_id == session.session_id
    again = await restored.serialize()
    assert without_account(again) == without_account(data)
    assert {again["account"][name] for name in ("funded", "available", "held", "spent", "refunded")} == {0}
    await is_clean(elsewhere)


async def test_it_goes_on_once_it_is_funded(manager, elsewhere):
    data = await (await rich_session(manager)).serialize()
    restored = await elsewhere.deserialize_session("ann", data)
    chat = restored.current_chat
    with pytest.raises(InsufficientFunds):
        await chat.send_message("Hello?")
    await restored.fund("1 USD")
    await chat.send_message("Hello?")
    assert [stored.seq for stored in await chat.get_history()] == [1, 2, 3, 4, 5, 6]
    assert (await restored.create_new_chat()).chat_no == 3
    assert [found.session_id for found in await elsewhere.get_user_sessions("ann", tag="urgent")] == [
        restored.session_id
    ]
    await restored.close()
    await is_clean(elsewhere)


async def test_its_old_api_key_opens_nothing(manager, elsewhere):
    session = await rich_session(manager)
    restored = await elsewhere.deserialize_session("ann", await session.serialize())
    with pytest.raises(AuthenticationError):
        await elsewhere.authenticate(session.api_key)
    assert (
        await elsewhere.authenticate((await elsewhere.create_api_key(session_id=restored.session_id)).api_key)
    ).session_id == session.session_id


async def test_the_store_is_the_truth(manager):
    """Spec C10: where the session is still there, nothing is overwritten."""
    session = await rich_session(manager)
    old = await session.serialize()
    await session.send_message("Newer than the data")
    available, now = session.available, await session.serialize()
    old["name"], old["chats"][0]["messages"] = "Forged", []
    found = await manager.deserialize_session("ann", old)
    assert (found.session_id, found.available) == (session.session_id, available)
    assert await session.serialize() == now


async def test_a_closed_session_stays_closed(manager, elsewhere):
    session = await rich_session(manager)
    live = await session.serialize()
    await session.close()
    assert (await manager.deserialize_session("ann", live)).state.label == "closed"
    restored = await elsewhere.deserialize_session("ann", await session.serialize())
    assert restored.state.label == "closed"
    with pytest.raises(SessionAlreadyClosed):
        await restored.fund("1 USD")
    assert len(await restored.get_chats()) == 2
    await is_clean(elsewhere)


async def test_a_paused_session_stays_paused(manager, elsewhere):
    session = await rich_session(manager)
    await session.pause()
    restored = await elsewhere.deserialize_session("ann", await session.serialize())
    assert restored.state.label == "paused"
    await is_clean(elsewhere)


async def test_restoring_twice_at_once_makes_one(manager, elsewhere):
    data = await (await rich_session(manager)).serialize()
    restored = await asyncio.gather(*(elsewhere.deserialize_session("ann", data) for _ in range(8)))
    assert len({session.session_id for session in restored}) == 1
    assert len(await elsewhere.get_user_sessions("ann")) == 1
    await is_clean(elsewhere)


async def test_a_limit_holds_for_restored_sessions_too(manager, tmp_path):
    """Spec C11."""
    data = await (await rich_session(manager)).serialize()
    async with SessionManager(tmp_path / "full.db", max_sessions_per_user=1) as full:
        await full.create_session("ann", "1 USD")
        with pytest.raises(SessionLimitReached):
            await full.deserialize_session("ann", data)


async def test_somebody_elses_data_is_nothing(manager, elsewhere):
    """Spec A5, C10."""
    session = await rich_session(manager)
    data = await session.serialize()
    for where in (manager, elsewhere):
        with pytest.raises(SessionNotFound):
            await where.deserialize_session("bob", data)
    forged = data | {"user_id": "bob"}
    with pytest.raises(SessionNotFound):
        await manager.deserialize_session("bob", forged)
    assert await elsewhere.get_user_sessions("ann") == []


# --- what cannot be read -------------------------------------------------------------------------


def at(path, value):
    """Change one place of the data; ``...`` removes it."""

    def change(data):
        *steps, last = path
        for step in steps:
            data = data[step]
        if value is ...:
            del data[last]
        else:
            data[last] = value

    return change


HOSTILE = {
    "no format": at(["format"], ...),
    "another format": at(["format"], "pickle"),
    "a newer version": at(["version"], 2),
    "no id": at(["session_id"], ...),
    "a deposit's id": at(["session_id"], "deposit:ann"),
    "an id of a file": at(["session_id"], "../../etc/passwd"),
    "no user": at(["user_id"], ""),
    "a state that is none": at(["state"], "rich"),
    "a deposit's state": at(["state"], "deposit"),
    "metadata that is no object": at(["metadata"], [1]),
    "metadata that is huge": at(["metadata"], {"x": "y" * 70_000}),
    "metadata that is no JSON": at(["metadata"], {"x": {1, 2}}),
    "not a number": at(["preferences"], {"x": float("nan")}),
    "a name with control characters": at(["name"], "a\nb"),
    "too many tags": at(["tags"], [str(n) for n in range(40)]),
    "a truth that is a word": at(["auto_save"], "yes"),
    "a time before time": at(["created_ms"], -1),
    "a time after time": at(["expires_ms"], 10**18),
    "a time that is text": at(["created_ms"], "0"),
    "a time that is a float": at(["created_ms"], 1.5),
    "a current chat that is not there": at(["current_chat"], 9),
    "chats that are no list": at(["chats"], {}),
    "a chat's number twice": at(["chats", 1, "chat_no"], 1),
    "a chat's number 0": at(["chats", 0, "chat_no"], 0),
    "a chat without messages": at(["chats", 0, "messages"], ...),
    "a role that is none": at(["chats", 0, "messages", 0, "role"], "root"),
    "a text that is a number": at(["chats", 0, "messages", 0, "text"], 1),
    "half a surrogate": at(["chats", 0, "messages", 0, "text"], "\ud800"),
    "turns in disorder": at(["chats", 0, "messages", 0, "turn"], 2),
    "more turns than there were": at(["chats", 0, "turn_count"], 1),
    "a limit below a turn": at(["chats", 0, "message_max"], 1),
    "a tool call without a name": at(["chats", 1, "messages", 0, "tool_calls"], [{"id": "1"}]),
    "an output limit of nothing": at(["chats", 0, "config", "max_output_tokens"], 0),
    "a temperature that is text": at(["chats", 0, "config", "temperature"], "hot"),
    "an endless temperature": at(["chats", 0, "config", "temperature"], float("inf")),
    "an entry twice": at(["entries", 1, "entry_id"], "e1"),
    "an entry before its parent": at(["entries", 0, "parent_id"], "e2"),
    "an entry of nobody": at(["conversations", 0, "branches"], []),
    "a conversation that ends nowhere": at(["conversations", 0, "head_id"], "e9"),
    "a conversation twice": at(["conversations", 0, "conversation_id"], "fork"),
    "items of no chat": at(["items", 1, "chat_no"], 7),
    "items twice": at(["items", 1, "chat_no"], 0),
}


@pytest.fixture(scope="module")
def rich_data(tmp_path_factory):
    async def serialized():
        async with SessionManager(tmp_path_factory.mktemp("rich") / "a.db", auto_cleanup=False) as manager:
            return await (await rich_session(manager)).serialize()

    return asyncio.run(serialized())


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_data_is_refused(rich_data, name):
    """Spec C10: malformed or hostile data names the session."""
    data = copy.deepcopy(rich_data)
    assert read_saved(data)
    HOSTILE[name](data)
    with pytest.raises(SessionDataUnreadable, match="The saved data of session") as error:
        read_saved(data)
    assert error.value.session_id == data.get("session_id", "?")


async def test_refused_data_changes_nothing(elsewhere, rich_data):
    for change in HOSTILE.values():
        data = copy.deepcopy(rich_data)
        change(data)
        with pytest.raises(SessionDataUnreadable):
            await elsewhere.deserialize_session("ann", data)
    assert await elsewhere.list_sessions() == []
    await is_clean(elsewhere)


@pytest.mark.parametrize("data", [None, [], "text", 7, {}, {"format": "prepaid-session"}], ids=repr)
async def test_what_is_no_session_at_all_is_refused(elsewhere, data):
    with pytest.raises(SessionDataUnreadable):
        await elsewhere.deserialize_session("ann", data)


async def test_figures_are_not_believed(manager, elsewhere):
    """Spec C10: whatever the data claims of its account."""
    data = await (await rich_session(manager)).serialize()
    for account in ({"available": 10**15}, {}, None, "rich"):
        restored = await elsewhere.deserialize_session("ann", data | {"account": account})
        assert restored.account.available == restored.account.funded == 0


async def test_what_an_adapter_adds_is_left_alone(manager, elsewhere):
    data = await (await rich_session(manager)).serialize()
    await elsewhere.deserialize_session("ann", data | {"_id": "of MongoDB", "_rev": 3})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SAMPLE = {
    "format": "prepaid-session",
    "version": 1,
    "session_id": "ses_0123456789abcdefghjkmn",
    "user_id": "ann",
    "state": "active",
    "name": "",
    "metadata": {},
    "preferences": {},
    "tags": [],
    "auto_save": True,
    "created_ms": 0,
    "closed_ms": None,
    "expires_ms": None,
    "idle_ms": None,
    "current_chat": 0,
    "chats": [],
}


def test_the_sample_can_be_read():
    assert read_saved(SAMPLE).session_id == SAMPLE["session_id"]


@given(st.sampled_from(sorted(SAMPLE)), json_values)
@settings(max_examples=300)
def test_whatever_stands_in_a_field_it_is_read_or_refused(field, value):
    try:
        read_saved(SAMPLE | {field: value})
    except SessionDataUnreadable as error:
        said = str(error)
    else:
        said = ""
    assert len(said) < 600  # the data itself is not repeated


@given(json_values)
def test_whatever_is_loaded_is_read_or_refused(value):
    with pytest.raises(SessionDataUnreadable):
        read_saved(value)


# --- recovery ------------------------------------------------------------------------------------


async def test_all_of_a_users_sessions_come_back_but_the_unreadable_ones(tmp_path):
    """Spec C10: a clear error naming the session, the rest recovered."""
    adapter = FileAdapter(tmp_path / "saved")
    async with SessionManager(tmp_path / "lost.db", persistence_adapter=adapter) as manager:
        sessions = [await rich_session(manager) for _ in range(4)]
        await rich_session(manager, "bob")
    torn, mixed = sessions[1].session_id, sessions[2].session_id
    files = tmp_path / "saved" / "sessions"
    (files / f"{torn}.json").write_text((files / f"{torn}.json").read_text()[:500])
    (files / f"{mixed}.json").write_text((files / f"{sessions[0].session_id}.json").read_text())
    async with SessionManager(tmp_path / "new.db", persistence_adapter=adapter) as manager:
        recovered = await manager.recover_user_sessions("ann")
        assert [each.session_id for each in recovered.sessions] == [
            sessions[0].session_id,
            sessions[3].session_id,
        ]
        assert set(recovered.errors) == {torn, mixed}
        for session_id, error in recovered.errors.items():
            assert isinstance(error, SessionDataUnreadable)
            assert session_id in str(error)
        assert (await manager.recover_user_sessions("nobody")).sessions == ()
        await is_clean(manager)


async def test_a_forged_file_does_not_give_anothers_session(tmp_path):
    adapter = FileAdapter(tmp_path / "saved")
    async with SessionManager(tmp_path / "here.db", persistence_adapter=adapter) as manager:
        session = await rich_session(manager)
        data = await session.serialize()
        await adapter.save(session.session_id, data | {"user_id": "bob"})
        recovered = await manager.recover_user_sessions("bob")
        assert recovered.sessions == ()
        assert isinstance(recovered.errors[session.session_id], SessionNotFound)


async def test_an_adapter_that_fails_to_load_one_keeps_none_of_the_others(tmp_path, manager):
    class Failing(FileAdapter):
        async def load(self, session_id):
            if session_id == sessions[0].session_id:
                raise ConnectionError("the network is down")
            return await super().load(session_id)

    adapter = Failing(tmp_path / "saved")
    sessions = [await rich_session(manager) for _ in range(2)]
    for session in sessions:
        await adapter.save(session.session_id, await session.serialize())
    async with SessionManager(tmp_path / "new.db", persistence_adapter=adapter) as new:
        recovered = await new.recover_user_sessions("ann")
        assert [each.session_id for each in recovered.sessions] == [sessions[1].session_id]
        error = recovered.errors[sessions[0].session_id]
        assert "ConnectionError: the network is down" in str(error)


async def test_without_an_adapter_it_says_what_to_do(manager):
    session = await manager.create_session("ann", "1 USD")
    for call in (session.save(), manager.recover_user_sessions("ann")):
        with pytest.raises(InvalidRequestError, match="persistence_adapter"):
            await call


async def test_a_handle_of_somebody_else_serializes_nothing(manager):
    session = await manager.create_session("ann", "1 USD")
    foreign = type(session)(manager._workspace, type(session._payer)(session.session_id, "bob", "USD"))
    for call in (foreign.serialize(), foreign.save()):
        with pytest.raises(PrepaidError):
            await call


async def test_a_file_that_the_first_version_wrote_can_still_be_read(elsewhere):
    """The format is a promise: this text must never be changed."""
    restored = await elsewhere.deserialize_session("ann", json.loads(VERSION_1))
    assert [stored.message.text for stored in await restored.current_chat.get_history()] == ["Hi", "Hello"]
    assert (await restored.current_chat.get_stats()).average_response_time == 0.002


VERSION_1 = """{"format":"prepaid-session","version":1,"session_id":"ses_01m7y807k7nfe3zvwzk7mk","user_id":"ann",
"state":"active","name":"w","metadata":{"x":1},"preferences":{},"tags":["a"],"auto_save":true,
"created_ms":1795237617167,"closed_ms":null,"expires_ms":null,"idle_ms":86400000,"current_chat":1,"chats":[
{"chat_no":1,"name":"A","config":{"system_prompt":"p","attached":true},"metadata":{},"tags":[],"message_max":null,
"created_ms":1795237617180,"last_ms":1795237617190,"turn_count":1,"answering_ms":2,"messages":[
{"turn":1,"at_ms":1795237617190,"role":"user","text":"Hi"},
{"turn":1,"at_ms":1795237617190,"role":"assistant","text":"Hello"}]}],
"entries":[],"conversations":[],"items":[],"account":{"asset":"USD","funded":10000000}}"""
