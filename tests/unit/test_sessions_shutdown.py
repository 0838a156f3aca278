"""Shutting down while answers are made: what was delivered is paid and saved, nothing stays held (spec N5, P3)."""

import asyncio
import contextlib
import gc
import sqlite3
from contextlib import aclosing, asynccontextmanager

import pytest
from pydantic_ai import Agent
from pydantic_ai.models.function import FunctionModel

from managers import Clock, opened, texts
from paying.models import END, PER_TOKEN, Pause, Scripted
from prepaid import (
    AgentConfig,
    AIRequest,
    Answer,
    Event,
    ManagerClosed,
    OfflineModel,
    SessionManager,
    TextDelta,
)
from prepaid.agents import MeteredModel
from prepaid.config import Settings
from prepaid.integrations.pydantic_ai import metered
from prepaid.records import ALL_CHAT_APIS, ModelInfo, RequestState

FUNDED = 10_000
QUESTION = "one two three"


class Lingers(Scripted):
    """Takes as long to be closed as ``leaving`` says."""

    def __init__(self, script):
        super().__init__(script)
        self.leaving = Pause()

    async def stream(self, request):
        try:
            async for event in super().stream(request):
                yield event
        finally:
            self.leaving.reached.set()
            await self.leaving.go.wait()


@pytest.fixture
def pause():
    return Pause()


@pytest.fixture
def model(pause):
    """Says two words, waits, would say more."""
    return Scripted(["Hello", " world", pause, " and more", END])


@pytest.fixture(autouse=True)
async def complaints():
    """What asyncio complains of: tasks that were destroyed or failed with nobody looking."""
    heard = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    yield heard
    gc.collect()
    await asyncio.sleep(0)
    assert heard == []


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def manager_on(tmp_path, clock):
    def made(*models, **more):
        settings = Settings(database=str(tmp_path / "a.db"), default_model=models[0].info.name, **more)
        return SessionManager(settings=settings, models=models, clock=clock)

    return made


@asynccontextmanager
async def again(tmp_path, clock, model=None):
    """The next program: no clean-up runs in it, so what is settled now was settled before."""
    models = (model or Scripted(["again", END]),)
    top = {"default_model": models[0].info.name}
    async with opened(tmp_path / "a.db", clock=clock, models=models, top=top) as manager:
        (session,) = await manager.get_user_sessions("ann")
        yield session
        assert session.account.held == 0


async def read(events, got):
    async with aclosing(events):
        async for event in events:
            got.append(event)


async def outcome(task):
    (told,) = await asyncio.gather(task, return_exceptions=True)
    return told


async def assert_paid_and_saved(tmp_path, clock, *messages, spent):
    async with again(tmp_path, clock) as session:
        assert (session.account.held, session.account.spent) == (0, spent)
        chat = session.get_chat(1)
        assert texts(await chat.get_history()) == list(messages)
        assert (await chat.send_message("next")).text == "again"


SAID = (QUESTION, "Hello world")
COST = 3 + 2 * 2


