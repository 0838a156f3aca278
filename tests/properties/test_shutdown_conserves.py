"""Whatever readers do while a manager is shut down: paid as delivered, saved whole, nothing held (spec N5, P3)."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from managers import opened
from paying.models import END, Scripted
from prepaid import AgentConfig, AIRequest, Answer, ManagerClosed, SessionManager, TextDelta
from prepaid.config import Settings
from prepaid.models.offline import count_tokens
from prepaid.records import RequestState, Role

FUNDED = 1_000_000
CHATS = 3
"""The last of them has a tool, and answers through an agent."""


class Ticking(Scripted):
    """To ``say 5 0 #7`` it says five words, and between two of them lets the event loop turn as often as told."""

    def __init__(self) -> None:
        super().__init__([END])

    async def stream(self, request):
        question = next(each.text for each in reversed(request.messages) if each.role is Role.USER)
        _, words, ticks, _ = question.split()
        for number in range(int(words)):
            for _ in range(int(ticks)):
                await asyncio.sleep(0)
            yield TextDelta(f"w{number} ")
        yield END


@dataclass(frozen=True)
class Reader:
    """One question: where, how it is asked, how many pieces are taken, and what its reader does then."""

    chat: int
    way: str
    words: int
    ticks: int
    takes: int
    then: str


readers = st.builds(
    Reader,
    chat=st.integers(1, CHATS),
    way=st.sampled_from(["stream", "stream", "send", "ask", "start"]),
    words=st.integers(1, 30),
    ticks=st.integers(0, 8),
    takes=st.integers(1, 12),
    then=st.sampled_from(["close", "cancel", "drop", "dawdle", "go on"]),
)


@dataclass
class Seen:
    question: str
    chat: int
    got: str = ""
    cost: int | None = None


def a_tool() -> str:
    """Never called."""
    return ""


async def read(manager, session, reader, seen):
    chat = session.get_chat(reader.chat)
    if reader.way == "send":
        await chat.send_message(seen.question)
    elif reader.way == "ask":
        response = await manager.ask(session, AIRequest(seen.question))
        seen.chat, seen.cost = 0, response.cost
    elif reader.way == "start":
        await manager.start_request(session, AIRequest(seen.question))
    else:
        await take(chat.stream_message(seen.question), reader, seen)


async def take(events, reader, seen):
    if reader.then in ("drop", "dawdle"):
        await taken(events, reader, seen)
    else:
        async with aclosing(events):
            await taken(events, reader, seen)


async def taken(events, reader, seen):
    left = reader.takes
    async for event in events:
        if isinstance(event, Answer):
            return
        seen.got += event.text
        left -= 1
        if not left and reader.then in ("close", "drop"):
            return
        if not left and reader.then == "dawdle":
            await asyncio.Event().wait()
        if not left and reader.then == "cancel":
            asyncio.current_task().cancel()


async def first(path, plan, turns, seconds):
    model = Ticking()
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    manager = SessionManager(settings=options(path), models=[model])
    session = await manager.create_session("ann", FUNDED)
    for number in range(CHATS):
        tools = [a_tool] if number == CHATS - 1 else []
        await session.create_new_chat(agent_config=AgentConfig(tools=tools))
    all_seen = [
        Seen(
            f"say {reader.words} {reader.ticks} #{number}",
            0 if reader.way in ("ask", "start") else reader.chat,
        )
        for number, reader in enumerate(plan)
    ]
    tasks = [
        asyncio.ensure_future(read(manager, session, reader, seen))
        for reader, seen in zip(plan, all_seen, strict=True)
    ]
    for _ in range(turns):
        await asyncio.sleep(0)
    await manager.shutdown(seconds)
    assert not manager._workspace.meter.running
    for task in tasks:
        if not task.done():
            await asyncio.sleep(0)
        if not task.done():  # it dawdles for ever
            task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    wrong = [each for each in outcomes if not isinstance(each, ManagerClosed | asyncio.CancelledError | None)]
    assert wrong == []
    assert complaints == []
    return session.session_id, all_seen


def options(path):
    return Settings(
        database=str(path),
        default_model="scripted",
        default_output_tokens=100,
        sessions={"auto_cleanup": False},
    )


async def then(path, session_id, all_seen):
    top = {"default_model": "scripted"}
    async with opened(path, models=[Ticking()], top=top) as manager:
        session = manager.get_session(session_id)
        assert session.account.held == 0
        saved = {}
        for number in range(1, CHATS + 1):
            messages = [each.message for each in await session.get_chat(number).get_history(limit=1_000)]
            assert [each.role for each in messages] == [Role.USER, Role.ASSISTANT] * (len(messages) // 2)
            pairs = zip(messages[::2], messages[1::2], strict=True)
            saved |= {(number, asked.text): said.text for asked, said in pairs}
        least = 0
        for seen in all_seen:
            said = saved.get((seen.chat, seen.question), "")
            assert said.startswith(seen.got), seen
            least += price_of(seen, said)
        asked = manager.get_requests(session, limit=100)
        assert all(each.status is not RequestState.PENDING for each in asked), asked
        least += sum(each.response.cost for each in asked if each.response is not None)
        assert session.account.spent >= least
        assert session.account.spent <= most(all_seen)
        for number in range(1, CHATS + 1):
            chat = session.get_chat(number)
            if number == CHATS:
                chat.attach(tools=[a_tool])
            answer = await asyncio.wait_for(chat.send_message("say 2 0 #x"), 120)
            assert answer.text == "w0 w1 "


def price_of(seen, said):
    if seen.cost is not None:
        return seen.cost
    return count_tokens(seen.question) + 2 * count_tokens(said) if said else 0


def most(all_seen):
    """No request costs more than its hold; in a chat it sees what was said before."""
    history = sum(count_tokens(seen.question) + 2 * 60 for seen in all_seen)
    return len(all_seen) * (history + 2 * 100 + 200)


@settings(max_examples=60)
@given(
    plan=st.lists(readers, min_size=1, max_size=12),
    turns=st.integers(0, 1_500),
)
def test_whatever_readers_do(plan, turns):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.db"
        session_id, all_seen = asyncio.run(first(path, plan, turns, 60))
        asyncio.run(then(path, session_id, all_seen))
