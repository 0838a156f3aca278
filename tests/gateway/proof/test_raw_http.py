"""Bytes on a socket that are no HTTP, almost HTTP, or HTTP that never ends: nothing breaks, leaks or stays held.

Single rules of the protocol are in ``tests/gateway/test_connections.py``; here they come by the thousand, at a
request that costs money.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.proof.books import settled
from gateway.running import Gateway
from gateway.sockets import all_sockets

LIMITS = """
sweep_seconds = 0.2

[gateway]
head_seconds = 3
body_seconds = 3
write_seconds = 3
keep_alive_seconds = 3
"""
MEGABYTE = 2**20
CLOSE = b"connection: close\r\n"
GROWTH_MB_MAX = 40
"""A worker that kept what it was sent would hold hundreds of megabytes after this file."""

STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
REFUSED = {400, 401, 402, 404, 405, 408, 409, 413, 415, 429, 431}

quickly = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with Gateway(tmp_path_factory.mktemp("raw"), LIMITS) as running:
        yield running


@pytest.fixture(scope="module")
def session(gateway):
    """A session's id and key; in the end, nothing of it is held, and the server is as small as it was."""
    session_id, key = gateway.fund("1000 USD")
    ask(gateway, request_bytes(key, more=CLOSE))
    before = resident_mb(gateway)
    yield session_id, key
    account = settled(gateway, session_id)
    assert account.funded == account.available + account.spent
    gateway.assert_sound()
    assert [record for record in gateway.records() if record["level"] not in ("info", "warning")] == []
    gateway.wait_until(lambda: connections(gateway) <= 2)
    assert resident_mb(gateway) - before < GROWTH_MB_MAX


def request_bytes(key, *, stream=False, text="count to 3", more=b""):
    """A request that is as it should be."""
    messages = [{"role": "user", "content": text}]
    asked = {"model": "offline", "messages": messages, "stream": stream, "max_tokens": 20_000}
    body = json.dumps(asked).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n%b"
    head += b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n"
    return head % (more, key.encode(), len(body)) + body


def ask(gateway, *pieces):
    """Everything that comes back until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as connection:
        send_all(connection, pieces)
        return rest_of(connection)


def ask_briefly(gateway, *pieces):
    """The same, but whoever is waiting for more than was sent is told soon that nothing more comes."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as connection:
        send_all(connection, pieces)
        connection.settimeout(0.03)
        found = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            found = connection.recv(65_536)
        connection.settimeout(60)
        with contextlib.suppress(OSError):  # it has closed the connection by now
            connection.shutdown(socket.SHUT_WR)
        return found + rest_of(connection)


def send_all(connection, pieces):
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before all of it was sent
        for piece in pieces:
            connection.sendall(piece)


def rest_of(connection):
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65_536):
            found += piece
    return found


def statuses(reply):
    return {int(status) for status in STATUS.findall(reply)}


def connections(gateway):
    """Those that the server has open."""
    return sum(each.port == gateway.port and not each.listens for each in all_sockets())


def resident_mb(gateway):
    lines = Path(f"/proc/{gateway.process.pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024


edits = st.tuples(
    st.sampled_from(["insert", "replace", "delete", "repeat", "cut"]),
    st.floats(0, 1, exclude_max=True),
    st.one_of(
        st.binary(min_size=1, max_size=8),
        st.sampled_from(
            [
                b"\r\n",
                b"\n",
                b"\r\n\r\n",
                b"\0",
                b"content-length: 5\r\n",
                b"content-length: 99999999999999999999\r\n",
                b"transfer-encoding: chunked\r\n",
                b"transfer-encoding: gzip, chunked\r\n",
                b"expect: 100-continue\r\n",
                b"connection: upgrade\r\nupgrade: websocket\r\n",
                b"host: y\r\n",
                b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n",
                b"0\r\n\r\n",
                b"ffffffff\r\n",
            ]
        ),
    ),
)


def edited(request, changes):
    """A request with some of its bytes changed."""
    for kind, share, piece in changes:
        place = int(share * len(request))
        match kind:
            case "insert":
                request = request[:place] + piece + request[place:]
            case "replace":
                request = request[:place] + piece + request[place + len(piece) :]
            case "delete":
                request = request[:place] + request[place + len(piece) :]
            case "repeat":
                request = request[:place] + request[max(place - 40, 0) :]
            case "cut":
                request = request[:place]
    return request


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_request_with_some_bytes_changed(gateway, session, stream):
    """Answered or refused, never with a 500; and behind it nothing is read as a request that was none."""
    request = request_bytes(session[1], stream=stream)

    @given(st.lists(edits, min_size=1, max_size=3))
    @quickly
    def send(changes):
        found = statuses(ask_briefly(gateway, edited(request, changes)))
        assert found <= {100, 200, *REFUSED}, found

    send()


@given(pieces=st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=4))
@settings(quickly, max_examples=100)
def test_any_bytes(gateway, session, pieces):
    assert statuses(ask_briefly(gateway, *pieces)) <= REFUSED