class TestStreams:
    """Cases library 35 and 36."""

    async def test_a_reader_that_waits_for_the_model(self, manager_on, model, pause, tmp_path, clock):
        manager, got = manager_on(model), []
        session = await manager.create_session("ann", FUNDED)
        reading = asyncio.ensure_future(read(session.stream_message(QUESTION), got))
        await pause.reached.wait()
        await manager.shutdown()
        assert isinstance(await outcome(reading), ManagerClosed)
        assert got == [TextDelta("Hello"), TextDelta(" world")]
        assert model.running == 0
        await assert_paid_and_saved(tmp_path, clock, *SAID, spent=COST)

    async def test_a_reader_that_stands_elsewhere(self, manager_on, model, tmp_path, clock):
        """Nobody would ever go on with its generator; what it asks for afterwards is refused by name, once."""
        manager = manager_on(model)
        session = await manager.create_session("ann", FUNDED)
        chat = await session.create_new_chat()
        events = chat.stream_message(QUESTION)
        assert [await anext(events), await anext(events)] == [TextDelta("Hello"), TextDelta(" world")]
        await manager.shutdown()
        assert model.running == 0
        with pytest.raises(ManagerClosed):
            await anext(events)
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        await events.aclose()
        await assert_paid_and_saved(tmp_path, clock, *SAID, spent=COST)

    @pytest.mark.parametrize("through", ["session", "lease"])
    async def test_through_another_handle(self, through, manager_on, model, tmp_path, clock):
        manager = manager_on(model)
        session = asker = await manager.create_session("ann", FUNDED)
        if through == "lease":
            await session.add_to_pool()
            asker = await manager.get_from_pool("bob")
        events = asker.stream_message(QUESTION)
        await anext(events)
        await manager.shutdown()
        with pytest.raises(ManagerClosed):
            await anext(events)
        async with again(tmp_path, clock) as session:
            assert session.account.spent == 3 + 2

    async def test_its_own_reader_shuts_down(self, manager_on, model, tmp_path, clock):
        manager, got = manager_on(model), []
        session = await manager.create_session("ann", FUNDED)

        async def read_and_shut_down():
            async with aclosing(session.stream_message(QUESTION)) as events:
                async for event in events:
                    got.append(event)
                    if len(got) == 2:
                        await manager.shutdown()

        with pytest.raises(ManagerClosed):
            await read_and_shut_down()
        await assert_paid_and_saved(tmp_path, clock, *SAID, spent=COST)

    async def test_async_with_is_left_in_mid_stream(self, model, pause, tmp_path, clock):
        async with SessionManager(tmp_path / "a.db", models=[model], clock=clock) as manager:
            session = await manager.create_session("ann", FUNDED)
            chat = await session.create_new_chat(agent_config=AgentConfig(current_model="scripted"))
            reading = asyncio.ensure_future(read(chat.stream_message(QUESTION), []))
            await pause.reached.wait()
        assert isinstance(await outcome(reading), ManagerClosed)
        await assert_paid_and_saved(tmp_path, clock, *SAID, spent=COST)

    async def test_a_reader_is_closing_it(self, manager_on, tmp_path, clock):
        """A shutdown waits for a close that has begun, and does not close a second time."""
        model = Lingers(["Hello", " world", " and more", END])
        manager = manager_on(model)
        session = await manager.create_session("ann", FUNDED)
        events = session.stream_message(QUESTION)
        await anext(events)
        await anext(events)
        closing = asyncio.ensure_future(events.aclose())
        await model.leaving.reached.wait()
        down = asyncio.ensure_future(manager.shutdown())
        await asyncio.sleep(0.02)
        assert not down.done()
        model.leaving.go.set()
        await asyncio.gather(closing, down)
        await assert_paid_and_saved(tmp_path, clock, *SAID, spent=COST)

    async def test_a_reader_leaves_while_it_is_closed(self, manager_on, model, tmp_path, clock):
        """Whoever closes it after us waits until it is settled."""
        manager = manager_on(model)
        session = await manager.create_session("ann", FUNDED)
        events = session.stream_message(QUESTION)
        await anext(events)
        await anext(events)
        down = asyncio.ensure_future(manager.shutdown())
        await asyncio.sleep(0)
        await events.aclose()
        await down
        await assert_paid_and_saved(tmp_path, clock, *SAID, spent=COST)

    async def test_one_that_was_dropped_without_a_word(self, manager_on, model, tmp_path, clock):
        """The event loop closes its generator, a moment later; the store must be open then."""
        manager = manager_on(model)
        session = await manager.create_session("ann", FUNDED)
        chat = await session.create_new_chat()
        async for _ in chat.stream_message(QUESTION):
            break
        await manager.shutdown()
        await assert_paid_and_saved(tmp_path, clock, QUESTION, "Hello", spent=3 + 2)

    async def test_one_that_had_not_begun(self, manager_on, model, tmp_path, clock):
        manager = manager_on(model)
        session = await manager.create_session("ann", FUNDED)
        chat = await session.create_new_chat()
        events = chat.stream_message(QUESTION)
        await manager.shutdown()
        with pytest.raises(ManagerClosed):
            await anext(events)
        assert model.requests == []
        await assert_paid_and_saved(tmp_path, clock, spent=0)

    async def test_one_that_has_ended(self, manager_on, tmp_path, clock):
        manager, got = manager_on(Scripted(["Hello", END])), []
        session = await manager.create_session("ann", FUNDED)
        events = session.stream_message(QUESTION)
        await read(events, got)
        await manager.shutdown()
        assert isinstance(got[-1], Answer)
        with pytest.raises(StopAsyncIteration):
            await anext(events)


