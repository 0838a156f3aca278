"""Sessions and chats of one file in four processes: ordered, bounded, and going on after one is killed (spec C5, C11, D1, D3)."""

from __future__ import annotations

import asyncio
import multiprocessing
import re
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor

import pytest

from managers import opened, store_of, texts
from prepaid import Answer, PrepaidError, RequestInProgress, verify_statement

PROCESSES = 4
LIMITS = {"max_sessions_per_user": 10, "max_active_sessions": 25, "max_chats_per_session": 6}


@pytest.fixture(scope="module")
def processes():
    """Four processes that stay for all tests here: starting one takes longer than a test."""
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture
def path(tmp_path):
    return tmp_path / "shared.db"


async def everywhere(processes, work, *arguments):
    """The same work in every process at once: what each one returned."""
    loop = asyncio.get_running_loop()
    running = [loop.run_in_executor(processes, work, number, *arguments) for number in range(PROCESSES)]
    return await asyncio.gather(*running)


def named(outcomes):
    """Results that can leave a process: texts, and the names of errors."""
    return [outcome.text if isinstance(outcome, Answer) else type(outcome).__name__ for outcome in outcomes]


def asks(number, path, chat_id, count, question, key=None):
    """``count`` questions at once, in one chat or (``{}`` in the id) in several."""

    async def ask(chat, text):
        while True:
            try:
                return await chat.send_message(text, key=key, max_output_tokens=30)
            except RequestInProgress:  # another process works on this very key: it may be asked again
                await asyncio.sleep(0.01)
            except PrepaidError as error:
                return error

    async def work():
        async with opened(path) as manager:
            session = manager.get_session(chat_id.split(".")[0], "ann")
            chats = [session.get_chat(chat_id.format(1 + n % 4)) for n in range(count)]
            asking = [ask(chat, question.format(p=number, n=n)) for n, chat in enumerate(chats)]
            return named(await asyncio.gather(*asking))

    return asyncio.run(work())


def creates(number, path, count):
    """Sessions for one user, and for one of each process, as many as may be."""

    async def work():
        async with opened(path, **LIMITS) as manager:
            users = ["ann", f"user{number}"] * count
            opening = [manager.create_session(user, 10) for user in users]
            return named(await asyncio.gather(*opening, return_exceptions=True))

    return asyncio.run(work())


def creates_chats(number, path, session_id, count):
    async def work():
        async with opened(path, **LIMITS) as manager:
            session = manager.get_session(session_id)
            opening = [session.create_new_chat() for _ in range(count)]
            return named(await asyncio.gather(*opening, return_exceptions=True))

    return asyncio.run(work())


def finds_or_creates(number, path, count):
    async def work():
        async with opened(path) as manager:
            found = await asyncio.gather(*(manager.get_or_create_session("ann", 10) for _ in range(count)))
            return [session.session_id for session in found]

    return asyncio.run(work())


async def test_one_chat(processes, path):
    """Spec C5: 64 questions of four processes: no error, none lost, each answer after its question, in order."""
    async with opened(path) as manager:
        session = await manager.create_session("ann", "10 USD")
        chat = await session.create_new_chat()
        question = "Process {p} asks {n}"
        answers = await everywhere(processes, asks, path, chat.chat_id, 16, question)
        history = texts(await chat.get_history(limit=1_000))
        asked = [re.fullmatch(r"Process (\d) asks (\d+)", text).groups() for text in history[::2]]
        assert len(asked) == 64
        for number in range(PROCESSES):
            assert [int(n) for p, n in asked if int(p) == number] == [*range(16)]
        for text, answer in zip(history[::2], history[1::2], strict=True):
            assert f"You said: “{text}”." in answer
        assert sorted(history[1::2]) == sorted(answer for part in answers for answer in part)
        assert (await chat.get_stats()).turn_count == 64
        assert verify_statement(await session.get_statement()).spent == session.account.spent


async def test_a_balance_for_one(processes, path):
    """Spec D1: of 256 questions in four chats and four processes, one is answered."""
    async with opened(path) as manager:
        session = await manager.create_session("ann", 3 + 2 * 30)
        for _ in range(4):
            await session.create_new_chat()
        outcomes = await everywhere(processes, asks, path, session.session_id + ".{}", 64, "count to 30")
        outcomes = [outcome for part in outcomes for outcome in part]
        assert len(outcomes) == 256
        assert outcomes.count("InsufficientFunds") == 255
        assert session.available == 0


