"""What a connection may do: requests that could be read in two ways, heads without end, clients that dawdle."""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import time
from functools import partial
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.running import Gateway

PROBE = str(Path(__file__).parent / "probe.py")
PATIENT = """
[gateway]
head_seconds = 60
body_seconds = 60
connections_max = 20
body_bytes_max = 100000
requests_per_key_max = 2
metrics = "anyone"
"""
HASTY = """
[gateway]
head_seconds = 2
body_seconds = 3
write_seconds = 1
keep_alive_seconds = 5
"""
POST = b"POST /test/echo HTTP/1.1\r\nhost: x\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
GET = b"GET /healthz HTTP/1.1\r\nhost: x\r\n"
OFFERS = [
    b"connection: Upgrade\r\nupgrade: x\r\n",
    b"upgrade: websocket\r\nconnection: keep-alive, upgrade\r\n",
    b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAA\r\n",
    b"connection: close, upgrade\r\nupgrade: x\r\nupgrade: y\r\n",
    b"proxy-connection: upgrade, keep-alive\r\nUpgrade: x\r\n",
]


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    with Gateway(tmp_path_factory.mktemp("probe"), PATIENT, program=(PROBE,)) as running:
        yield running


@pytest.fixture(scope="module")
def hasty(tmp_path_factory):
    with Gateway(tmp_path_factory.mktemp("hasty"), HASTY, program=(PROBE,)) as running:
        yield running


@pytest.fixture
def connect_to():
    """Opens connections that are closed in the end."""
    with contextlib.ExitStack() as stack:

        def connected(gateway, *pieces, **options):
            raw = Raw(gateway, *pieces, **options)
            stack.callback(raw.socket.close)
            return raw

        yield connected


@pytest.fixture
def connect(connect_to, probe):
    return partial(connect_to, probe)


