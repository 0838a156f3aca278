"""Upstreams as faulty as the real ones, on the wire: what is sent, how often, and what may be billed for it."""

from __future__ import annotations

import asyncio
import gzip
import socket
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from prepaid.config import UpstreamSettings
from prepaid.errors import (
    MayBill,
    ProviderError,
    ProviderFault,
    ProviderResponseInvalid,
    ProviderStreamBroken,
    ProviderTimeout,
)
from prepaid.models.retrying import with_retries
from prepaid.models.upstream import REPLY_BYTES_MAX, Upstream
from providers.wire import Wire, answer, breaks, says

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
BOMB = gzip.compress(b" " * 50_000_000)


@pytest.fixture
async def at():
    """An upstream at this URL; keywords are its settings."""
    opened = []

    def opening(base_url, **settings):
        opened.append(Upstream("up", UpstreamSettings(base_url=base_url, models=("m",), **settings)))
        return opened[-1]

    yield opening
    for upstream in opened:
        await upstream.aclose()


async def asked(upstream, body=b'{"model": "m"}'):
    """The whole answer, asked for as the relay does."""

    async def ask():
        async with upstream.ask("/chat/completions", body, model="m", payer="ann") as reply:
            return reply.content_type, await reply.content()

    return await with_retries(ask, upstream.settings.retries_max, _no_pause)


async def _no_pause(_):
    pass


async def silence(request, writer):
    await asyncio.sleep(60)


SENT_ONCE = {
    "resets at once": (breaks(reset=True), ProviderStreamBroken, MayBill.UNKNOWN),
    "closes at once": (breaks(), ProviderStreamBroken, MayBill.UNKNOWN),
    "resets in its head": (breaks(HEAD[:30], reset=True), ProviderStreamBroken, MayBill.UNKNOWN),
    "closes in its head": (breaks(HEAD[:30]), ProviderStreamBroken, MayBill.UNKNOWN),
    "resets in its body": (breaks(HEAD, b'{"id"', reset=True), ProviderStreamBroken, MayBill.UNKNOWN),
    "closes in its body": (breaks(HEAD, b'{"id"'), ProviderStreamBroken, MayBill.UNKNOWN),
    "closes in a chunk": (breaks(CHUNKED, b"ff\r\ndata"), ProviderStreamBroken, MayBill.UNKNOWN),
    "says nothing": (silence, ProviderTimeout, MayBill.UNKNOWN),
    "falls silent in its head": (says(HEAD[:30]), ProviderTimeout, MayBill.UNKNOWN),
    "falls silent in its body": (says(HEAD, b'{"id"'), ProviderTimeout, MayBill.UNKNOWN),
    "speaks no HTTP": (says(b"220 smtp.example ESMTP\r\n\r\n"), ProviderResponseInvalid, MayBill.UNKNOWN),
    "has huge headers": (
        says(answer(X_Long="x" * 200_000)),
        ProviderResponseInvalid,
        MayBill.UNKNOWN,
    ),
    "has no body": (says(b"HTTP/1.1 204 No Content\r\n\r\n"), ProviderResponseInvalid, MayBill.UNKNOWN),
    "resets the content": (says(answer(b"", "205 Reset Content")), ProviderResponseInvalid, MayBill.UNKNOWN),
    "packs with gzip": (
        says(answer(BOMB, Content_Encoding="gzip")),
        ProviderResponseInvalid,
        MayBill.UNKNOWN,
    ),
    "packs with deflate": (
        says(answer(zlib.compress(b"{}"), Content_Encoding="deflate")),
        ProviderResponseInvalid,
        MayBill.UNKNOWN,
    ),
    "packs with br": (
        says(answer(b"\x0b\x00", Content_Encoding="br")),
        ProviderResponseInvalid,
        MayBill.UNKNOWN,
    ),
    "is broken": (says(answer(b"no", "500 Broken")), ProviderError, MayBill.NOTHING),
    "lies behind a bad gateway": (says(answer(b"no", "502 Bad Gateway")), ProviderError, MayBill.UNKNOWN),
    "lies behind a slow one": (says(answer(b"no", "504 Gateway Timeout")), ProviderError, MayBill.UNKNOWN),
    "lies behind Cloudflare": (says(answer(b"no", "524 Timeout")), ProviderError, MayBill.UNKNOWN),
    "is overloaded": (says(answer(b"no", "529 Overloaded")), ProviderError, MayBill.NOTHING),
    "was not ready": (says(answer(b"no", "425 Too Early")), ProviderError, MayBill.NOTHING),
    "has moved": (
        says(answer(b"", "307 Temporary Redirect", Location="http://127.0.0.1:9/")),
        ProviderError,
        MayBill.NOTHING,
    ),
    "has an empty account": (
        says(answer(b'{"error": {"code": "insufficient_quota"}}', "429 Too Many Requests")),
        ProviderError,
        MayBill.NOTHING,
    ),
}