class TestRequests:
    async def test_a_whole_answer_that_is_awaited(self, manager_on, model, pause, tmp_path, clock):
        """What the model had said counts as delivered, as where its caller is cancelled."""
        manager = manager_on(model)
        session = await manager.create_session("ann", FUNDED)
        asking = asyncio.ensure_future(session.send_message(QUESTION))
        await pause.reached.wait()
        await manager.shutdown()
        assert isinstance(await outcome(asking), ManagerClosed)
        assert not asking.cancelled()
        await assert_paid_and_saved(tmp_path, clock, *SAID, spent=COST)

    async def test_a_model_that_has_not_said_a_word(self, manager_on, pause, tmp_path, clock):
        manager = manager_on(Scripted([pause, "never", END]))
        session = await manager.create_session("ann", FUNDED)
        chat = await session.create_new_chat()
        asking = asyncio.ensure_future(chat.send_message(QUESTION))
        await pause.reached.wait()
        await manager.shutdown()
        assert isinstance(await outcome(asking), ManagerClosed)
        await assert_paid_and_saved(tmp_path, clock, spent=0)

    async def test_questions_that_wait_for_their_turn(self, manager_on, model, pause, tmp_path, clock):
        manager = manager_on(model)
        session = await manager.create_session("ann", FUNDED)
        chat = await session.create_new_chat()
        asking = [asyncio.ensure_future(chat.send_message(QUESTION)) for _ in range(5)]
        await pause.reached.wait()
        await manager.shutdown()
        assert {type(await outcome(each)) for each in asking} == {ManagerClosed}
        assert len(model.requests) == 1
        await assert_paid_and_saved(tmp_path, clock, *SAID, spent=COST)

    @pytest.mark.parametrize("key", [None, "k"])
    async def test_a_single_request(self, key, manager_on, model, pause, tmp_path, clock):
        """It was not answered, so it costs nothing; under its key it can be asked again."""
        manager = manager_on(model)
        session = await manager.create_session("ann", FUNDED)
        asked = manager.make_ai_request("ann", QUESTION, session_id=session.session_id, key=key)
        asking = asyncio.ensure_future(asked)
        await pause.reached.wait()
        await manager.shutdown()
        assert isinstance(await outcome(asking), ManagerClosed)
        async with opened(
            tmp_path / "a.db", clock=clock, models=[Scripted(["ok", END])], top={"default_model": "scripted"}
        ) as manager:
            (session,) = await manager.get_user_sessions("ann")
            assert (session.account.held, session.account.spent) == (0, 0)
            response = await manager.make_ai_request("ann", QUESTION, session_id=session.session_id, key=key)
            assert response.text == "ok"

    @pytest.mark.parametrize("verb", ["start_request", "submit_request"])
    async def test_requests_that_are_kept(self, verb, manager_on, model, pause, tmp_path, clock):
        manager = manager_on(model)
        session = await manager.create_session("ann", FUNDED)
        asking = asyncio.ensure_future(getattr(manager, verb)(session, AIRequest(QUESTION)))
        await pause.reached.wait()
        await manager.shutdown()
        told = await outcome(asking)
        async with opened(tmp_path / "a.db", clock=clock) as manager:
            session = manager.get_session(session.session_id)
            (kept,) = manager.get_requests(session)
            assert kept.status is RequestState.FAILED
            assert kept.error == ("interrupted" if verb == "start_request" else "manager_closed")
            assert isinstance(told, ManagerClosed) == (verb == "submit_request")
            assert (session.account.held, session.account.spent) == (0, 0)

    async def test_the_callers_own_cancellation_stays_one(self, manager_on, model, pause, tmp_path, clock):
        manager = manager_on(model)
        session = await manager.create_session("ann", FUNDED)
        asking = asyncio.ensure_future(session.send_message(QUESTION))
        await pause.reached.wait()
        asking.cancel()
        down = asyncio.ensure_future(manager.shutdown())
        with pytest.raises(asyncio.CancelledError):
            await asking
        await down
        await assert_paid_and_saved(tmp_path, clock, *SAID, spent=COST)

    async def test_a_cancellation_behind_the_shutdown_stays_one(self, manager_on, tmp_path, clock):
        pause = Pause()
        model = Lingers(["Hello", " world", pause, END])
        manager = manager_on(model)
        session = await manager.create_session("ann", FUNDED)
        asking = asyncio.ensure_future(session.send_message(QUESTION))
        await pause.reached.wait()
        down = asyncio.ensure_future(manager.shutdown())
        await model.leaving.reached.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await down
        await assert_paid_and_saved(tmp_path, clock, *SAID, spent=COST)


