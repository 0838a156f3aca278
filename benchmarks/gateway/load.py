"""Asks a side: ``wrk`` for rates and latencies, a bare socket for the first event of a stream.

wrk is C and costs a tenth of what the cheapest side does, so it is not what is measured.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from benchmarks.gateway.sides import OTHER_CORE, Side, body

_SCRIPT = """
wrk.method = "POST"
wrk.path = "/v1/chat/completions"
wrk.body = [==[%s]==]
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer %s"
done = function(summary, latency, requests)
  io.write(string.format('{"requests":%%d,"micros":%%d,"failed":%%d,"p50":%%d,"p99":%%d}\\n',
    summary.requests, summary.duration,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Load:
    """What came of one burst."""

    requests: int
    failed: int
    per_second: float
    p50_ms: float
    p99_ms: float


def check_wrk() -> None:
    """Raises: RuntimeError, naming the package."""
    if shutil.which("wrk") is None:
        raise RuntimeError("wrk makes the load and is not here: apt-get install wrk")


def burst(side: Side, folder: Path, clients: int, seconds: int, cores: str = str(OTHER_CORE)) -> Load:
    """Keep-alive clients, each of which sends its next request when the last is answered."""
    script = folder / f"wrk-{side.name}.lua"
    script.write_text(_SCRIPT % (body(stream=False).decode(), side.key))
    command = ["taskset", "-c", cores, "wrk", "--threads", "1", "--connections", str(clients)]
    command += [
        "--duration",
        f"{seconds}s",
        "--timeout",
        "60s",
        "--latency",
        "--script",
        str(script),
        side.url,
    ]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = json.loads(told.splitlines()[-1])
    return Load(
        found["requests"],
        found["failed"],
        found["requests"] / found["micros"] * 1e6,
        found["p50"] / 1e3,
        found["p99"] / 1e3,
    )


def first_event_ms(side: Side, times: int) -> float:
    """The median time from the request to the first event of its answer, which is then read to its end."""
    with _connected(side) as connection:
        return median(_first_event_seconds(connection, side) for _ in range(times)) * 1e3


def _connected(side: Side) -> socket.socket:
    parts = urlsplit(side.url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _first_event_seconds(connection: socket.socket, side: Side) -> float:
    asked = body(stream=True)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {side.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(asked)}\r\n\r\n"
    )
    began = time.perf_counter()
    connection.sendall(head.encode() + asked)
    seen = b""
    while b"data: " not in seen:
        seen += _more(connection, seen)
    taken = time.perf_counter() - began
    while not seen.endswith(b"0\r\n\r\n"):
        seen += _more(connection, seen)
    assert seen.startswith(b"HTTP/1.1 200 "), seen
    return taken


def _more(connection: socket.socket, seen: bytes) -> bytes:
    piece = connection.recv(65_536)
    if not piece:
        raise RuntimeError(f"the connection was closed after {seen!r}")
    return piece
