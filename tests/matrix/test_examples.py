"""Examples of what the matrix has in general, and of what has no cell: forms of streams, fields, other prices.

Each is asked of a real ``prepaid serve`` in front of an upstream that knows its bill. A token costs 1 base unit in,
2 out, unless a test says otherwise.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, NamedTuple

import openai
import pytest
import pytest_asyncio

from gateway.running import Gateway
from matrix.callers import Desk, Payer, Seen, ask_gateway
from matrix.cells import Api, Cell, Ending, Mode
from matrix.provider import Body, Exchange, HungUp, Provider, Tally, named_event, sse
from matrix.scripts import Run
from prepaid import SessionManager
from prepaid.audit import audit
from prepaid.config import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT, RESPONSES, EMBEDDINGS = "/chat/completions", "/responses", "/embeddings"
SETTINGS = """
[upstreams.stub]
base_url = "{url}"
models = ["m", "words", "dear", "images", "cached"]
circuit_failures = 1000000

[upstreams.slow]
base_url = "{url}"
models = ["slow"]
timeout_seconds = 1
circuit_failures = 1000000
"""
PRICE = """
[prices.{model}]
input_per_million = "{into}"
output_per_million = "{out}"
context_tokens_max = 1000000
apis = ["chat", "tools", "structured_output", "embeddings", "images"]
{more}
"""
DONE = b"data: [DONE]\n\n"


class Bill(NamedTuple):
    """Within the events of a stream: so much more is made."""

    into: int
    out: int


@dataclass
class Stage:
    """The gateway, its upstream, and the books of both."""

    provider: Provider
    gateway: Gateway
    desk: Desk
    tally: Tally
    run: Run

    def answers(self, script, model="m"):
        """How ``model`` answers from now on; what it bills is counted anew.

        The gateway remembers of a model that it hides output: ``words`` never does.
        """
        self.tally = Tally()
        self.run = Run(Cell(Api.CHAT, Mode.PLAIN, Ending.WHOLE), 0)

        async def counted(exchange):
            self.run.open += 1
            self.tally.requests += 1
            try:
                await script(exchange)
            finally:
                self.run.open -= 1

        self.provider.scripts[model] = counted

    def bill(self, into, out):
        """One answer that was made."""
        self.tally.begin(into).output = out

    def streams(self, *events, model="m", goes_on=False, done=True, end=True):
        """It answers with these events: a dictionary, bytes, seconds to wait, or a ``Bill``."""

        async def script(exchange: Exchange):
            try:
                await self.sent(exchange, events, done=done, end=end)
            except HungUp:
                if goes_on:
                    made = self.tally.generations[-1]
                    made.output = sum(event.out for event in events if isinstance(event, Bill))
                raise

        self.answers(script, model)

    async def sent(self, exchange, events, *, done=True, end=True):
        await exchange.head()
        made = self.tally.begin(0)
        for event in [*events, *([DONE] if done else [])]:
            if isinstance(event, Bill):
                made.input += event.into
                made.output += event.out
            elif isinstance(event, float):
                if await exchange.gone(event):
                    raise HungUp
            else:
                await exchange.send(event)
        if end:
            await exchange.end()

    async def payer(self, amount=1_000_000) -> Payer:
        return await self.desk.payer(self.run, amount)

    async def ask(
        self, payer: Payer, model="m", text="tell me", *, path=CHAT, leave=None, headers=None, **body
    ) -> Seen:
        asked: Body = {"model": model, **body}
        if path == CHAT:
            asked.setdefault("messages", [{"role": "user", "content": text}])
        return await ask_gateway(self.gateway.port, payer.key, path, asked, leave=leave, **(headers or {}))

    async def paid(self, payer: Payer) -> tuple[int, int]:
        """Charged and booked, once all is settled."""
        books = await self.desk.books(payer, self.run)
        assert books.held == 0
        return books.charged, books.booked


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole_stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    async with Provider() as provider:
        toml = SETTINGS.format(url=provider.base_url)
        for model in ("m", "words", "slow"):
            toml += PRICE.format(model=model, into="1", out="2", more="")
        toml += PRICE.format(model="dear", into="100", out="200", more="")
        toml += PRICE.format(model="images", into="1", out="2", more="image_tokens_max = 50000")
        toml += PRICE.format(model="cached", into="1", out="2", more='cache_read_per_million = "0.1"')
        gateway = Gateway(folder, toml)
        await asyncio.to_thread(gateway.start)
        settings = Settings(database=gateway.database, sessions={"auto_cleanup": False})
        async with SessionManager(settings=settings) as manager:
            desk = Desk(manager)
            yield Stage(provider, gateway, desk, Tally(), Run(Cell(Api.CHAT, Mode.PLAIN, Ending.WHOLE), 0))
            report = await desk.store.report(audit)
            assert report.is_clean, str(report)
        await asyncio.to_thread(gateway.stop)
        assert provider.failures == []


@pytest.fixture
def stage(whole_stage):
    whole_stage.provider.scripts.clear()
    return whole_stage


def chunk(delta: Body | None = None, finish: str | None = None, usage: Any = None, **more: Any) -> Body:
    choices = (
        []
        if delta is None and finish is None
        else [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    )
    told = {} if usage is None else {"usage": usage}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": choices,
        **told,
        **more,
    }


def usage(into: int, out: int, **more: Any) -> Body:
    return {"prompt_tokens": into, "completion_tokens": out, "total_tokens": into + out, **more}


def whole(message: Body, told: Any = None, **more: Any) -> Body:
    choices = [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}]
    usage = {} if told is None else {"usage": told}
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": choices,
        **usage,
        **more,
    }


def said(seen: Seen) -> str:
    """The content of a stream as a client puts it together, or of a whole answer."""
    choices = [choice for event in seen.events for choice in event.get("choices", ())]
    return "".join(
        (choice.get("delta") or choice.get("message") or {}).get("content") or "" for choice in choices
    )


# leaving


async def test_left_before_the_first_word_it_is_read_to_its_end_and_charged(stage):
    """Spec P3: the prompt and some hidden thinking are on the invoice already."""
    words = [event for number in range(15) for event in (Bill(0, 1), chunk({"content": f"w{number} "}))]
    role = chunk({"role": "assistant", "content": ""})
    payer = await stage.payer()
    for times in range(1, 4):
        stage.streams(Bill(2_000, 500), role, 0.05, *words, chunk({}, "stop"), chunk(usage=usage(2_000, 515)))
        assert (
            await stage.ask(payer, text="word " * 2_000, max_tokens=1_000, stream=True, leave=b'"role"')
        ).has_left
        assert await stage.paid(payer) == (times * (2_000 + 2 * 515), 0)


async def test_left_before_any_byte_it_is_read_to_its_end_and_charged(stage):
    """Spec P3."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def script(exchange):
        asked.set()
        await go.wait()
        await stage.sent(
            exchange,
            [
                Bill(1_000, 303),
                chunk({"content": "one two three"}),
                chunk({}, "stop"),
                chunk(usage=usage(1_000, 303)),
            ],
        )

    stage.answers(script)
    payer = await stage.payer()
    assert (await stage.ask(payer, text="word " * 1_000, max_tokens=500, stream=True, leave=asked)).has_left
    go.set()
    assert await stage.paid(payer) == (1_000 + 2 * 303, 0)