class TestTools:
    async def test_in_the_text(self, manager_on, model, tmp_path, clock):
        manager = manager_on(model)
        session = await manager.create_session("ann", FUNDED)
        chat = await session.create_new_chat(agent_config=AgentConfig(tools=[len_of]))
        events = chat.stream_message(QUESTION)
        assert [await anext(events), await anext(events)] == [TextDelta("Hello"), TextDelta(" world")]
        await manager.shutdown()
        with pytest.raises(ManagerClosed):
            await anext(events)
        async with again(tmp_path, clock) as session:
            assert (session.account.held, session.account.spent) == (0, COST)
            assert texts(await session.get_chat(1).get_history()) == list(SAID)

    async def test_while_a_tool_works(self, manager_on, tmp_path, clock):
        working = asyncio.Event()

        async def slow() -> str:
            """Slow."""
            working.set()
            await asyncio.sleep(3600)
            return "never"

        manager = manager_on(OfflineModel(name="offline"))
        session = await manager.create_session("ann", FUNDED)
        chat = await session.create_new_chat(agent_config=AgentConfig(tools=[slow]))
        asking = asyncio.ensure_future(chat.send_message("use slow"))
        await working.wait()
        await manager.shutdown()
        assert isinstance(await outcome(asking), ManagerClosed)
        async with again(tmp_path, clock) as session:
            assert (session.account.held, session.account.spent > 0) == (0, True)

    async def test_a_tool_shuts_down(self, manager_on, tmp_path, clock):
        async def finish() -> str:
            """Shut down."""
            await manager.shutdown()
            return "done"

        manager = manager_on(OfflineModel(name="offline"))
        session = await manager.create_session("ann", FUNDED)
        chat = await session.create_new_chat(agent_config=AgentConfig(tools=[finish]))
        asking = asyncio.ensure_future(chat.send_message("use finish"))
        assert isinstance(await outcome(asking), ManagerClosed)
        await manager.shutdown()
        async with again(tmp_path, clock) as session:
            assert session.account.held == 0

    async def test_a_model_shuts_down(self, manager_on, tmp_path, clock):
        class Ends(Scripted):
            async def stream(self, request):
                async for event in super().stream(request):
                    yield event
                await manager.shutdown()

        manager = manager_on(Ends(["Hello", " world"]))
        session = await manager.create_session("ann", FUNDED)
        asking = asyncio.ensure_future(session.send_message(QUESTION))
        assert isinstance(await outcome(asking), ManagerClosed)
        await manager.shutdown()
        await assert_paid_and_saved(tmp_path, clock, *SAID, spent=COST)


def len_of(text: str) -> int:
    """Its length."""
    return len(text)


