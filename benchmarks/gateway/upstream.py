"""A fake OpenAI that costs next to nothing itself: canned answers from a bare asyncio protocol.

    python -m benchmarks.gateway.upstream PORT

A request without ``"stream":true`` gets one JSON answer. With it, the first event comes at once, and the others
20 ms apart, so that whoever waits for more than the first is seen to.
"""

from __future__ import annotations

import asyncio
import json
import sys

import httptools
import uvloop

TEXT = ["Hello", " from", " the", " upstream."]
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
EVENT_SECONDS = 0.02


def _chunk(choices, **more):
    envelope = {"id": "1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "fast"}
    return f"data: {json.dumps({**envelope, 'choices': choices, **more})}\n\n".encode()


def _delta(**delta):
    return [{"index": 0, "delta": delta, "finish_reason": None}]


def _completion():
    message = {"role": "assistant", "content": "".join(TEXT)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    envelope = {"id": "1", "object": "chat.completion", "created": 1_700_000_000, "model": "fast"}
    return json.dumps({**envelope, "choices": [choice], "usage": USAGE}).encode()


BODY = _completion()
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENTS = [
    _chunk(_delta(role="assistant", content=TEXT[0])),
    *(_chunk(_delta(content=word)) for word in TEXT[1:]),
    _chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}]),
    _chunk([], usage=USAGE) + b"data: [DONE]\n\n",
]


class Answering(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport):
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""

    def data_received(self, data):
        self.parser.feed_data(data)

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        body, self.body = self.body, b""
        if b'"stream":true' in body or b'"stream": true' in body:
            self.transport.write(HEAD)
            self._event(0)
        else:
            self.transport.write(WHOLE)

    def _event(self, number):
        if self.transport.is_closing():
            return
        event = EVENTS[number]
        self.transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        if number + 1 == len(EVENTS):
            self.transport.write(b"0\r\n\r\n")
        else:
            asyncio.get_running_loop().call_later(EVENT_SECONDS, self._event, number + 1)


async def serve(port):
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