async def test_left_after_some_words_of_a_provider_that_goes_on(stage):
    """Spec P3: what was delivered is charged, what may be billed besides is booked."""
    words = [
        event
        for number in range(200)
        for event in (Bill(0, 1), chunk({"content": f"t{number % 100:02d} "}), 0.002)
    ]
    stage.streams(
        Bill(20, 0), *words, chunk({}, "stop"), chunk(usage=usage(20, 200)), model="words", goes_on=True
    )
    payer = await stage.payer()
    await stage.ask(payer, "words", text="tok " * 20, max_tokens=200, stream=True, leave=b"t02 ")
    charged, booked = await stage.paid(payer)
    assert stage.tally.billed == 20 + 2 * 200 <= charged + booked
    assert 20 + 2 * 3 <= charged < 420


HIDDEN = [
    chunk({"role": "assistant", "content": ""}),
    Bill(20, 5_020),
    chunk({"content": "Forty-two. END"}),
    0.3,
]


async def test_left_after_the_last_word_with_hidden_reasoning_before_it(stage):
    """Spec P3: 5,000 tokens were never shown."""
    stage.streams(*HIDDEN, chunk({}, "stop"), chunk(usage=usage(20, 5_020)))
    payer = await stage.payer()
    await stage.ask(payer, max_tokens=6_000, stream=True, leave=b"END")
    charged, booked = await stage.paid(payer)
    assert stage.tally.billed == 20 + 2 * 5_020 <= charged + booked
    assert charged > 0