async def test_one_key(processes, path):
    """Spec D3: the same answer for everybody, once paid; other words conflict."""
    async with opened(path) as manager:
        session = await manager.create_session("ann", "1 USD")
        chat = await session.create_new_chat()
        outcomes = await everywhere(processes, asks, path, chat.chat_id, 4, "count to 3", "k")
        assert {outcome for part in outcomes for outcome in part} == {"1 2 3"}
        assert (session.account.spent, session.account.request_count) == (9, 1)
        assert texts(await chat.get_history()) == ["count to 3", "1 2 3"]
        outcomes = await everywhere(processes, asks, path, chat.chat_id, 2, "count to 4{p}", "k")
        assert {outcome for part in outcomes for outcome in part} == {"IdempotencyConflict"}


async def test_limits(processes, path):
    """Spec C11."""
    async with opened(path) as manager:
        outcomes = await everywhere(processes, creates, path, 12)
        outcomes = [outcome for part in outcomes for outcome in part]
        assert set(outcomes) == {"Session", "SessionLimitReached"}
        assert outcomes.count("Session") == len(await manager.get_all_active_sessions()) == 25
        assert len(await manager.get_user_sessions("ann")) <= 10
        (session,) = await manager.get_user_sessions("ann", limit=1) or await manager.list_sessions(limit=1)
        outcomes = await everywhere(processes, creates_chats, path, session.session_id, 5)
        outcomes = [outcome for part in outcomes for outcome in part]
        assert (outcomes.count("Chat"), outcomes.count("ChatLimitReached")) == (6, 14)
        assert [chat.chat_no for chat in await session.get_chats()] == [*range(1, 7)]


async def test_get_or_create(processes, path):
    """Spec B2."""
    async with opened(path) as manager:
        found = await everywhere(processes, finds_or_creates, path, 8)
        assert len({session_id for part in found for session_id in part}) == 1
        (session,) = await manager.get_user_sessions("ann")
        assert session.account.request_count == 31


KILLED = """
    import asyncio, sys
    from prepaid import OfflineModel, SessionManager
    from prepaid.config import Settings

    async def main(path, chat_id):
        settings = Settings(database=path, hold_seconds=1)
        async with SessionManager(settings=settings, models=[OfflineModel(delay_seconds=0.02)]) as manager:
            chat = manager.get_session(chat_id.split(".")[0]).get_chat(chat_id)
            async for event in chat.stream_message("count to 1000"):
                print(event.text, flush=True)

    asyncio.run(main(*sys.argv[1:]))
"""


def delivered(manager):
    """What heartbeats have told so far, in base units, of the one hold that is open."""
    return store_of(manager).reads.rows("SELECT delivered FROM hold WHERE state = 0")[0][0]


@pytest.mark.parametrize("heard", [1, 40], ids=["at its first word", "after a heartbeat"])
async def test_a_process_is_killed_in_mid_turn(heard, path):
    """Another goes on in the same chat after the hold's deadline; nothing is lost, and nothing half is kept."""
    async with opened(path, top={"hold_seconds": 1}) as manager:
        session = await manager.create_session("ann", 10_000)
        chat = await session.create_new_chat()
        await chat.send_message("count to 2")
        before = session.account.spent
        command = [sys.executable, "-c", textwrap.dedent(KILLED), str(path), chat.chat_id]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220
            for _ in range(heard):
                assert process.stdout.readline()
            while heard > 1 and not delivered(manager):
                assert process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        assert session.account.held > 0
        answer = await asyncio.wait_for(chat.send_message("count to 3"), 120)
        assert answer.text == "1 2 3"
        history = texts(await chat.get_history())
        assert history == ["count to 2", "1 2", "count to 3", "1 2 3"]
        account = session.account
        interrupted = account.spent - before - answer.cost
        assert 0 <= interrupted <= 10_000
        assert interrupted > 0 or heard == 1, "what a heartbeat told of is paid"
        assert (account.held, account.available) == (0, 10_000 - account.spent)
        assert verify_statement(await session.get_statement()).spent == account.spent
