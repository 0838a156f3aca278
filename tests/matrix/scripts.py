"""What is asked and answered in a cell, in tokens whose true count the test knows.

Every token has four bytes, and is a short word with a space (but for the outputs that are about other vocabularies),
so that whoever counts bytes or words for want of anything better is right. An answer has eight pieces, the first of which begins with ``p00``.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from matrix.cells import (
    AGAIN,
    BACKED,
    STATUSES,
    TIMEOUTS,
    TOGETHER,
    UNTOLD,
    After,
    Answerer,
    Api,
    Cell,
    Ending,
    Mode,
    Output,
    Told,
)
from matrix.provider import Body, Exchange, Generation, HungUp, Tally, named_event, sse

PIECES = 8
PIECE_TOKENS = 5
HIDDEN_TOKENS = 60
LIMIT = 200
"""More than any answer has."""
DEARER_TIMES = 10
RELIEF = "relief"
"""The model that others fall back to."""
DEAR = "dear"
"""The model of the catalogue that answers where a dearer one does."""
IMAGE_TOKENS = 255
"""By OpenAI's formula, of 512 × 512 pixels: 85 and a tile of 170."""
CALLS = frozenset({Output.TOOL_CALL, Output.PARALLEL_TOOL_CALLS, Output.FUNCTION_CALL, Output.CUSTOM_TOOL})
REASONED = frozenset(
    {
        Output.REASONING_CONTENT,
        Output.REASONING,
        Output.REASONING_DETAILS,
        Output.REASONING_TWICE,
        Output.THINKING_BLOCKS,
    }
)
"""Their first half is reasoning, their second text."""

LEAVES_AT_ONCE_SECONDS = 10.0
LEAVES_IF_AT_ALL_SECONDS = 2.0
"""Where something may be hidden: who knows of it reads on, who cannot know leaves."""
GOES_UNNOTICED_SECONDS = 0.03

# points of an answer
BEFORE, ROLE, MIDDLE, LAST_WORD, ENDED, USAGE = "before", "role", "middle", "last word", "ended", "usage"
_POINTS = {
    Ending.LEFT_BEFORE: BEFORE,
    Ending.LEFT_ROLE: ROLE,
    Ending.LEFT_ENDLESS: ROLE,
    Ending.LEFT_MIDDLE: MIDDLE,
    Ending.LEFT_LAST_WORD: LAST_WORD,
    Ending.LEFT_ENDED: ENDED,
    Ending.LEFT_USAGE: USAGE,
    Ending.KILLED_EARLY: BEFORE,
    Ending.KILLED: MIDDLE,
    Ending.STOPPED_EARLY: BEFORE,
    Ending.STOPPED: MIDDLE,
    Ending.DISK_FULL: ENDED,
}


def png(width: int = 512, height: int = 512) -> str:
    """A white image, as a data URL."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress((b"\0" + b"\xff" * width) * height, 9)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    image = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", rows) + part(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(image).decode()


IMAGE_URL = png()
TOOL = {"name": "func", "parameters": {"type": "object"}}


@dataclass(eq=False)
class Run:
    """A cell that is being played: how it is asked, and what its provider has done so far."""

    cell: Cell
    number: int
    model: str = ""
    tally: Tally = field(default_factory=Tally)
    shown: int = 0
    """Tokens of output that whoever asked was sent."""
    told: tuple[int, int] | None = None
    """Tokens in and out that were told and can be true, as last sent."""
    is_told_whole: bool = False
    """Whether that was the usage of the whole answer, and nothing came after it that could be billed."""
    was_left: bool = False
    """Whether the gateway has hung up before the provider had said all."""
    open: int = 0
    """Requests that the provider works on at the moment."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """The provider has come to where the cell's ending is to happen."""
    go: asyncio.Event = field(default_factory=asyncio.Event)
    """It has happened."""

    @property
    def tag(self) -> str:
        """What tells the provider, in the prompt, whose request it is."""
        return f"#{self.number:06d}#"

    @property
    def prompt(self) -> str:
        return f"{self.tag}tell me now " + "tok " * 24

    @property
    def marker(self) -> bytes | None:
        """What a client has read when it has come to the point; ``None`` where nothing has come yet."""
        point = _POINTS.get(self.cell.ending)
        if self.cell.mode is Mode.PLAIN or point in {None, BEFORE}:
            return None
        if self.cell.api is Api.RESPONSES:
            return {ROLE: b"response.created", MIDDLE: b"p03", LAST_WORD: b"p07", ENDED: b"fp_ended"}[point]
        return {ROLE: b'"role"', MIDDLE: b"p03", LAST_WORD: b"p07", ENDED: b"fp_ended", USAGE: b"fp_usage"}[
            point
        ]