class TestOtherLibraries:
    """Agents of pydantic-ai on a session; the OpenAI Agents SDK's are tested over HTTP."""

    async def theirs(self, manager, function):
        session = await manager.create_session("ann", FUNDED)
        workspace = manager._workspace
        info = ModelInfo("theirs", PER_TOKEN, 100_000, 1_000, ALL_CHAT_APIS, "tests")
        return MeteredModel(
            FunctionModel(stream_function=function),
            meter=workspace.meter,
            payer=session.payer,
            info=info,
            default_output_tokens=100,
        )

    @pytest.mark.parametrize("stands", ["in the model", "elsewhere"])
    async def test_their_model(self, stands, manager_on, model, tmp_path, clock):
        manager, pause, away = manager_on(model), Pause(), Pause()

        async def function(messages, info):
            yield "Hello world, again"
            pause.reached.set()
            await pause.go.wait()
            yield "never"

        theirs = await self.theirs(manager, function)

        async def run():
            async with Agent(theirs).run_stream("Hi") as result:
                async for _ in result.stream_text(delta=True, debounce_by=None):
                    if stands == "elsewhere":
                        away.reached.set()
                        await away.go.wait()

        running = asyncio.ensure_future(run())
        await (pause if stands == "in the model" else away).reached.wait()
        await manager.shutdown()
        assert not manager._workspace.meter.running
        away.go.set()
        assert isinstance(await outcome(running), ManagerClosed)
        async with again(tmp_path, clock) as session:
            assert session.account.held == 0
            assert session.account.spent >= 2 * len("Hello world, again") // 4

    async def test_their_whole_answer(self, manager_on, model, pause, tmp_path, clock):
        manager = manager_on(model)

        async def function(messages, info):
            pause.reached.set()
            await pause.go.wait()

        theirs = await self.theirs(manager, function)
        theirs.wrapped.function = function
        running = asyncio.ensure_future(Agent(theirs).run("Hi"))
        await pause.reached.wait()
        await manager.shutdown()
        assert isinstance(await outcome(running), ManagerClosed)
        async with again(tmp_path, clock) as session:
            assert (session.account.held, session.account.spent) == (0, 0)

    @pytest.mark.parametrize("is_stream", [True, False])
    async def test_our_model_in_their_agent(self, is_stream, manager_on, model, pause, tmp_path, clock):
        manager = manager_on(model)
        session = await manager.create_session("ann", FUNDED)
        agent = Agent(metered(session, "scripted"))

        async def run():
            if not is_stream:
                return await agent.run(QUESTION)
            async with agent.run_stream(QUESTION) as result:
                return await result.get_output()

        running = asyncio.ensure_future(run())
        await pause.reached.wait()
        await manager.shutdown()
        assert isinstance(await outcome(running), ManagerClosed)
        async with again(tmp_path, clock) as session:
            assert (session.account.held, session.account.spent) == (0, COST)


class TestBounds:
    async def test_a_model_that_does_not_let_go(self, manager_on, pause, tmp_path, clock, caplog):
        """What it had delivered is told to the books, and the next program's sweep captures it."""

        class Clings(Scripted):
            async def stream(self, request):
                yield TextDelta("Hello")
                yield TextDelta(" world")
                pause.reached.set()
                while not pause.go.is_set():
                    with contextlib.suppress(asyncio.CancelledError):
                        await pause.go.wait()

        manager = manager_on(Clings([]))
        session = await manager.create_session("ann", FUNDED)
        asking = asyncio.ensure_future(session.send_message(QUESTION))
        await pause.reached.wait()
        await manager.shutdown(0.1)
        pause.go.set()
        await outcome(asking)
        assert "1 requests did not settle within 0.1 s" in caplog.text
        held = 3 + 2 * Settings().default_output_tokens
        clock.advance(10**6)
        async with opened(tmp_path / "a.db", clock=clock, models=[Scripted(["again", END])]) as manager:
            await manager._workspace.meter.reconcile()
            account = manager.get_session(session.session_id).account
            assert (account.held, account.spent) == (0, COST)
            lines = manager._workspace.store.reads.transfers(session.session_id)
            assert [line.amount for line in lines if line.kind == "exposure"] == [held - COST]

    async def test_a_model_that_lets_go_at_the_second_call(self, manager_on, pause, tmp_path, clock):
        class Clings(Scripted):
            async def stream(self, request):
                yield TextDelta("Hello")
                yield TextDelta(" world")
                pause.reached.set()
                with contextlib.suppress(asyncio.CancelledError):
                    await pause.go.wait()
                await pause.go.wait()

        manager = manager_on(Clings([]))
        session = await manager.create_session("ann", FUNDED)
        asking = asyncio.ensure_future(session.send_message(QUESTION))
        await pause.reached.wait()
        await manager.shutdown(1)
        assert isinstance(await outcome(asking), ManagerClosed)
        await assert_paid_and_saved(tmp_path, clock, *SAID, spent=COST)

    async def test_a_callback_that_never_ends(self, manager_on, model, caplog):
        """Case library 65."""
        manager, heard = manager_on(model), []

        async def never(event):
            try:
                await asyncio.Event().wait()
            finally:
                heard.append(event)

        manager.on(Event, never)
        await manager.create_session("ann", FUNDED)
        await manager.shutdown(0.1)
        await asyncio.sleep(0)
        assert len(heard) == 1
        assert "an event callback had not ended" in caplog.text

    async def test_a_callback_that_shuts_down(self, manager_on, model):
        manager, done = manager_on(model), asyncio.Event()

        async def finish(event):
            await manager.shutdown()
            done.set()

        manager.on(Event, finish)
        await manager.create_session("ann", FUNDED)
        await done.wait()


