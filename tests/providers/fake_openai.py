"""An OpenAI-compatible provider on loopback whose answers, usage, delays, faults and lies are set per request.

    with FakeOpenAI() as fake:
        fake.next(Behaviour(text="Hi", usage={"prompt_tokens": -1, "completion_tokens": 1}))
        ...  # ask http://127.0.0.1:PORT/v1, which is fake.base_url
        assert fake.served == 1

A request is answered as its own body field ``fake`` says (``{"fake": {"status": 500}}``), else as the first
behaviour that ``next`` queued, else as ``fake.default`` says. The server runs in a thread of its own, so tests,
gateways and subprocesses can all ask it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from providers.fake_responses import response, response_events

EXACT = "exact"


@dataclass(frozen=True)
class Behaviour:
    """How one request is answered.

    ``usage``: a dictionary told as it is, however wrong; ``None`` to tell none; by default input tokens are
    the words of the messages, and output tokens the words of the answer (cut at the request's limit).
    """

    text: str = "Hello from the fake provider."
    tool_calls: Sequence[dict[str, str]] = ()
    """``{"name": …, "arguments": …}``, each sent in two pieces."""
    usage: Any = EXACT
    input_times: int = 1
    """Counts the input so many times."""
    limit_times: int = 0
    """Bills so many times the output limit, whatever was said."""
    ignores_limit: bool = False
    """Says all of its text, however little was asked for."""
    finish_reason: str | None = "stop"
    status: int = 200
    error: Any = field(default_factory=lambda: {"error": {"message": "refused by the fake", "type": "fake"}})
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0
    """Before the first byte."""
    is_gated: bool = False
    """Not before the server's ``gate`` is set."""
    chunk_delay_seconds: float = 0
    """Before each chunk."""
    cut_after: int | None = None
    """Break the connection after so many chunks."""
    hang_after: int | None = None
    """Fall silent after so many chunks, until the client has gone."""
    raw: bytes | Sequence[bytes] | None = None
    """Sent instead of any chunk; ``str`` is taken as Latin-1 where it comes as JSON."""
    content_type: str = "text/event-stream"
    done: bool = True
    """Whether ``[DONE]`` ends the stream."""


class FakeOpenAI:
    """The server; a context manager. Counters are reset by ``reset()``."""

    def __init__(self) -> None:
        # asyncio switches Nagle's algorithm off for sockets that say they are TCP; create_server's do not say.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen()
        self.port: int = self._socket.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self.reset()
        routes = [
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/responses", self._responses, methods=["POST"]),
            Route("/v1/embeddings", self._embeddings, methods=["POST"]),
            Route("/v1/models", self._models),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes),
            log_level="critical",
            lifespan="off",
            ws="none",
            loop="asyncio",
            http="h11",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="fake-openai", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(timeout=120)
        self._socket.close()

    def reset(self) -> None:
        """Forget what was served and queued."""
        self.default = Behaviour()
        self.served = 0
        """Requests that came."""
        self.answered = 0
        """Answers given to the end, streams included."""
        self.dropped = 0
        """Streams that the client left."""
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.ports: list[int] = []
        """Of the connections that requests came on."""
        self.disconnected = threading.Event()
        self.gate = threading.Event()
        self._queued: deque[Behaviour] = deque()

    def next(self, *behaviours: Behaviour) -> None:
        """Answer the next requests so, one each."""
        self._queued.extend(behaviours)

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def _behaviour(self, body: dict[str, Any]) -> Behaviour:
        if isinstance(body.get("fake"), dict):
            return replace(self.default, **body["fake"])
        return self._queued.popleft() if self._queued else self.default

    async def _received(self, request: Request) -> tuple[dict[str, Any], Behaviour]:
        body = json.loads(await request.body())
        self.served += 1
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        self.ports.append(request.client.port)
        behaviour = self._behaviour(body)
        await asyncio.sleep(behaviour.delay_seconds)
        while behaviour.is_gated and not self.gate.is_set():  # noqa: ASYNC110 -- by another thread
            await asyncio.sleep(0.01)
        return body, behaviour

    async def _chat(self, request: Request) -> Response:
        body, behaviour = await self._received(request)
        if behaviour.status != 200:
            return _refusal(behaviour)
        if not body.get("stream"):
            if behaviour.raw is not None:
                return Response(b"".join(_raw(behaviour)), media_type=behaviour.content_type)
            return self._whole(_completion(body, behaviour), behaviour)
        return self._stream(_chunks(body, behaviour), behaviour)

    async def _responses(self, request: Request) -> Response:
        body, behaviour = await self._received(request)
        if behaviour.status != 200:
            return _refusal(behaviour)
        words, reason = said(body, behaviour)
        answer = response(body, words, reason, behaviour.tool_calls, usage_of(body, behaviour))
        if not body.get("stream"):
            return self._whole(answer, behaviour)
        return self._stream(_raw(behaviour) or response_events(answer, words), behaviour)

    def _whole(self, answer: dict[str, Any], behaviour: Behaviour) -> Response:
        self.answered += 1
        return JSONResponse(answer, headers=behaviour.headers)

    def _stream(self, chunks: list[bytes], behaviour: Behaviour) -> Response:
        return StreamingResponse(
            self._streamed(chunks, behaviour), media_type=behaviour.content_type, headers=behaviour.headers
        )

    async def _streamed(self, chunks: list[bytes], behaviour: Behaviour) -> AsyncIterator[bytes]:
        try:
            for number, chunk in enumerate(chunks):
                if number == behaviour.cut_after:
                    raise _Cut
                if number == behaviour.hang_after:
                    await asyncio.Event().wait()
                await asyncio.sleep(behaviour.chunk_delay_seconds)
                yield chunk
            self.answered += 1
        except asyncio.CancelledError:
            self.dropped += 1
            self.disconnected.set()
            raise

    async def _embeddings(self, request: Request) -> Response:
        body, behaviour = await self._received(request)
        if behaviour.status != 200:
            return _refusal(behaviour)
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        data = [
            {"object": "embedding", "index": number, "embedding": [float(len(text)), 1.0]}
            for number, text in enumerate(texts)
        ]
        tokens = sum(len(text.split()) for text in texts) * behaviour.input_times
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        told = usage if behaviour.usage == EXACT else behaviour.usage
        answer = {"object": "list", "model": body["model"], "data": data, "usage": told}
        return self._whole(answer, behaviour)

    async def _models(self, _: Request) -> Response:
        return JSONResponse(
            {"object": "list", "data": [{"id": "fake", "object": "model", "owned_by": "fake"}]}
        )


class _Cut(Exception):
    """Breaks the connection: uvicorn closes it without the end of the body."""


def _refusal(behaviour: Behaviour) -> Response:
    body = behaviour.error if isinstance(behaviour.error, str | bytes) else json.dumps(behaviour.error)
    return Response(
        body, status_code=behaviour.status, headers=behaviour.headers, media_type="application/json"
    )


def said(body: dict[str, Any], behaviour: Behaviour) -> tuple[list[str], str | None]:
    """The answer's words with their spaces, cut at the request's limit, and how it ends."""
    first, *others = behaviour.text.split(" ")
    words = ([first] if first else []) + [f" {word}" for word in others]
    limit = _limit(body)
    if limit is not None and len(words) > limit and not behaviour.ignores_limit:
        return words[:limit], "length"
    reason = (
        "tool_calls"
        if behaviour.tool_calls and behaviour.finish_reason == "stop"
        else behaviour.finish_reason
    )
    return words, reason


def _limit(body: dict[str, Any]) -> int | None:
    names = ("max_completion_tokens", "max_tokens", "max_output_tokens")
    return next((body[name] for name in names if body.get(name) is not None), None)


def _raw(behaviour: Behaviour) -> list[bytes]:
    raw = behaviour.raw or ()
    pieces = [raw] if isinstance(raw, bytes | str) else raw
    return [piece.encode("latin-1") if isinstance(piece, str) else piece for piece in pieces]


def usage_of(body: dict[str, Any], behaviour: Behaviour) -> Any:
    """What is billed, in the words of chat completions."""
    if behaviour.usage != EXACT:
        return behaviour.usage
    given = body.get("messages", body.get("input"))
    given = [{"content": given}] if isinstance(given, str) else given
    texts = [message.get("content") or "" for message in given]
    tokens = sum(len(text.split()) for text in texts if isinstance(text, str)) * behaviour.input_times
    words, _ = said(body, behaviour)
    spoken = len(words) + sum(len(call["arguments"]) for call in behaviour.tool_calls)
    spoken *= body.get("n") or 1
    if behaviour.limit_times:
        spoken = behaviour.limit_times * (_limit(body) or 1_000_000)
    return {"prompt_tokens": tokens, "completion_tokens": spoken, "total_tokens": tokens + spoken}


def _completion(body: dict[str, Any], behaviour: Behaviour) -> dict[str, Any]:
    words, reason = said(body, behaviour)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(words) or None}
    if behaviour.tool_calls:
        message["tool_calls"] = [
            {"id": f"call_{number}", "type": "function", "function": dict(call)}
            for number, call in enumerate(behaviour.tool_calls)
        ]
    choices = [
        {"index": index, "message": message, "finish_reason": reason} for index in range(body.get("n") or 1)
    ]
    usage = usage_of(body, behaviour)
    told = {} if usage is None else {"usage": usage}
    return {**_envelope(body, "chat.completion"), "choices": choices, **told}