# what is asked


def request(run: Run) -> tuple[str, Body]:
    """The path below ``/v1``, and the body."""
    cell = run.cell
    body: Body = {"model": run.model}
    if cell.mode is Mode.STREAM:
        body["stream"] = True
    if cell.api is Api.EMBEDDINGS:
        return "/embeddings", body | {"input": run.prompt}
    if cell.api is Api.RESPONSES:
        return "/responses", body | _response_request(run)
    body |= {"messages": [{"role": "user", "content": _chat_content(run)}], "max_tokens": LIMIT}
    if cell.mode is Mode.STREAM:
        body["stream_options"] = {"include_usage": True}
    if cell.output is Output.FUNCTION_CALL:
        body["functions"] = [TOOL]
    elif cell.output in CALLS:
        body["tools"] = [{"type": "function", "function": TOOL}]
    return "/chat/completions", body


def _chat_content(run: Run) -> Any:
    if run.cell.output is not Output.IMAGE:
        return run.prompt
    return [
        {"type": "text", "text": run.prompt},
        {"type": "image_url", "image_url": {"url": IMAGE_URL}},
    ]


def _response_request(run: Run) -> Body:
    asked: Body = {"input": run.prompt, "max_output_tokens": LIMIT}
    if run.cell.output is Output.IMAGE:
        parts = [{"type": "input_text", "text": run.prompt}, {"type": "input_image", "image_url": IMAGE_URL}]
        asked["input"] = [{"type": "message", "role": "user", "content": parts}]
    if run.cell.output in CALLS:
        asked["tools"] = [{"type": "function", **TOOL}]
    return asked


def input_tokens(body: Body) -> int:
    """The provider's own count of a prompt: a token for four bytes of each text, and its images."""
    return sum(
        map(_input_of, (body.get("messages"), body.get("input"), body.get("tools"), body.get("functions")))
    )


def _input_of(part: Any) -> int:
    match part:
        case str():
            return _tokens(part)
        case list():
            return sum(map(_input_of, part))
        case {"image_url": _}:
            return IMAGE_TOKENS
        case {"function": dict(tool)}:
            return _input_of(tool)
        case {"name": name, "parameters": dict(parameters)}:
            return _tokens(name) + _tokens(json.dumps(parameters, separators=(",", ":")))
        case {"content": content}:
            return _input_of(content)
        case {"text": text}:
            return _tokens(text)
    return 0


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // 4)


# what is answered


def piece(output: Output, number: int) -> str:
    """One piece of the answer, of ``PIECE_TOKENS``."""
    if output is Output.LONG_WORDS:
        return f"p{number:02d}" + "abcdefghijkl " + "internationally " * (PIECE_TOKENS - 1)
    if output is Output.SHORT_WORDS:
        return f"p{number:02d}." + "ab" * (PIECE_TOKENS - 2)
    return f"p{number:02d} " + "tok " * (PIECE_TOKENS - 1)


@dataclass(frozen=True)
class Step:
    """An event of an answer."""

    event: Body | None = None
    shown: int = 0
    """Tokens that it shows."""
    hidden: int = 0
    """Tokens that are made before it and not shown."""
    point: str = ""
    """Where one is after it."""


def steps(run: Run) -> list[Step]:
    """A streamed answer up to its usage."""
    return list(_response_steps(run) if run.cell.api is Api.RESPONSES else _chat_steps(run))


