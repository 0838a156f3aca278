"""Models behind an OpenAI-compatible API, streamed over one pooled HTTP client per upstream.

Imported only when an upstream is used. Retries are left to ``retrying``, fallbacks to ``turns``.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Final

import httpx
from httpx_sse import EventSource, SSEError

from prepaid.config import UpstreamSettings
from prepaid.errors import ProviderError, ProviderResponseInvalid, ProviderStreamBroken, ProviderTimeout
from prepaid.models.failures import refused, retry_after_seconds
from prepaid.models.measure import event_bytes, request_bytes, text_bytes
from prepaid.models.openai_wire import Answer, prompt_text, request_body
from prepaid.records import ChatRequest, Finish, ModelEvent, ModelInfo

__all__ = ["OpenAICompatibleModel", "Upstream"]

EVENT_BYTES_MAX: Final = 1_048_576
_ERROR_BYTES_MAX: Final = 65_536
_CONNECTIONS_MAX: Final = 1_000
_IDLE_CONNECTIONS_MAX: Final = 100
_DONE: Final = "[DONE]"

TOKENS_PER_MESSAGE: Final = 8
"""Role markers and separators that a provider's chat template puts around each message, at most."""

TOKENS_FOR_TOOLS: Final = 1_024
"""The hidden prompt that some providers add when a request has tools, at most."""

BYTES_PER_TOKEN_LIKELY: Final = 4


class Upstream:
    """One configured upstream: its name, its settings and its HTTP client."""

    def __init__(
        self, name: str, settings: UpstreamSettings, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.name = name
        self.settings = settings
        self.secret = settings.secret()
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if self.secret:
            headers["Authorization"] = f"Bearer {self.secret}"
        self.client = httpx.AsyncClient(
            base_url=settings.base_url,
            headers=headers,
            timeout=httpx.Timeout(settings.timeout_seconds, connect=settings.connect_timeout_seconds),
            limits=httpx.Limits(
                max_connections=_CONNECTIONS_MAX, max_keepalive_connections=_IDLE_CONNECTIONS_MAX
            ),
            transport=transport,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self.client.aclose()


class OpenAICompatibleModel:
    """A ``Model`` that an upstream answers for, under the name ``upstream_model`` there."""

    def __init__(self, info: ModelInfo, upstream: Upstream, upstream_model: str) -> None:
        self._info = info
        self._upstream = upstream
        self._upstream_model = upstream_model

    @property
    def info(self) -> ModelInfo:
        """Name, pinned price and limits."""
        return self._info

    def input_tokens_max(self, request: ChatRequest) -> int:
        """No byte-level tokenizer makes more tokens than bytes; template tokens come on top."""
        has_tools = bool(request.tools) or "tools" in request.extra
        size = -(-text_bytes(prompt_text(request)) // self._upstream.settings.bytes_per_token)
        return size + TOKENS_PER_MESSAGE * len(request.messages) + (TOKENS_FOR_TOOLS if has_tools else 0)

    def estimate_tokens(self, text: str) -> int:
        """A token for every four bytes, as is usual for English."""
        return -(-text_bytes(text) // BYTES_PER_TOKEN_LIKELY)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ModelEvent]:
        """The upstream's answer as it comes.

        Raises:
            ProviderError: refused, timed out, broken off, or not what the protocol says.
        """
        answer = Answer(self._upstream.name, self._upstream.secret)
        output_bytes = 0
        async with aclosing(self._deltas(request, answer)) as deltas:
            async for delta in deltas:
                output_bytes += event_bytes(delta)
                yield delta
        *calls, end = answer.end()
        for call in calls:
            output_bytes += event_bytes(call)
            yield call
        assert isinstance(end, Finish)
        if end.usage is not None:
            usage = replace(end.usage, input_bytes=request_bytes(request), output_bytes=output_bytes)
            end = Finish(end.reason, usage)
        yield end

    async def _deltas(self, request: ChatRequest, answer: Answer) -> AsyncGenerator[ModelEvent]:
        done = False
        try:
            async with self._events(request) as events:
                async for event in events:
                    if event.strip() == _DONE:
                        done = True
                        break
                    for delta in answer.texts(event):
                        yield delta
        except (ProviderTimeout, ProviderStreamBroken):
            # The whole answer is here; only its usage is missing, which is not worth failing for.
            if not answer.ended:
                raise
        if not done and not answer.ended:
            raise ProviderStreamBroken(
                f"Upstream {self._upstream.name!r} ended the stream before the answer."
            )

    @asynccontextmanager
    async def _events(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[str]]:
        """The data of each server-sent event; httpx's errors leave as ours."""
        body = request_body(request, self._upstream_model, self._upstream.settings.output_limit_field)
        content = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
        name = self._upstream.name
        headers = {"Content-Type": "application/json"}
        try:
            async with self._upstream.client.stream(
                "POST", "/chat/completions", content=content, headers=headers
            ) as response:
                if response.status_code != httpx.codes.OK:
                    raise await self._refusal(response)
                response.stream = guard = _Guarded(response.stream, name)
                async with aclosing(_data(response, guard)) as events:
                    yield events
        except httpx.TimeoutException as error:
            raise ProviderTimeout(
                f"Upstream {name!r} did not answer in time ({type(error).__name__}); it may take"
                f" {self._upstream.settings.timeout_seconds} seconds between two pieces."
            ) from error
        except SSEError:
            raise ProviderResponseInvalid(f"Upstream {name!r} did not answer with an event stream.") from None
        except (httpx.RemoteProtocolError, httpx.ReadError) as error:
            raise ProviderStreamBroken(f"Upstream {name!r} broke the connection: {error}.") from error
        except httpx.HTTPError as error:
            raise ProviderError(f"Upstream {name!r} cannot be reached: {error}.") from error

    async def _refusal(self, response: httpx.Response) -> ProviderError:
        """The error for a status other than 200; of its body only the beginning is read."""
        body = b""
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > _ERROR_BYTES_MAX:
                break
        after = retry_after_seconds(response.headers.get("Retry-After"))
        return refused(self._upstream.name, response.status_code, body, after, self._upstream.secret)


class _Guarded(httpx.AsyncByteStream):
    """Bytes of an event stream as they pass: refused where they are not UTF-8, or one event is too long.

    The parser behind it would replace the former silently and collect the latter without limit.
    """

    def __init__(self, stream: httpx.SyncByteStream | httpx.AsyncByteStream, upstream: str) -> None:
        assert isinstance(stream, httpx.AsyncByteStream)
        self._stream = stream
        self._upstream = upstream
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._event_bytes = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            self._check(piece)
            yield piece

    def event_is_whole(self) -> None:
        """The bytes so far made an event; the next one starts."""
        self._event_bytes = 0

    def _check(self, piece: bytes) -> None:
        try:
            self._decoder.decode(piece)
        except UnicodeDecodeError:
            raise ProviderResponseInvalid(
                f"Upstream {self._upstream!r} sent bytes that are not UTF-8."
            ) from None
        self._event_bytes += len(piece)
        if self._event_bytes > EVENT_BYTES_MAX:
            raise ProviderResponseInvalid(
                f"Upstream {self._upstream!r} sent more than {EVENT_BYTES_MAX} bytes without a whole event."
            )

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _data(response: httpx.Response, guard: _Guarded) -> AsyncGenerator[str]:
    async with aclosing(EventSource(response).aiter_sse()) as events:
        async for event in events:
            guard.event_is_whole()
            if event.data:
                yield event.data
