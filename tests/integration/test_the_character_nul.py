"""The character NUL, which PostgreSQL's text cannot have, at every door: kept as it is, or refused, on both databases.

What is refused changes nothing; what is kept can be carried to the other database and back.
"""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest
from pydantic_ai import Conversation
from pydantic_ai.messages import ModelRequest, UserPromptPart

from managers import opened, texts
from prepaid import AgentConfig
from prepaid.config import Settings
from prepaid.errors import PrepaidError, SessionDataUnreadable
from prepaid.integrations.openai_agents import PrepaidAgentsSession
from prepaid.integrations.pydantic_ai import PrepaidConversationStore
from prepaid.ledger import Ledger
from prepaid.moving import migrating
from prepaid.moving.places import opened as place_of

NUL = "a\0b"
DATA = {NUL: [NUL, {"deep": NUL}]}


async def fill(manager):
    """A session with that character wherever it is kept."""
    session = await manager.create_session("ann", "1 USD", metadata=DATA, preferences=DATA)
    config = AgentConfig(system_prompt=NUL)
    chat = await session.create_new_chat(metadata=DATA, agent_config=config)
    await chat.send_message(f"Say {NUL}", key="once")
    await manager.make_ai_request("ann", NUL, session_id=session.session_id)
    await PrepaidAgentsSession(session).add_items([{"role": "user", "content": NUL}])
    talk = Conversation(messages=[ModelRequest([UserPromptPart(NUL)])], conversation_id=NUL)
    await PrepaidConversationStore(session).save(talk, scope=NUL)
    return session.session_id


async def seen(manager, session_id):
    """All of it, as users get it."""
    session = manager.get_session(session_id, "ann")
    chat = session.get_chat(1)
    conversations = PrepaidConversationStore(session)
    (message,) = (await conversations.load(NUL, scope=NUL)).messages
    return {
        "data": [session.metadata, session.preferences, chat.metadata],
        "prompt": chat.config.system_prompt,
        "history": texts(await chat.get_history()),
        "again": (await chat.send_message(f"Say {NUL}", key="once")).text,
        "items": await PrepaidAgentsSession(session).get_items(),
        "talk": message.parts[0].content,
        "listed": [each.conversation_id for each in await conversations.list_conversations(scope=NUL)],
        "saved": await session.serialize(),
    }


async def test_what_is_kept_is_kept_as_it_is(where):
    async with opened(where) as manager:
        session_id = await fill(manager)
    async with opened(where) as manager:
        found = await seen(manager, session_id)
    assert found["data"] == [DATA, DATA, DATA]
    assert found["prompt"] == found["talk"] == NUL
    assert found["history"] == [f"Say {NUL}", found["again"]]
    assert found["items"] == [{"role": "user", "content": NUL}]
    assert found["listed"] == [NUL]


async def test_what_was_saved_elsewhere_comes_back(new_where):
    async with opened(new_where()) as manager:
        saved = (await seen(manager, await fill(manager)))["saved"]
    async with opened(new_where()) as manager:
        for part, field in (("entries", "body"), ("conversations", "record")):
            with pytest.raises(SessionDataUnreadable):
                await manager.deserialize_session("ann", saved | {part: [saved[part][0] | {field: NUL}]})
        with pytest.raises(SessionDataUnreadable):
            await manager.deserialize_session("ann", saved | {"items": [{"chat_no": 0, "items": [NUL]}]})
        session = await manager.deserialize_session("ann", saved)
        assert (await session.serialize()) | {"account": 0} == saved | {"account": 0}


DOORS = {
    "user": lambda manager, _: manager.create_session(NUL, 5),
    "session name": lambda manager, _: manager.create_session("ann", 5, session_name=NUL),
    "session tag": lambda manager, _: manager.create_session("ann", 5, tags=[NUL]),
    "session key": lambda manager, _: manager.create_session("ann", 5, key=NUL),
    "session by its key": lambda manager, _: manager.authenticate(NUL),
    "deposit": lambda manager, _: manager.deposit(NUL, 5),
    "pool": lambda manager, _: manager.get_from_pool(NUL),
    "key's name": lambda manager, _: manager.create_api_key(user_id="ann", name=NUL),
    "key's model": lambda manager, _: manager.create_api_key(user_id="ann", models=[NUL]),
    "key's holder": lambda manager, _: manager.create_api_key(session_id=NUL),
    "rotated key": lambda manager, _: manager.rotate_api_key(NUL),
    "chat's name": lambda _, session: session.create_new_chat(chat_name=NUL),
    "chat's tag": lambda _, session: session.create_new_chat(tags=[NUL]),
    "chat's model": lambda _, session: session.create_new_chat(agent_config=AgentConfig(current_model=NUL)),
    "chat": lambda _, session: session.switch_to_chat(NUL),
    "message's key": lambda _, session: session.send_message("Hello", key=NUL),
    "model": lambda manager, _: manager.make_ai_request("ann", "Hello", model=NUL),
    "asker": lambda manager, _: manager.make_ai_request(NUL, "Hello"),
    "paying session": lambda manager, _: manager.make_ai_request("ann", "Hello", session_id=NUL),
    "restarted session": lambda manager, _: manager.restart_session(NUL, "ann"),
    "ledger's session": lambda manager, _: ledger(manager).hold(NUL, "ann", 5),
    "ledger's owner": lambda manager, session: ledger(manager).hold(session.session_id, NUL, 5),
}


def ledger(manager):
    return Ledger(manager._workspace.store)


async def test_what_is_refused_changes_nothing(where):
    async with opened(where) as manager:
        session = await manager.create_session("ann", 500)
        for number, (door, ask) in enumerate(DOORS.items(), start=1):
            fine = asyncio.ensure_future(session.fund(5))
            with pytest.raises(PrepaidError) as refused:
                pytest.fail(f"{door}: {await ask(manager, session)}")
            assert refused.value.remedy, door
            assert not refused.value.retryable, door
            assert (await fine).available == 500 + 5 * number, "who came at the same time is served"
            assert manager.get_user_session_count("ann") == 1, door


@pytest.mark.slow
async def test_all_of_it_moves_to_the_other_database_and_back(tmp_path, postgres):
    url = postgres.new()
    first, last = tmp_path / "first.db", tmp_path / "last.db"
    async with opened(first) as manager:
        session_id = await fill(manager)
        before = await seen(manager, session_id)
    for left, reached in ((first, url), (url, last)):
        await asyncio.to_thread(move, left, reached)
        async with opened(reached) as manager:
            assert await seen(manager, session_id) == before
    postgres.drop(url)


def move(left, reached):
    with (
        closing(place_of(Settings(database=str(left)))) as source,
        closing(place_of(Settings(database=str(reached)))) as target,
    ):
        migrating.migrate(source, target)