def _hidden(cell: Cell) -> int:
    return HIDDEN_TOKENS if cell.output is Output.HIDDEN else 0


def _chat_steps(run: Run) -> Iterator[Step]:
    output = run.cell.output
    yield Step(_chunk(run, {"role": "assistant", "content": ""}), point=ROLE)
    for number in range(PIECES):
        hidden = _hidden(run.cell) if number == 0 else 0
        delta, names = _delta(output, number)
        yield Step(_chunk(run, delta), PIECE_TOKENS + names, hidden, _point_after(number))
    reason = {Output.FUNCTION_CALL: "function_call"}.get(output, "tool_calls" if output in CALLS else "stop")
    yield Step(_chunk(run, {}, reason, system_fingerprint="fp_ended"), point=ENDED)


def _point_after(number: int) -> str:
    return {PIECES // 2 - 1: MIDDLE, PIECES - 1: LAST_WORD}.get(number, "")


def _delta(output: Output, number: int) -> tuple[Body, int]:
    """The piece as a delta, and the tokens of names in it."""
    text, is_first_half = piece(output, number), number < PIECES // 2
    call = 1 if output is Output.PARALLEL_TOOL_CALLS and not is_first_half else 0
    begins = number == 0 or (call and number == PIECES // 2)
    if output in CALLS:
        named = {"name": "func"} if begins else {}
        if output is Output.FUNCTION_CALL:
            return {"function_call": {**named, "arguments": text}}, bool(begins)
        ids = {"id": f"call_{call}"} if begins else {}
        of = {"type": "custom", "custom": {**named, "input": text}}
        if output is not Output.CUSTOM_TOOL:
            of = {"type": "function", "function": {**named, "arguments": text}}
        return {"tool_calls": [{"index": call, **ids, **of}]}, bool(begins)
    return _said(output, text, is_first_half=is_first_half), 0


def _said(output: Output, text: str, *, is_first_half: bool) -> Body:
    if output in REASONED and is_first_half:
        details = [{"type": "reasoning.text", "text": text}]
        return {
            Output.REASONING_CONTENT: {"reasoning_content": text},
            Output.REASONING: {"reasoning": text},
            Output.REASONING_DETAILS: {"content": "", "reasoning_details": details},
            Output.REASONING_TWICE: {"reasoning": text, "reasoning_details": details},
            Output.THINKING_BLOCKS: {"thinking_blocks": [{"type": "thinking", "thinking": text}]},
        }[output]
    if output is Output.LISTED:
        return {"content": [{"type": "text", "text": text}]}
    return {"refusal" if output is Output.REFUSAL else "content": text}


def _chunk(run: Run, delta: Body | None, reason: str | None = None, **more: Any) -> Body:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": answering(run),
        "choices": choices,
        **more,
    }


def answering(run: Run) -> str:
    """The model's name in the answer."""
    match run.cell.answerer:
        case Answerer.DEARER:
            return DEAR
        case Answerer.SNAPSHOT:
            return f"{run.model}-2026-01-15"
    return run.model


def _response_steps(run: Run) -> Iterator[Step]:
    output = run.cell.output
    begun = _response(run, [], "in_progress")
    yield Step({"type": "response.created", "response": begun}, point=ROLE)
    items = _items(run)
    for index, item in enumerate(items):
        yield from _item_steps(run, index, item, is_last=index == len(items) - 1)
    assert output is not Output.FUNCTION_CALL


@dataclass(frozen=True)
class Item:
    """One item of a response: its pieces, and what it is made of them."""

    whole: Body
    delta: str
    done: Body
    numbers: range
    named: int = 0
    hidden: int = 0


def _items(run: Run) -> list[Item]:
    output, all_of = run.cell.output, range(PIECES)
    first, second = range(PIECES // 2), range(PIECES // 2, PIECES)
    match output:
        case Output.HIDDEN:
            kept = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "A" * 64}
            return [Item(kept, "", {}, range(0), hidden=HIDDEN_TOKENS), _message(output, all_of)]
        case Output.REASONING_CONTENT | Output.REASONING:
            return [_reasoning(output, first), _message(output, second)]
        case Output.TOOL_CALL:
            return [_call(output, 0, all_of)]
        case Output.PARALLEL_TOOL_CALLS:
            return [_call(output, 0, first), _call(output, 1, second)]
        case Output.CUSTOM_TOOL:
            whole = {"id": "ct_1", "type": "custom_tool_call", "call_id": "call_0", "name": "func"}
            text = _text(output, all_of)
            return [
                Item(whole | {"input": text}, "response.custom_tool_call_input", {"input": text}, all_of, 1)
            ]
    return [_message(output, all_of)]


def _text(output: Output, numbers: range) -> str:
    return "".join(piece(output, number) for number in numbers)


def _message(output: Output, numbers: range) -> Item:
    text = _text(output, numbers)
    part = {"type": "output_text", "text": text, "annotations": []}
    kind, done = "response.output_text", {"text": text}
    if output is Output.REFUSAL:
        part, kind, done = {"type": "refusal", "refusal": text}, "response.refusal", {"refusal": text}
    whole = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    return Item(whole, kind, done, numbers)


def _reasoning(output: Output, numbers: range) -> Item:
    text = _text(output, numbers)
    whole: Body = {"id": "rs_1", "type": "reasoning", "summary": []}
    if output is Output.REASONING:
        whole["summary"] = [{"type": "summary_text", "text": text}]
        return Item(whole, "response.reasoning_summary_text", {"text": text}, numbers)
    whole["content"] = [{"type": "reasoning_text", "text": text}]
    return Item(whole, "response.reasoning_text", {"text": text}, numbers)


def _call(output: Output, call: int, numbers: range) -> Item:
    text = _text(output, numbers)
    whole = {
        "id": f"fc_{call}",
        "type": "function_call",
        "call_id": f"call_{call}",
        "name": "func",
        "arguments": text,
    }
    return Item(whole, "response.function_call_arguments", {"arguments": text}, numbers, 1)


_EMPTIED = ("content", "summary", "arguments", "input")


def _item_steps(run: Run, index: int, item: Item, *, is_last: bool) -> Iterator[Step]:
    output, at = run.cell.output, {"output_index": index, "item_id": item.whole["id"]}
    empty = {name: type(item.whole[name])() for name in _EMPTIED if name in item.whole}
    yield Step(
        {"type": "response.output_item.added", "output_index": index, "item": item.whole | empty}, item.named
    )
    at |= {"summary_index": 0} if "summary" in item.delta else {"content_index": 0}
    if output is not Output.DONE_ONLY:
        for number in item.numbers:
            event = {"type": f"{item.delta}.delta", **at, "delta": piece(output, number)}
            yield Step(event, PIECE_TOKENS, point=_point_after(number))
    if item.numbers:
        is_news = output is Output.DONE_ONLY
        done = {"type": f"{item.delta}.done", **at, **item.done}
        yield Step(done, PIECES * PIECE_TOKENS if is_news else 0, point=LAST_WORD if is_news else "")
    event = {"type": "response.output_item.done", "output_index": index, "item": item.whole}
    if is_last:
        event["item"] = item.whole | {"x_fingerprint": "fp_ended"}
    yield Step(event, hidden=item.hidden, point=ENDED if is_last else "")


def _response(run: Run, output: list[Body], status: str, **usage: Any) -> Body:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "model": answering(run),
        "status": status,
        "error": None,
        "incomplete_details": None,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None,
        **usage,
    }