class Raw:
    """A connection, byte by byte."""

    def __init__(self, gateway, *pieces, receive_buffer=None):
        self.seen = b""
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(60)
        self.socket.connect(("127.0.0.1", gateway.port))
        for piece in pieces:
            self.send(piece)

    def send(self, piece):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent;
            self.socket.sendall(piece)  # what it said can still be read

    def rest(self):
        """Everything until the server closes the connection."""
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := self.socket.recv(65_536):
                found += piece
        return found

    def drip(self, drop):
        """Drop after drop, until the server says something or has enough."""
        for _ in range(1_000):
            self.send(drop)
            if select.select([self.socket], [], [], 0.1)[0]:
                return
        raise AssertionError("it waits for ever")

    def statuses(self):
        return [int(line.split()[1]) for line in self.rest().split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]

    def reply(self):
        """The next reply that has a content length: its status and its body."""
        while b"\r\n\r\n" not in self.seen:
            self.seen += self._more()
        head, _, self.seen = self.seen.partition(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head)[1])
        while len(self.seen) < length:
            self.seen += self._more()
        body, self.seen = self.seen[:length], self.seen[length:]
        return int(head.split()[1]), body

    def _more(self):
        piece = self.socket.recv(65_536)
        assert piece, "closed"
        return piece


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(POST + b"content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, id="CL and TE"),
        pytest.param(POST + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n" + SMUGGLED, id="TE and CL"),
        pytest.param(POST + b"content-length: 4\r\ncontent-length: 5\r\n\r\nabcd" + SMUGGLED, id="two lengths"),
        pytest.param(POST + b"content-length: 4, 4\r\n\r\nabcd", id="a list of lengths"),
        pytest.param(POST + b"content-length: +4\r\n\r\nabcd", id="a signed length"),
        pytest.param(POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED, id="an unknown encoding"),
        pytest.param(POST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, id="one more encoding"),
        pytest.param(POST + b"transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", id="in two headers"),
        pytest.param(POST + b"transfer-encoding: ,chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, id="an empty encoding"),
        pytest.param(POST + b"transfer-encoding: gzip\r\n\r\n0\r\n\r\n" + SMUGGLED, id="another encoding"),
        pytest.param(CHUNKED.replace(b"/1.1", b"/1.0") + b"0\r\n\r\n" + SMUGGLED, id="chunks in HTTP/1.0"),
        pytest.param(POST + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED, id="chunked first"),
        pytest.param(POST + b"content-length : 4\r\n\r\nabcd", id="a blank before the colon"),
        pytest.param(POST + b"x-a: b\r\n c\r\n\r\n", id="a folded header"),
        pytest.param(b"GET /healthz HTTP/1.1\nhost: x\n\n", id="bare line feeds"),
        pytest.param(GET + b"x-a: a\rb\r\n\r\n", id="a bare carriage return"),
        pytest.param(GET + b"x-a: a\0b\r\n\r\n", id="a NUL"),
        pytest.param(GET + b"host: y\r\n\r\n", id="two hosts"),
        pytest.param(b"GET /healthz HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param(b"GET /healthz HTTP/9.9\r\nhost: x\r\n\r\n", id="an unknown version"),
        pytest.param(b"GET /healthz\r\n\r\n", id="HTTP/0.9"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(b"CONNECT evil:443 HTTP/1.1\r\nhost: evil\r\n\r\nabc", id="CONNECT"),
        pytest.param(b"CONNECT /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nabcd", id="CONNECT to a path"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 200, id="TLS"),
        pytest.param(b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n", id="a raw byte in the path"),
        pytest.param(CHUNKED + b"fffffffffffffffff\r\nx\r\n0\r\n\r\n", id="a chunk size that overflows"),
        pytest.param(CHUNKED + b"-1\r\nx\r\n0\r\n\r\n", id="a negative chunk"),
        pytest.param(CHUNKED + b"1\r\nxy\r\n0\r\n\r\n", id="a chunk that is longer than it says"),
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_is_refused_once_and_ends_the_connection(connect, request_bytes):
    assert connect(request_bytes).statuses() == [400]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (GET + b"".join(b"x-%d: y\r\n" % number for number in range(10_000)) + b"\r\n", 431),
        (GET + b"x-a: " + b"a" * 20_000_000 + b"\r\n\r\n", 431),
        (GET + b"x-a: " + b"a" * 33_000, 431),
        (b"GET /" + b"a" * 33_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 431),
        (CHUNKED + b"1\r\nx\r\n0\r\n" + b"x-t: y\r\n" * 200 + b"\r\n", 431),
        (CHUNKED[:-2] + b"x-h: y\r\n" * 60 + b"\r\n0\r\n" + b"x-t: y\r\n" * 60 + b"\r\n", 431),
        (CHUNKED + b"0\r\nx-t: " + b"a" * 33_000 + b"\r\n\r\n", 431),
    ],
    ids=[
        "10,000 headers",
        "a header of 20 MB",
        "one that does not end",
        "a long path",
        "trailers",
        "both",
        "a long trailer",
    ],
)
def test_a_head_is_limited(connect, request_bytes, status):
    assert connect(request_bytes).statuses() == [status]


def _with_offer(offer, *, is_chunked):
    said = (
        b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        if is_chunked
        else b"content-length: %d\r\n\r\n%b"
    )
    return POST + offer + said % (len(SMUGGLED), SMUGGLED)


class TestOffersOfAnotherProtocol:
    """``Upgrade``: nobody takes it up, and what follows the head is the request's own body."""

    @given(
        offer=st.sampled_from(OFFERS),
        is_chunked=st.booleans(),
        cuts=st.lists(st.floats(0, 1), max_size=3),
    )
    @example(offer=OFFERS[0], is_chunked=False, cuts=[0.68])
    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def test_the_body_is_the_request_s_wherever_it_is_cut(self, probe, offer, is_chunked, cuts):
        """And it is the last request of its connection."""
        request = _with_offer(offer, is_chunked=is_chunked)
        places = sorted(int(cut * len(request)) for cut in cuts)
        pieces = [request[a:b] for a, b in zip([0, *places], [*places, len(request)], strict=True)]
        raw = Raw(probe)
        with raw.socket:
            for piece in pieces:
                raw.send(piece)
                time.sleep(0.01)  # that it comes alone
            raw.send(SMUGGLED)
            reply = raw.rest()
        assert reply.count(b"HTTP/1.1 ") == 1
        assert reply.endswith(b'{"size":%d}' % len(SMUGGLED)), reply

    @pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
    @pytest.mark.parametrize("offer", OFFERS)
    def test_a_body_that_comes_behind_its_head(self, connect, offer, is_chunked):
        """The head was read for sure: the body was asked for."""
        request = _with_offer(offer + b"expect: 100-continue\r\n", is_chunked=is_chunked)
        head, _, body = request.partition(b"\r\n\r\n")
        raw = connect(head + b"\r\n\r\n")
        assert raw.socket.recv(100).startswith(b"HTTP/1.1 100 ")
        raw.send(body + SMUGGLED)
        reply = raw.rest()
        assert reply.count(b"HTTP/1.1 ") == 1
        assert reply.endswith(b'{"size":%d}' % len(SMUGGLED)), reply

    def test_what_was_asked_before_is_answered_first(self, connect):
        raw = connect(GET + b"\r\n" + _with_offer(OFFERS[0], is_chunked=False) + SMUGGLED)
        assert [raw.reply()[1] for _ in range(2)] == [b'{"status":"ok"}', b'{"size":%d}' % len(SMUGGLED)]
        assert raw.rest() == b""

    def test_without_a_body(self, connect):
        assert connect(GET + OFFERS[1] + b"\r\n").statuses() == [200]

    def test_its_head_is_limited_like_any(self, connect):
        assert connect(GET + OFFERS[0] + b"x-a: b\r\n" * 100 + b"\r\n").statuses() == [431]
        assert connect(GET + OFFERS[0] + b"host: y\r\n\r\n").statuses() == [400]
        assert connect(POST + OFFERS[0] + b"transfer-encoding: gzip, chunked\r\n\r\n").statuses() == [400]


class TestBodies:
    def test_one_of_the_longest_is_taken(self, probe):
        assert probe.post("/test/echo", content=b"x" * 100_000).json() == {"size": 100_000}
        assert probe.post("/test/echo", content=iter([b"x"] * 1_000)).json() == {"size": 1_000}

    @pytest.mark.parametrize("size", [100_001, 30_000_000])
    def test_a_longer_one_is_refused_and_told_the_limit(self, probe, size):
        with httpx.Client(base_url=probe.url) as client:
            reply = client.post("/test/echo", content=b"x" * size)
        assert (reply.status_code, reply.json()["code"], reply.json()["limit"]) == (
            413,
            "value_too_large",
            100_000,
        )
        assert reply.headers["x-should-retry"] == "false"

    def test_one_that_does_not_say_how_long_it_is_is_refused_when_it_is_too_long(self, connect):
        chunk = b"2710\r\n" + b"x" * 10_000 + b"\r\n"
        assert connect(CHUNKED, *[chunk] * 300).statuses() == [413]

    def test_nothing_is_sent_before_it_is_asked_for(self, connect):
        raw = connect(POST + b"expect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        assert raw.socket.recv(100).startswith(b"HTTP/1.1 100 ")
        raw.send(b"abcd")
        assert raw.reply() == (200, b'{"size":4}')


@pytest.mark.slow
class TestTime:
    @pytest.fixture
    def connect(self, connect_to, hasty):
        return partial(connect_to, hasty)

    @pytest.mark.parametrize(
        "beginning", [b"G", GET, GET + b"x-a: b"], ids=["a letter", "a line", "a header"]
    )
    def test_a_head_that_never_ends(self, connect, beginning):
        assert connect(beginning).statuses() == [408]

    def test_a_head_that_comes_drop_by_drop(self, connect):
        raw = connect(GET)
        raw.drip(b"x-a: b\r\n")
        assert raw.statuses() == [408]

    def test_a_connection_that_says_nothing(self, connect):
        assert connect().rest() == b""

    def test_empty_lines_are_nothing(self, connect):
        raw = connect()
        raw.drip(b"\r\n")
        assert raw.rest() == b""

    def test_a_body_that_stands_still(self, connect):
        assert connect(POST + b"content-length: 10\r\n\r\nabc").statuses() == [408]

    @pytest.mark.parametrize("path", [b"/test/echo", b"/v1/chat/completions", b"/api/v1/sessions"])
    def test_a_body_that_creeps(self, connect, path):
        """Byte by byte: it never stands still, and holds its connection no longer than one that does."""
        raw = connect(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n" % path)
        raw.drip(b" ")
        assert len(raw.statuses()) == 1

    def test_a_body_that_creeps_after_a_quick_beginning(self, connect):
        """What came before buys no more time than that of a body that stands still."""
        raw = connect(POST + b"content-length: 90000\r\n\r\n", b" " * 60_000)
        raw.drip(b" ")
        assert raw.statuses() == [408]

    def test_a_body_that_comes_slowly_but_comes(self, connect):
        """Two kilobytes a second, for longer than one may stand still."""
        raw = connect(POST + b"content-length: 8192\r\n\r\n")
        for _ in range(8):
            time.sleep(0.5)
            raw.send(b"x" * 1024)
        assert raw.reply() == (200, b'{"size":8192}')

    def test_a_body_that_never_comes_though_its_request_is_answered(self, connect):
        """Nothing is said any more: it would be taken for the answer to the next request."""
        assert connect(GET + b"content-length: 10\r\n\r\n").statuses() == [200]
        assert connect(GET + b"transfer-encoding: chunked\r\n\r\n").statuses() == [200]

    def test_an_idle_connection_is_closed_after_its_time(self, connect):
        raw = connect(GET + b"\r\n")
        assert raw.reply()[0] == 200
        time.sleep(3)  # longer than a new connection may say nothing
        raw.send(GET + b"\r\n")
        assert raw.reply()[0] == 200
        assert raw.rest() == b""

    def test_a_reply_that_takes_longer_than_any_limit_is_not_cut(self, hasty):
        assert hasty.get("/test/slow?3").json() == {"status": "slept"}

    def test_the_next_request_may_come_while_one_is_answered(self, connect):
        """Half of it, then nothing for longer than a head may take: it waits for us, not we for it."""
        raw = connect(b"GET /test/slow?3 HTTP/1.1\r\nhost: x\r\n\r\n" + GET)
        assert raw.reply()[0] == 200
        raw.send(b"\r\n")
        assert raw.reply()[0] == 200

    def test_a_client_that_does_not_read_is_gone(self, hasty, connect):
        before = hasty.log.count("the client has gone")
        connect(b"GET /test/flood HTTP/1.1\r\nhost: x\r\n\r\n", receive_buffer=4096)
        hasty.wait_until(lambda: hasty.log.count("the client has gone") > before)

    def test_a_client_that_hangs_up_is_gone(self, hasty, connect):
        before = hasty.log.count("the client has gone")
        raw = connect(b"GET /test/flood HTTP/1.1\r\nhost: x\r\n\r\n")
        raw.socket.recv(10)
        raw.socket.close()
        hasty.wait_until(lambda: hasty.log.count("the client has gone") > before)


@pytest.mark.slow
class TestNumber:
    def test_pipelined_requests_are_answered_in_order(self, connect):
        raw = connect((POST + b"content-length: 1\r\n\r\nx") + (GET + b"\r\n") * 2)
        assert [raw.reply()[1] for _ in range(3)] == [b'{"size":1}', b'{"status":"ok"}', b'{"status":"ok"}']

    def test_who_asks_first_is_served_when_idle_connections_fill_the_house(self, connect):
        for _ in range(30):
            connect()
        assert connect(GET + b"connection: close\r\n\r\n").statuses() == [200]

    def test_more_requests_at_once_than_there_is_room_for_are_refused(self, probe, connect):
        busy = [_begun(connect, number) for number in range(20)]
        assert connect(GET + b"connection: close\r\n\r\n").statuses() == [503]
        for raw in busy:
            raw.send(b"x")
        assert [raw.reply()[0] for raw in busy] == [200] * 20

    def test_one_key_has_so_many_requests_at_once(self, connect):
        busy = [_begun(connect, 1) for _ in range(2)]
        for _ in range(3):
            refused = connect(_taken(1) + b"connection: close\r\n\r\nx").rest()
            assert refused.startswith(b"HTTP/1.1 429 ")
            assert b"retry-after: 1\r\n" in refused
            assert json.loads(refused.partition(b"\r\n\r\n")[2])["code"] == "concurrency_limit_reached"
        for raw in busy:
            raw.send(b"x")
        assert [raw.reply()[0] for raw in busy] == [200] * 2
        assert connect(_taken(1) + b"connection: close\r\n\r\nx").statuses() == [200]


class TestDefects:
    @pytest.mark.parametrize("path", ["/test/defect", "/api/v1/test/defect"])
    def test_our_own_failure_tells_nothing_but_its_number(self, probe, path):
        named = path.replace("/", "-").strip("-")
        reply = probe.get(path, headers={"x-request-id": named})
        assert reply.headers["content-type"] == "application/problem+json"
        assert (reply.status_code, reply.json()["code"]) == (500, "prepaid_error")
        assert named in reply.json()["remedy"]
        record = probe.wait_until(
            lambda: [each for each in probe.records() if each.get("request_id") == named]
        )[0]
        assert record["kind"] == "RuntimeError"
        assert any("probe.py" in frame for frame in record["stack"])

    def test_one_in_the_midst_of_a_reply_breaks_it_off(self, probe):
        with pytest.raises(httpx.RemoteProtocolError):
            probe.get("/test/broken")

    def test_what_an_error_quotes_is_not_logged(self, probe):
        probe.get("/test/defect")
        assert "my-most-secret-prompt" not in probe.log + probe.stdout


def _taken(key):
    """A request that keeps one of its key's places until its body is there, of one byte."""
    return b"POST /test/taken HTTP/1.1\r\nhost: x\r\nx-key: %d\r\ncontent-length: 1\r\n" % key


def _begun(connect, key):
    """One that has its place: it is told to go on."""
    raw = connect(_taken(key) + b"expect: 100-continue\r\n\r\n")
    assert raw.socket.recv(100).startswith(b"HTTP/1.1 100 ")
    return raw