async def test_left_with_usage_told_in_every_chunk_the_last_is_charged(stage):
    """Spec P3."""
    parts = [
        event
        for number in range(1, 6)
        for event in (
            Bill(20 if number == 1 else 0, 500),
            chunk({"content": f"part {number}. "}, usage=usage(20, 500 * number)),
        )
    ]
    stage.streams(*parts, 0.3, chunk({}, "stop", usage=usage(20, 2_500)))
    payer = await stage.payer()
    await stage.ask(payer, max_tokens=3_000, stream=True, leave=b"part 5")
    assert (await stage.paid(payer))[0] == 20 + 2 * 2_500


FORTY = "word " * 40
FORMS = {
    "function_call": lambda text: {"function_call": {"name": "", "arguments": text}},
    "reasoning_details": lambda text: {
        "content": "",
        "reasoning_details": [{"type": "reasoning.text", "text": text}],
    },
    "thinking_blocks": lambda text: {
        "content": "",
        "thinking_blocks": [{"type": "thinking", "thinking": text}],
    },
    "list content": lambda text: {"content": [{"type": "text", "text": text}]},
    "custom tool": lambda text: {
        "tool_calls": [{"index": 0, "id": "x", "type": "custom", "custom": {"name": "f", "input": text}}]
    },
}


@pytest.mark.parametrize("form", FORMS)
async def test_output_in_whatever_field_is_seen(stage, form):
    """Spec P3."""
    parts = [chunk(FORMS[form](FORTY)) for _ in range(20)]
    end = [chunk(FORMS[form]("END")), 0.3, chunk({}, "stop"), chunk(usage=usage(20, 800))]
    stage.streams(Bill(20, 800), chunk({"role": "assistant"}), *parts, *end)
    payer = await stage.payer()
    await stage.ask(payer, max_tokens=2_000, stream=True, leave=b"END")
    charged, booked = await stage.paid(payer)
    assert stage.tally.billed == 1_620 <= charged + booked
    assert charged >= 2 * 800  # 4,000 bytes are a thousand tokens to whoever divides by four


async def test_responses_left_before_they_are_completed(stage):
    """Spec P3: reasoning was hidden."""
    at = {"item_id": "m", "output_index": 0, "content_index": 0}
    text = [named_event({"type": "response.output_text.delta", "delta": "word ", **at}) for _ in range(20)]
    begun = {"type": "response.created", "response": {"id": "r", "status": "in_progress"}}
    done = {"type": "response.output_text.done", "text": "word " * 20 + "END", **at}
    told = {"input_tokens": 20, "output_tokens": 2_020, "total_tokens": 2_040}
    ended = {"id": "r", "object": "response", "status": "completed", "output": [], "usage": told}
    last = named_event({"type": "response.completed", "response": ended})
    stage.streams(named_event(begun), Bill(20, 2_020), *text, named_event(done), 0.3, last, done=False)
    payer = await stage.payer()
    await stage.ask(
        payer, path=RESPONSES, input="tell me", max_output_tokens=3_000, stream=True, leave=b"END"
    )
    charged, booked = await stage.paid(payer)
    assert stage.tally.billed == 20 + 2 * 2_020 <= charged + booked
    assert charged > 0


async def test_funds_bound_what_the_provider_bills(stage):
    """Spec P3, D1: a session that is left again and again, as early as it goes, is used up by it."""
    payer, billed = await stage.payer(20_000), 0

    async def script(exchange):
        thought = min(1_500, exchange.limit)
        role = chunk({"role": "assistant", "content": ""})
        end = [chunk({"content": "done"}), chunk({}, "stop"), chunk(usage=usage(20, thought))]
        await stage.sent(exchange, [Bill(20, thought), role, 0.02, *end])

    for _ in range(30):
        stage.answers(script)
        seen = await stage.ask(payer, max_tokens=1_600, stream=True, leave=b'"role"')
        await stage.paid(payer)
        billed += stage.tally.billed
        if not seen.has_left:
            break
    assert seen.status == 402
    assert 10_000 < billed <= 1.1 * 20_000