# usage


def usage(cell: Cell, tokens_in: int, tokens_out: int) -> dict[str, Any]:
    """``{"usage": …}`` in the cell's form, or nothing."""
    into, out = (
        ("input_tokens", "output_tokens")
        if cell.api is Api.RESPONSES
        else ("prompt_tokens", "completion_tokens")
    )
    total = tokens_in + tokens_out
    counts = {into: tokens_in, out: tokens_out, "total_tokens": total}
    told: Any = {
        Told.EMPTY: {},
        Told.NULL: None,
        Told.NULLS: dict.fromkeys(counts),
        Told.ZEROS: dict.fromkeys(counts, 0),
        Told.ZERO_OUTPUT: {into: tokens_in, out: 0, "total_tokens": tokens_in},
        Told.STRINGS: {name: str(count) for name, count in counts.items()},
        Told.FLOATS: {name: float(count) for name, count in counts.items()},
        Told.NEGATIVE: {into: -1, out: -5, "total_tokens": -6},
        Told.HUGE: {into: 10**15, out: 10**15, "total_tokens": 2 * 10**15},
        Told.TOTAL_ONLY: {"total_tokens": total},
        Told.NO_COMPLETION: {into: tokens_in, "total_tokens": total},
        Told.CACHED_BEYOND: {**counts, f"{into}_details": {"cached_tokens": tokens_in + 50}},
    }.get(cell.told, counts)
    if cell.api is Api.EMBEDDINGS and isinstance(told, dict):
        told.pop(out, None)
    return {} if cell.told is Told.ABSENT else {"usage": told}