class TestTwice:
    """Case library 66."""

    async def test_at_once_and_again(self, manager_on, model, pause, tmp_path, clock):
        manager = manager_on(model)
        session = await manager.create_session("ann", FUNDED)
        asking = asyncio.ensure_future(session.send_message(QUESTION))
        await pause.reached.wait()
        await asyncio.gather(*(manager.shutdown() for _ in range(3)))
        assert asking.done()
        await manager.shutdown()
        assert isinstance(await outcome(asking), ManagerClosed)
        await assert_paid_and_saved(tmp_path, clock, *SAID, spent=COST)

    async def test_it_goes_on_where_its_caller_is_cancelled(self, manager_on, model, pause, tmp_path, clock):
        manager = manager_on(model)
        session = await manager.create_session("ann", FUNDED)
        asking = asyncio.ensure_future(session.send_message(QUESTION))
        await pause.reached.wait()
        down = asyncio.ensure_future(manager.shutdown())
        await asyncio.sleep(0)
        down.cancel()
        with pytest.raises(asyncio.CancelledError):
            await down
        await manager.shutdown()
        assert isinstance(await outcome(asking), ManagerClosed)
        await assert_paid_and_saved(tmp_path, clock, *SAID, spent=COST)

    async def test_nothing_is_asked_afterwards(self, manager_on, model):
        manager = manager_on(model)
        session = await manager.create_session("ann", FUNDED)
        chat = await session.create_new_chat()
        await manager.shutdown()
        with pytest.raises(ManagerClosed):
            async with manager:
                pass
        for refused in (
            session.send_message("x"),
            chat.send_message("x"),
            manager.submit_request(session, AIRequest("x")),
            manager.start_request(session, AIRequest("x")),
        ):
            with pytest.raises(ManagerClosed):
                await refused
        assert model.requests == []


def test_a_loop_that_ends_right_behind(tmp_path):
    """Ctrl-C in ``asyncio.run``: all tasks are cancelled at once, the one that shuts down included."""

    async def main():
        pause = Pause()
        model = Scripted(["Hello", " world", pause, END])
        manager = SessionManager(
            settings=Settings(database=str(tmp_path / "a.db"), default_model="scripted"), models=[model]
        )
        session = await manager.create_session("ann", FUNDED)
        tasks.append(asyncio.ensure_future(session.send_message(QUESTION)))
        await pause.reached.wait()
        tasks.append(asyncio.ensure_future(manager.shutdown()))
        await asyncio.sleep(0)

    tasks = []
    asyncio.run(main())
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        assert connection.execute("SELECT held, spent FROM account WHERE owner = 'ann'").fetchall() == [
            (0, COST)
        ]