@pytest.mark.parametrize("fault", SENT_ONCE)
async def test_what_may_have_begun_is_asked_once(at, fault):
    """Spec P4: and what it may bill is told."""
    script, kind, may_bill = SENT_ONCE[fault]
    async with Wire(script) as wire:
        with pytest.raises(kind) as caught:
            await asked(at(wire.base_url, timeout_seconds=0.3))
    assert type(caught.value) is kind
    assert len(wire.requests) == 1
    assert (caught.value.may_bill, caught.value.can_resend) == (may_bill, False)
    assert str(wire.port) not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_what_says_that_it_has_not_begun_is_asked_again(at, status):
    """Spec P4."""
    async with Wire(says(answer(b"busy", status)), says(answer(b'{"a": 1}'))) as wire:
        assert await asked(at(wire.base_url)) == ("application/json", b'{"a": 1}')
        assert len(wire.requests) == 2
        wire.scripts = [says(answer(b"busy", status))]
        with pytest.raises(ProviderError) as caught:
            await asked(at(wire.base_url, retries_max=2))
        assert len(wire.requests) == 5
    assert caught.value.may_bill is MayBill.NOTHING


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "https://{}/v1", "http://no-such-host.invalid/v1"])
async def test_what_was_never_connected_is_tried_again(at, url):
    """Spec P4: no connection, no name, no TLS; nothing was sent."""
    tries = 0

    async def once(upstream):
        nonlocal tries
        tries += 1
        async with upstream.ask("/chat/completions", b"{}") as reply:
            return await reply.content()

    async with Wire(says(answer())) as wire:
        upstream = at(url.format(f"127.0.0.1:{wire.port}"), connect_timeout_seconds=0.5)
        with pytest.raises(ProviderError, match=r"cannot be reached|no connection within") as caught:
            await with_retries(lambda: once(upstream), 2, _no_pause)
    assert (tries, wire.requests) == (3, [])
    assert caught.value.may_bill is MayBill.NOTHING
    for place in ("127.0.0.1", "no-such-host", ":9"):
        assert place not in str(caught.value)
    assert "onnect" in caught.value.detail


async def test_a_success_is_an_answer_whatever_its_number(at):
    async with Wire(says(answer(b'{"a": 1}', "201 Created", kind="text/html"))) as wire:
        assert await asked(at(wire.base_url)) == ("application/json", b'{"a": 1}')


async def test_a_hundred_is_no_answer_yet(at):
    async with Wire(says(b"HTTP/1.1 100 Continue\r\n\r\n", answer(b'{"a": 1}'))) as wire:
        assert (await asked(at(wire.base_url)))[1] == b'{"a": 1}'


async def test_a_slow_head_within_the_limit_is_waited_for(at):
    async def slow(request, writer):
        for byte in answer(b'{"a": 1}')[:40]:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.01)
        writer.write(answer(b'{"a": 1}')[40:])

    async with Wire(slow) as wire:
        assert (await asked(at(wire.base_url, timeout_seconds=5)))[1] == b'{"a": 1}'


async def test_a_plain_answer_may_take_ten_minutes(at):
    assert at("http://127.0.0.1:9").settings.timeout_seconds == 600


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml; x=\x7f", "text/event-stream; charset=utf-8"])
async def test_only_types_of_ours_are_told(at, kind):
    """Spec P12."""
    async with Wire(says(answer(b"{}", kind=kind))) as wire:
        told, _ = await asked(at(wire.base_url))
    assert told == ("text/event-stream" if "event" in kind else "application/json")