# the provider, playing


async def play(exchange: Exchange, run: Run) -> None:
    """Answers one request of a cell as the cell has it, and notes what is billed."""
    run.open += 1
    try:
        await _play(exchange, run)
    finally:
        run.open -= 1


async def _play(exchange: Exchange, run: Run) -> None:
    run.tally.requests += 1
    cell, ending = run.cell, run.cell.ending
    if exchange.body["model"] == RELIEF:
        await Answer(exchange, run, replace_ending(cell)).play()
        return
    if status := STATUSES.get(ending) or _first_refusal(run):
        if ending in {Ending.STATUS_502, Ending.STATUS_504}:
            Answer(exchange, run, cell).bill_all()
        after = {"Retry_After": "0"} if ending in AGAIN else {}
        await exchange.reply({"error": {"message": "not now", "type": "fake"}}, status, **after)
        return
    await Answer(exchange, run, cell).play()


def replace_ending(cell: Cell) -> Cell:
    """The same, answered by whoever is fallen back to."""
    return Cell(cell.api, cell.mode, Ending.WHOLE, cell.told)


def _first_refusal(run: Run) -> int:
    ending = run.cell.ending
    if ending is Ending.FALLBACK_AFTER_500:
        return 500
    if run.tally.requests > 1:
        return 0
    return {Ending.REFUSED_429_ONCE: 429, Ending.REFUSED_503_ONCE: 503}.get(ending, 0)