def _chunks(body: dict[str, Any], behaviour: Behaviour) -> list[bytes]:
    """Server-sent events: a role, the words, the tool calls in pieces, the reason, the usage, the end."""
    if behaviour.raw is not None:
        return _raw(behaviour)
    words, reason = said(body, behaviour)
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word} for word in words]
    for number, call in enumerate(behaviour.tool_calls):
        half = len(call["arguments"]) // 2
        start = {"name": call["name"], "arguments": call["arguments"][:half]}
        deltas.append({"tool_calls": [{"index": number, "id": f"call_{number}", "function": start}]})
        deltas.append(
            {"tool_calls": [{"index": number, "function": {"arguments": call["arguments"][half:]}}]}
        )
    events = [_event(body, [{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas]
    if reason is not None:
        events.append(_event(body, [{"index": 0, "delta": {}, "finish_reason": reason}]))
    usage = usage_of(body, behaviour)
    if usage is not None and body.get("stream_options", {}).get("include_usage"):
        events.append(_event(body, [], usage=usage))
    if behaviour.done:
        events.append(b"data: [DONE]\n\n")
    return events


def _event(body: dict[str, Any], choices: list[dict[str, Any]], **more: Any) -> bytes:
    chunk = {**_envelope(body, "chat.completion.chunk"), "choices": choices, **more}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _envelope(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "fake-1", "object": kind, "created": 1_700_000_000, "model": body.get("model")}