async def test_a_body_without_end_is_left(at):
    async def endless(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while True:
            writer.write(b" " * 1_000_000)
            await writer.drain()

    async with Wire(endless) as wire:
        with pytest.raises(ProviderResponseInvalid, match=str(REPLY_BYTES_MAX)) as caught:
            await asked(at(wire.base_url))
    assert caught.value.may_bill is MayBill.UNKNOWN


@pytest.mark.parametrize(
    "script",
    [
        says(b"HTTP/1.1 429 Too Many\r\nRetry-After: 30\r\nContent-Length: 100\r\n\r\n", b'{"error'),
        breaks(
            b"HTTP/1.1 429 Too Many\r\nRetry-After: 30\r\nContent-Length: 100\r\n\r\n", b'{"error', reset=True
        ),
        says(answer(BOMB, "429 Too Many", Content_Encoding="gzip", Retry_After="30")),
    ],
    ids=["falls silent", "resets", "packed"],
)
async def test_a_refusal_is_one_by_its_status(at, monkeypatch, script):
    """Whatever becomes of its body, and however little of it comes."""
    monkeypatch.setattr("prepaid.models.upstream._REFUSAL_SECONDS", 0.2)
    async with Wire(script) as wire:
        with pytest.raises(ProviderError) as caught:
            await asked(at(wire.base_url, timeout_seconds=60))
    assert (caught.value.status, caught.value.after_seconds) == (429, 30.0)
    assert caught.value.fault is ProviderFault.RATE


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("60", 60),
        ("1.5", 1.5),
        ("9" * 400, None),
        ("999999", 3600),
        (format_datetime(datetime.now(UTC) + timedelta(days=40), usegmt=True), 3600),
        ("Fri, 31 Dec 9999 23:59:59 -9999", None),
        ("now", None),
    ],
    ids=["seconds", "part of one", "too many digits", "too long", "a date", "a date too far", "no date"],
)
async def test_how_long_to_wait_is_bounded(at, header, seconds):
    async with Wire(says(answer(b"", "429 Too Many", Retry_After=header))) as wire:
        with pytest.raises(ProviderError) as caught:
            await asked(at(wire.base_url, retries_max=0))
    assert caught.value.after_seconds == seconds


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
async def test_an_address_of_version_6(at):
    async with Wire(says(answer(b'{"a": 1}')), host="::1") as wire:
        assert (await asked(at(wire.base_url)))[1] == b'{"a": 1}'
    with pytest.raises(ProviderError, match="cannot be reached") as caught:
        await asked(at(wire.base_url))
    assert "::1" not in str(caught.value)


async def test_a_query_stays_behind_the_path(at):
    async with Wire(says(answer())) as wire:
        await asked(at(f"{wire.base_url}/deployments/d/?api-version=2024-06-01&sig=a%2Bb"))
    line = wire.requests[0].split(b"\r\n")[0]
    assert line == b"POST /v1/deployments/d/chat/completions?api-version=2024-06-01&sig=a%2Bb HTTP/1.1"


async def test_credentials_in_the_url_are_used_and_never_shown(at, caplog):
    """Spec P12."""
    async with Wire(says(answer(b"no s3cret-word", "401 No"))) as wire:
        base = wire.base_url.replace("http://", "http://ann:s3cret-word@") + "?code=hidden-code"
        upstream = at(base)
        with pytest.raises(ProviderError) as caught:
            await asked(upstream)
    assert b"authorization: basic" in wire.requests[0].lower()
    assert b"?code=hidden-code" in wire.requests[0]
    with pytest.raises(ProviderError) as gone:
        await asked(upstream)
    shown = [str(caught.value), caught.value.detail, str(gone.value), gone.value.detail, caplog.text]
    shown += [repr(upstream.settings), str(upstream.settings)]
    for text in shown:
        assert "s3cret" not in text
        assert "hidden-code" not in text


async def test_it_asks_for_nothing_packed(at):
    async with Wire(says(answer())) as wire:
        await asked(at(wire.base_url))
    assert b"accept-encoding: identity" in wire.requests[0].lower()