class Answer:
    """One generation, told to one exchange."""

    def __init__(self, exchange: Exchange, run: Run, cell: Cell) -> None:
        self.exchange = exchange
        self.run = run
        self.cell = cell
        self.point = _POINTS.get(cell.ending, "")
        times = DEARER_TIMES if cell.answerer is Answerer.DEARER else 1
        self.generation: Generation = run.tally.begin(input_tokens(exchange.body), times=times)
        plan = steps(Run(cell, 0)) if cell.api is not Api.EMBEDDINGS else []
        self.whole = sum(step.shown + step.hidden for step in plan)

    def bill_all(self) -> None:
        """All that it would have made is made."""
        self.generation.output = LIMIT if self.cell.ending is Ending.LEFT_ENDLESS else self.whole

    async def play(self) -> None:
        try:
            await self._play()
        except HungUp:
            self.hung_up()

    def hung_up(self) -> None:
        """Nobody reads any more: what becomes of the rest."""
        self.run.was_left = True
        if self.cell.after is After.GOES_ON or self.cell.mode is Mode.PLAIN or self.cell.ending in TIMEOUTS:
            self.bill_all()

    async def _play(self) -> None:
        ending = self.cell.ending
        if ending in {Ending.TIMEOUT_HEAD, Ending.FALLBACK_AFTER_TIMEOUT}:
            self.bill_all()
            await self.exchange.gone(60)
            raise HungUp
        if ending in {Ending.CUT_HEAD, Ending.FALLBACK_AFTER_CUT}:
            self.bill_all()
            self.exchange.cut()
            return
        if ending is Ending.ERROR_BEFORE:
            self.generation.input = 0
            await self._error()
            return
        if self.point == BEFORE or (self.cell.mode is Mode.PLAIN and self.point):
            await self._paused()
        await (self._whole if self.cell.mode is Mode.PLAIN else self._streamed)()

    async def _paused(self) -> None:
        """Come to the point: wait until what is to happen has happened."""
        self.run.reached.set()
        await self.run.go.wait()
        is_left = self.cell.is_seen_ending or self.cell.ending in TOGETHER - {Ending.DISK_FULL}
        seconds = LEAVES_AT_ONCE_SECONDS if is_left else GOES_UNNOTICED_SECONDS
        if self.cell.is_seen_ending and self.cell.may_hide:
            seconds = LEAVES_IF_AT_ALL_SECONDS
        if await self.exchange.gone(seconds):
            raise HungUp

    # plain

    async def _whole(self) -> None:
        self.bill_all()
        body = self._plain_body() | usage(self.cell, self.generation.input, self.whole)
        data = json.dumps(body).encode()
        if self.cell.ending in {Ending.CUT_BODY, Ending.TIMEOUT_BODY}:
            await self.exchange.head(200, "application/json", length=len(data))
            await self.exchange.send(data[: len(data) // 2])
            if self.cell.ending is Ending.TIMEOUT_BODY:
                await self.exchange.gone(60)
                raise HungUp
            await asyncio.sleep(0.02)
            self.exchange.cut()
            return
        await self.exchange.head(200, "application/json", length=len(data))
        await self.exchange.send(data)
        self.run.shown += self.whole - _hidden(self.cell)
        self._told(self.whole, is_whole=True)

    def _plain_body(self) -> Body:
        if self.cell.api is Api.EMBEDDINGS:
            data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
            return {"object": "list", "model": answering(self.run), "data": data}
        if self.cell.api is Api.RESPONSES:
            return _response(self._as_run, [item.whole for item in _items(self._as_run)], "completed")
        events = [step.event for step in steps(self._as_run)]
        message, reason = (
            merged([event["choices"][0]["delta"] for event in events]),
            events[-1]["choices"][0]["finish_reason"],
        )
        choices = [{"index": 0, "message": message, "finish_reason": reason}]
        return {**events[0], "object": "chat.completion", "choices": choices}

    @property
    def _as_run(self) -> Run:
        return Run(self.cell, self.run.number, self.exchange.body["model"])

    # streamed

    async def _streamed(self) -> None:
        await self.exchange.head()
        for step in steps(self._as_run):
            await self._step(step)
            if await self._is_over(step):
                return
        await self._finish()

    async def _step(self, step: Step) -> None:
        self.generation.output += step.shown + step.hidden
        event = dict(step.event)
        if self.cell.told is Told.EVERY_CHUNK:
            event |= usage(self.cell, self.generation.input, self.generation.output)
        await self.exchange.send(self._framed(event))
        self.run.shown += step.shown
        if self.cell.told is Told.EVERY_CHUNK:
            self._told(self.generation.output)
        if self.point and step.point == self.point:
            if self.cell.ending is Ending.LEFT_ENDLESS:
                await self._think()
            await self._paused()

    async def _think(self) -> None:
        """Without end, but with signs of life, as providers give them."""
        self.bill_all()
        self.run.reached.set()
        while not await self.exchange.gone(0.2):
            await self.exchange.send(b": still thinking\n\n")
        raise HungUp

    async def _is_over(self, step: Step) -> bool:
        """Whether the answer breaks off after this step."""
        ending = self.cell.ending
        if step.point == ENDED and ending is Ending.CUT_ENDED:
            self.exchange.cut()
            return True
        if step.point != (LAST_WORD if self.cell.output is Output.DONE_ONLY else MIDDLE):
            return False
        match ending:
            case Ending.ERROR_IN | Ending.ERROR_IN_ONE_READ:
                # A provider that fails, and says so, bills what it has shown at most.
                self.generation.output = self.run.shown
                await self._error(with_words=ending is Ending.ERROR_IN_ONE_READ)
            case Ending.TIMEOUT_BODY:
                self.bill_all()
                await self.exchange.gone(60)
                raise HungUp
            case Ending.CUT_BODY:
                self.bill_all()
                await asyncio.sleep(0.02)  # what was sent is read first
                self.exchange.cut()
            case _:
                return False
        return True

    async def _error(self, *, with_words: bool = False) -> None:
        error = {"error": {"message": "overloaded", "type": "server_error", "code": "overloaded"}}
        if self.cell.mode is Mode.PLAIN:
            await self.exchange.reply(error)
            return
        if not self.run.shown:
            await self.exchange.head()
        told = {"type": "error", "sequence_number": 99, **error["error"], **error}
        event = named_event(told) if self.cell.api is Api.RESPONSES else sse(error)
        if not with_words:
            await self.exchange.send(event)
        else:
            await self.exchange.send(self._more_words(), event)
            self.run.shown += PIECE_TOKENS
            self.generation.output += PIECE_TOKENS
            if self.cell.told is Told.EVERY_CHUNK:
                self._told(self.generation.output)
        await self.exchange.end()

    def _more_words(self) -> bytes:
        """The piece after the middle."""
        plan = steps(self._as_run)
        middle = next(number for number, step in enumerate(plan) if step.point in {MIDDLE, LAST_WORD})
        following = next((step for step in plan[middle + 1 :] if step.shown == PIECE_TOKENS), plan[middle])
        event = dict(following.event)
        if self.cell.told is Told.EVERY_CHUNK:
            event |= usage(self.cell, self.generation.input, self.generation.output + PIECE_TOKENS)
        return self._framed(event)

    async def _finish(self) -> None:
        """The usage, and the end of the stream."""
        told = usage(self.cell, self.generation.input, self.whole)
        if self.cell.api is Api.RESPONSES:
            whole = _response(
                self._as_run, [item.whole for item in _items(self._as_run)], "completed", **told
            )
            await self.exchange.send(named_event({"type": "response.completed", "response": whole}))
            self._told(self.whole, is_whole=True)
            await self.exchange.end()
            return
        done = b"data: [DONE]\n\n"
        if told and self.cell.told is not Told.EVERY_CHUNK:
            event = self._framed(_chunk(self._as_run, None, system_fingerprint="fp_usage") | told)
            await self.exchange.send(*([event, done] if self.cell.told is Told.WITH_DONE else [event]))
            self._told(self.whole, is_whole=True)
        elif told:
            event = _chunk(self._as_run, None, system_fingerprint="fp_usage") | told
            await self.exchange.send(self._framed(event))
            self._told(self.whole, is_whole=True)
        if self.point == USAGE:
            await self._paused()
        if self.cell.told is not Told.WITH_DONE:
            await self.exchange.send(done)
        await self.exchange.end()

    def _framed(self, event: Body) -> bytes:
        return named_event(event) if self.cell.api is Api.RESPONSES else sse(event)

    def _told(self, output: int, *, is_whole: bool = False) -> None:
        if self.cell.told not in UNTOLD:
            self.run.told = (self.generation.input, output)
            self.run.is_told_whole = is_whole


def merged(deltas: list[Body]) -> Body:
    """A whole message from its deltas."""
    message: Body = {"role": "assistant", "content": None}
    calls: dict[int, Body] = {}
    for delta in deltas:
        for name, value in delta.items():
            if name == "tool_calls":
                for part in value:
                    _merge_call(calls.setdefault(part["index"], {}), part)
            elif name == "function_call":
                _merge_call(message.setdefault(name, {}), value)
            elif name != "role" and value:
                message[name] = value if message.get(name) is None else message[name] + value
    if calls:
        message["tool_calls"] = [
            {name: value for name, value in calls[index].items() if name != "index"}
            for index in sorted(calls)
        ]
    return message


def _merge_call(call: Body, part: Body) -> None:
    for name, value in part.items():
        if isinstance(value, dict):
            _merge_call(call.setdefault(name, {}), value)
        elif name in {"arguments", "input"}:
            call[name] = call.get(name, "") + value
        else:
            call[name] = value


assert not BACKED & set(_POINTS)