async def test_a_plain_request_that_was_left_is_paid(stage):
    """Spec P3."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def script(exchange):
        stage.bill(20, 500)
        asked.set()
        await go.wait()
        await exchange.reply(whole({"content": "word " * 500}, usage(20, 500)))

    stage.answers(script)
    payer = await stage.payer()
    assert (await stage.ask(payer, max_tokens=600, leave=asked)).has_left
    go.set()
    assert await stage.paid(payer) == (stage.tally.billed, 0)


# asked once


async def _silent(stage, exchange):
    stage.bill(100, 500)
    await exchange.gone(60)


async def test_what_fell_silent_is_not_asked_again(stage):
    """Spec P4: one generation, free for its customer, and booked."""
    stage.answers(lambda exchange: _silent(stage, exchange), "slow")
    payer = await stage.payer()
    seen = await stage.ask(payer, "slow", "word " * 100, max_tokens=600)
    charged, booked = await stage.paid(payer)
    assert seen.status == 504
    assert (stage.tally.requests, charged) == (1, 0)
    assert booked >= stage.tally.billed


async def test_the_official_client_asks_three_times_at_most(stage):
    """Spec P4: its own retries are not multiplied by ours."""
    stage.answers(lambda exchange: _silent(stage, exchange), "slow")
    payer = await stage.payer()
    async with openai.AsyncOpenAI(base_url=f"{stage.gateway.url}/v1", api_key=payer.key) as client:
        with pytest.raises(openai.APIError):
            await client.chat.completions.create(
                model="slow", max_tokens=600, messages=[{"role": "user", "content": "word " * 100}]
            )
    charged, booked = await stage.paid(payer)
    assert stage.tally.requests <= 3
    assert charged == 0
    assert booked >= stage.tally.billed


async def test_a_body_that_broke_off_is_not_asked_again(stage):
    """Spec P4."""

    async def script(exchange):
        stage.bill(100, 500)
        await exchange.head(200, "application/json", length=5_000)
        await exchange.send(b'{"id":"c1","choices":[{"index":0,"message":{"role":"assistant","content":"wo')
        await asyncio.sleep(0.02)
        exchange.cut()

    stage.answers(script)
    payer = await stage.payer()
    seen = await stage.ask(payer, text="word " * 100, max_tokens=600)
    charged, booked = await stage.paid(payer)
    assert seen.status == 502
    assert (stage.tally.requests, charged) == (1, 0)
    assert booked >= stage.tally.billed


@pytest.mark.parametrize("status", [429, 503])
async def test_what_was_refused_unbilled_is_asked_again(stage, status):
    """Spec P4, C12."""

    async def script(exchange):
        if stage.tally.requests == 1:
            await exchange.reply({"error": {"message": "busy"}}, status)
            return
        stage.bill(10, 20)
        await exchange.reply(whole({"content": "word " * 20}, usage(10, 20)))

    stage.answers(script)
    payer = await stage.payer()
    assert (await stage.ask(payer, max_tokens=50)).status == 200
    assert await stage.paid(payer) == (50, 0)


# usage

TEXT = "tok " * 400
PROMPT = "tok " * 10
TRUTH = 10 + 2 * 400
NULLS = {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}
ODD = {
    "absent": None,
    "empty": {},
    "nulls": NULLS,
    "zero": usage(0, 0),
    "zero output": usage(10, 0),
    "floats": {"prompt_tokens": 10.0, "completion_tokens": 400.0, "total_tokens": 410.0},
    "strings": {"prompt_tokens": "10", "completion_tokens": "400", "total_tokens": "410"},
    "no completion": {"prompt_tokens": 10, "total_tokens": 410},
    "total": {"total_tokens": 410},
    "negative": usage(-1, -1),
    "a list": [1],
    "a text": "many",
    "cached beyond": usage(10, 400, prompt_tokens_details={"cached_tokens": 70}),
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("form", ODD)
async def test_odd_usage_is_read_or_replaced_by_our_own_count(stage, form, stream):
    """Spec P5: never free, never an error after delivery."""

    async def script(exchange):
        stage.bill(10, 400)
        if not exchange.is_stream:
            await exchange.reply(whole({"content": TEXT}, ODD[form]))
            return
        last = chunk(usage=ODD[form]) if ODD[form] is not None else chunk({})
        await stage.sent(exchange, [chunk({"content": TEXT}), chunk({}, "stop"), last])

    stage.answers(script)
    payer = await stage.payer()
    seen = await stage.ask(payer, text=PROMPT, max_tokens=600, stream=stream)
    assert not seen.has_failed, seen.content[-300:]
    assert said(seen) == TEXT
    charged, booked = await stage.paid(payer)
    assert abs(charged - TRUTH) <= 2
    assert booked == 0


@pytest.mark.parametrize("told", [{"total_tokens": 100}, {"prompt_tokens": 100, "total_tokens": 100}])
async def test_embeddings_may_tell_their_total_only(stage, told):
    """Spec P5."""

    async def script(exchange):
        data = [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}]
        await exchange.reply({"object": "list", "model": "m", "data": data, "usage": told})

    stage.answers(script)
    payer = await stage.payer()
    assert (await stage.ask(payer, path=EMBEDDINGS, input="word " * 100)).status == 200
    assert await stage.paid(payer) == (100, 0)


@pytest.mark.parametrize(
    "told",
    [
        usage(10_000, 10, cached_tokens=9_000),
        usage(10_000, 10, prompt_tokens_details={"cached_tokens": 9_000}),
    ],
    ids=["on top", "in details"],
)
async def test_cached_tokens_are_paid_as_such_wherever_they_are_told(stage, told):
    """Spec P11."""
    stage.answers(lambda exchange: exchange.reply(whole({"content": "ok"}, told, model="cached")), "cached")
    payer = await stage.payer()
    assert (await stage.ask(payer, "cached", "x" * 12_000, max_tokens=20)).status == 200
    assert await stage.paid(payer) == (1_000 + 900 + 20, 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_dearer_model_that_answered_is_paid_as_quoted_and_booked(stage, stream):
    """Spec P2."""
    told = usage(100, 100)

    async def script(exchange):
        if not exchange.is_stream:
            await exchange.reply(whole({"content": "ok " * 100}, told, model="dear"))
            return
        events = [chunk({"content": "ok " * 100}), chunk({}, "stop"), chunk(usage=told)]
        await stage.sent(exchange, [event | {"model": "dear"} for event in events])

    stage.answers(script)
    payer = await stage.payer()
    assert not (await stage.ask(payer, max_tokens=200, stream=stream)).has_failed
    charged, booked = await stage.paid(payer)
    assert charged == 100 + 2 * 100
    assert charged + booked == 100 * 100 + 200 * 100


# forms of streams

WORDS = "word " * 100
COUNT = usage(10, 100)
END = [chunk({}, "stop"), chunk(usage=COUNT)]
BASE = [chunk({"content": WORDS}), *END]


def raw(delta: bytes) -> bytes:
    return (
        b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
        + delta
        + b',"finish_reason":null}]}\n\n'
    )


def choice(**fields: Any) -> Body:
    return {**chunk(), "choices": [fields]}


def lines(end: str) -> list[bytes]:
    return [f"data: {json.dumps(event)}{end}{end}".encode() for event in BASE]


CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"a":"' + WORDS + '"}'}}
STREAMS = {
    "half a surrogate": [
        raw(b'{"content":"' + WORDS.encode() + b'"}'),
        raw(b'{"content":"\\ud83d"}'),
        raw(b'{"content":"\\ude00 and more"}'),
        *END,
    ],
    "half a letter": [
        raw(b'{"content":"' + WORDS.encode() + b'"}'),
        raw(b'{"content":"\xf0\x9f"}'),
        raw(b'{"content":"\x98\x80"}'),
        *END,
    ],
    "choice null": [choice(index=None, delta={"content": WORDS}, finish_reason=None), *END],
    "choice missing": [choice(delta={"content": WORDS}), *END],
    "tool call null": [choice(index=0, delta={"tool_calls": [{"index": None, **CALL}]}), *END],
    "tool call missing": [choice(index=0, delta={"tool_calls": [CALL]}), *END],
    "comments": [b": PROCESSING\n\n", *BASE],
    "pings": [b"event: ping\ndata: {}\n\n", *BASE],
    "CRLF": lines("\r\n"),
    "CR": lines("\r"),
    "no space": [b"data:" + json.dumps(event).encode() + b"\n\n" for event in BASE],
    "byte order mark": [b"\xef\xbb\xbf", *BASE],
    "usage in the last choice": [BASE[0], chunk({}, "stop", usage=COUNT)],
    "delta null": [choice(index=0, delta=None, finish_reason=None), *BASE],
    "choices null": [{**chunk(), "choices": None}, *BASE],
    "filter results first": [{**chunk(), "prompt_filter_results": [{}]}, *BASE],
    "byte by byte": [bytes([byte]) for byte in b"".join(map(sse, BASE))],
}


@pytest.mark.parametrize("form", STREAMS)
async def test_odd_streams_are_read_and_charged(stage, form):
    """Spec P6: every word arrives, without an error."""
    stage.streams(*STREAMS[form])
    payer = await stage.payer()
    seen = await stage.ask(payer, max_tokens=300, stream=True)
    assert seen.status == 200
    assert seen.is_complete
    assert seen.content.count(b"word") >= 100
    assert b'"error":{' not in seen.content.replace(b" ", b"")
    assert await stage.paid(payer) == (10 + 2 * 100, 0)


def call(name: str, of: str) -> Body:
    return {"id": name, "type": "function", "function": {"name": "f", "arguments": f'{{"a":"{of}"}}'}}


@pytest.mark.parametrize(
    "events",
    [
        [chunk({"tool_calls": [call("call_1", "one"), call("call_2", "two")]})],
        [chunk({"tool_calls": [call("call_1", "one")]}), chunk({"tool_calls": [call("call_2", "two")]})],
    ],
    ids=["one chunk", "two chunks"],
)
async def test_parallel_calls_without_an_index_stay_two(stage, events):
    """Spec P6: in the chat that is kept."""
    stage.streams(*events, chunk({}, "tool_calls"), chunk(usage=usage(10, 30)))
    payer = await stage.payer()
    session = stage.desk.manager.get_session(payer.session_id, f"user-{stage.run.number}")
    chat_id = (await session.create_new_chat()).chat_id
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    seen = await stage.ask(
        payer, max_tokens=100, stream=True, tools=[tool], headers={"x_prepaid_chat": chat_id}
    )
    assert not seen.has_failed, seen.content[-300:]
    assert await stage.paid(payer) == (10 + 2 * 30, 0)
    reads = stage.desk.store.reads
    record = reads.chat(payer.session_id, int(chat_id.rsplit(".", 1)[1]))
    kept = [made for stored in reads.messages(record, limit=10) for made in stored.message.tool_calls]
    assert [(made.id, made.name, made.arguments) for made in kept] == [
        ("call_1", "f", '{"a":"one"}'),
        ("call_2", "f", '{"a":"two"}'),
    ]


async def test_words_that_come_with_an_error_arrive_before_it(stage):
    """Spec P6, P3: and are booked."""
    words = b"".join(sse(chunk({"content": f"word{number} " * 20})) for number in range(5))
    error = sse({"error": {"message": "overloaded", "type": "server_error"}})
    stage.streams(words + error, done=False)
    payer = await stage.payer()
    seen = await stage.ask(payer, max_tokens=300, stream=True)
    assert [number for number in range(5) if f"word{number}".encode() in seen.content] == [0, 1, 2, 3, 4]
    assert seen.content.index(b"word4") < seen.content.index(b'"error"')
    charged, booked = await stage.paid(payer)
    assert charged == 0  # spec C12
    assert booked >= 2 * 5 * 20 * 6 // 4


async def test_done_is_the_end_though_the_connection_stays_open(stage):
    """Spec P6."""
    is_read = asyncio.Event()
    everything = b"".join(map(sse, BASE)) + DONE

    async def script(exchange):
        await stage.sent(exchange, [everything], done=False, end=False)
        await is_read.wait()  # the client has its end before the provider ends

    stage.answers(script)
    payer = await stage.payer()
    seen = await stage.ask(payer, max_tokens=300, stream=True)
    is_read.set()
    assert not seen.has_failed
    assert said(seen) == WORDS
    assert await stage.paid(payer) == (210, 0)


# too much is charged


IMAGE = "data:image/png;base64," + "A" * 400


async def _left_and_whole(stage, model, into, **body):
    """What a chat costs that is left after 20 of 60 words, and what it costs when it is read."""
    words = [
        event for number in range(60) for event in (Bill(0, 1), chunk({"content": f"tok{number} "}), 0.005)
    ]
    events = [Bill(into, 0), *words, chunk({}, "stop"), chunk(usage=usage(into, 60))]
    costs = []
    for leave in (b"tok19 ", None):
        stage.streams(*events, model=model)
        payer = await stage.payer()
        await stage.ask(payer, model, stream=True, leave=leave, **body)
        costs.append((await stage.paid(payer))[0])
    return costs


async def test_a_bound_is_no_count_of_an_image(stage):
    """Spec P3, P11: an image may have 50,000 tokens; this chat has a thousand."""
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": IMAGE}}]
    messages = [{"role": "user", "content": content}]
    left, read = await _left_and_whole(stage, "images", 1_000, messages=messages, max_tokens=100)
    assert 0 < left <= 2 * read
    assert read == 1_000 + 2 * 60


async def test_the_hold_is_no_price_of_leaving(stage):
    """Spec P3."""
    left, read = await _left_and_whole(stage, "words", 20, text="tok " * 20, max_tokens=4_000)
    assert 0 < left <= 2 * read
    assert read == 20 + 2 * 60