class TestTrailers:
    """What stands behind a body says nothing about it: a proxy in front of us has not looked there."""

    @staticmethod
    def chunked(key_line, trailers, more=b""):
        body = request_bytes("").partition(b"\r\n\r\n")[2]
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n%b%b\r\n"
        return head % (more, key_line) + b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailers)

    def test_a_key_there_is_none(self, gateway, session):
        key = b"authorization: Bearer %b\r\n" % session[1].encode()
        assert statuses(ask(gateway, self.chunked(b"", key, CLOSE))) == {401}
        assert statuses(ask(gateway, self.chunked(key, b"", CLOSE))) == {200}
        assert statuses(ask(gateway, self.chunked(key, b"authorization: Bearer x\r\n", CLOSE))) == {200}

    def test_it_is_none_of_the_next_request_either(self, gateway, session):
        key = b"authorization: Bearer %b\r\n" % session[1].encode()
        found = ask(gateway, self.chunked(key, key) + self.chunked(b"", b"", CLOSE))
        assert STATUS.findall(found) == [b"200", b"401"]

    def test_an_idempotency_key_there_is_none(self, gateway, session):
        """Asked twice, paid twice."""
        key = b"authorization: Bearer %b\r\n" % session[1].encode()
        before = gateway.account(session[0]).request_count
        request = self.chunked(key, b"idempotency-key: trailing\r\n", CLOSE)
        for _ in range(2):
            reply = ask(gateway, request)
            assert statuses(reply) == {200}
            assert b"x-prepaid-replayed" not in reply
        assert settled(gateway, session[0]).request_count == before + 2


def test_a_paid_request_that_offers_another_protocol(gateway, session):
    """As Java's HttpClient sends it in clear text: answered and paid once, and its body is no request."""
    before = gateway.account(session[0]).request_count
    offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAA\r\n"
    assert statuses(ask(gateway, request_bytes(session[1], more=offer))) == {200}
    head, _, body = request_bytes(session[1], more=offer).partition(b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as connection:
        connection.sendall(head + b"\r\n\r\n")
        time.sleep(0.1)  # that the head is read alone
        connection.sendall(body)
        assert statuses(rest_of(connection)) == {200}
    assert settled(gateway, session[0]).request_count == before + 2


def test_a_client_that_leaves_at_any_byte(gateway, session):
    """Half of a request is no request: nothing is paid. All of it is one, though nobody waits for the answer."""
    before = gateway.account(session[0])
    request = request_bytes(session[1])
    for length in range(1, len(request), 7):
        with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
            connection.sendall(request[:length])
    after = settled(gateway, session[0])
    assert (after.spent, after.request_count) == (before.spent, before.request_count)


def test_a_client_that_leaves_after_any_piece_of_a_stream(gateway, session):
    """The connection is reset, not closed, while the answer comes."""
    request = request_bytes(session[1], stream=True, text="count to 20000")
    for read in (1, 10, 300, 3_000, 30_000, 300_000):
        with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.sendall(request)
            left = read
            while left > 0:
                piece = connection.recv(min(left, 65_536))
                assert piece, "the answer has more"
                left -= len(piece)
    assert settled(gateway, session[0]).held == 0


class TestLargeBodies:
    """Of 100 MB: refused, and not kept. The limit is 32 MiB."""

    def test_one_that_says_so_is_refused_before_it_is_sent(self, gateway, session):
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n"
        head += b"expect: 100-continue\r\ncontent-length: 100000000\r\n\r\n"
        assert statuses(ask(gateway, head % session[1].encode())) == {413}

    @pytest.mark.parametrize("way", ["length", "chunked"])
    def test_one_that_is_sent_all_the_same(self, gateway, session, way):
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n"
        said = {
            "length": b"content-length: 104857600\r\n\r\n",
            "chunked": b"transfer-encoding: chunked\r\n\r\n",
        }
        piece = b" " * MEGABYTE if way == "length" else b"100000\r\n" + b" " * MEGABYTE + b"\r\n"
        found = ask(gateway, head % session[1].encode() + said[way], *[piece] * 100)
        assert statuses(found) <= {413}

    def test_many_at_once_do_not_fill_the_memory(self, gateway, session):
        """Twenty of 30 MB that stop short of their end.

        Those that there is room for are dropped when they have stood still for three seconds, the others are
        refused at once.
        """
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n"
        head += b"content-length: 31457280\r\n\r\n"
        opened = []
        for _ in range(20):
            opened.append(socket.create_connection(("127.0.0.1", gateway.port), timeout=60))
            opened[-1].sendall(head % session[1].encode())
        for connection in opened:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(b" " * 4 * MEGABYTE)
        found = set()
        for connection in opened:
            with connection, contextlib.suppress(ConnectionResetError):
                found |= statuses(connection.recv(1_000))
        assert found == {408, 429}


def test_two_hundred_slow_clients_keep_nobody_from_being_served(gateway, session):
    """Slow loris: heads, bodies and answers that creep, while somebody pays and is answered."""
    request = request_bytes(session[1], more=CLOSE)
    slow = [socket.create_connection(("127.0.0.1", gateway.port), timeout=60) for _ in range(200)]
    for number, connection in enumerate(slow):
        connection.sendall(request[: 20 + number])
    deadline = time.monotonic() + 4
    served = 0
    while time.monotonic() < deadline or served < 10:
        for connection in slow[served % 10 :: 10]:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.send(b"x")
        assert statuses(ask(gateway, request)) == {200}
        served += 1
    for connection in slow:
        connection.close()
    gateway.wait_until(lambda: connections(gateway) <= 2)


def test_a_hundred_pipelined_requests_are_a_hundred_payments(gateway, session):
    before = gateway.account(session[0])
    last = request_bytes(session[1], more=CLOSE)
    found = ask(gateway, request_bytes(session[1]) * 99 + last)
    assert len(STATUS.findall(found)) == 100
    assert statuses(found) == {200}
    after = settled(gateway, session[0])
    assert after.request_count - before.request_count == 100
