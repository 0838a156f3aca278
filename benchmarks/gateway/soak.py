"""Many requests against ``prepaid serve`` with the offline model: memory must stay flat, and the books balance.

    uv run python -m benchmarks.gateway.soak                      # a million requests
    uv run python -m benchmarks.gateway.soak --requests 5000      # a look

Of 20 requests, 14 are plain, 3 are streams, 1 is a stream whose client hangs up, 1 is no JSON, and 1 asks for a
model that nobody serves. Exits with 1 if a reply was not the expected one, if memory grew, if money is held in
the end, or if the audit finds anything.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.filling import opened_manager, opened_store
from benchmarks.gateway.sides import Side, offline_side
from prepaid.audit import audit

GROWTH_MB_MAX = 10
"""From a fifth of the run on, when every cache is full and every code path was taken."""
_SAMPLES = 50
_SETTLING_SECONDS = 60


def _chat(**more) -> bytes:
    messages = [{"role": "user", "content": "count to 20"}]
    return json.dumps({"model": "offline", "messages": messages, "max_tokens": 32, **more}).encode()


PLAIN, STREAM, LEFT, BROKEN, UNKNOWN = "plain", "stream", "left", "broken", "unknown"
BODIES = {
    PLAIN: _chat(),
    STREAM: _chat(stream=True),
    LEFT: _chat(stream=True, messages=[{"role": "user", "content": "count to 20000"}], max_tokens=20_000),
    BROKEN: b'{"model": "offline", "messages": [',
    UNKNOWN: _chat(model="no-such-model"),
}
STATUS = {PLAIN: 200, STREAM: 200, LEFT: 200, BROKEN: 400, UNKNOWN: 404}
ROTA = [PLAIN] * 14 + [STREAM] * 3 + [LEFT, BROKEN, UNKNOWN]


@dataclass
class Soak:
    """One run; ``replies`` counts by kind and status."""

    side: Side
    requests: int
    replies: Counter = field(default_factory=Counter)
    memory: list[float] = field(default_factory=list)
    started: int = 0

    async def run(self, clients: int) -> None:
        """All requests, ``clients`` at a time."""
        began = time.monotonic()
        await asyncio.gather(*(self._client() for _ in range(clients)))
        taken = time.monotonic() - began
        print(f"{self.requests:,} requests in {taken:,.0f} s: {self.requests / taken:,.0f}/s")

    async def _client(self) -> None:
        parts = urlsplit(self.side.url)
        connection = None
        while self.started < self.requests:
            number, self.started = self.started, self.started + 1
            if number % max(self.requests // _SAMPLES, 1) == 0:
                self._sample(number)
            kind = ROTA[number % len(ROTA)]
            connection = connection or await asyncio.open_connection(parts.hostname, parts.port)
            status, is_open = await _ask(*connection, self.side.key, kind)
            self.replies[kind, status] += 1
            if not is_open:
                connection[1].close()
                connection = None
        if connection is not None:
            connection[1].close()

    def _sample(self, number: int) -> None:
        self.memory.append(self.side.resident_mb())
        if len(self.memory) % 5 == 1:
            print(f"{number:>9,} requests, {self.memory[-1]:.1f} MB", flush=True)

    def findings(self) -> list[str]:
        """What was not as it must be."""
        found = [
            f"{count} {kind} requests were answered with {status}"
            for (kind, status), count in self.replies.items()
            if status != STATUS[kind]
        ]
        late = self.memory[len(self.memory) // 5 :]
        if max(late) - late[0] > GROWTH_MB_MAX:
            found.append(f"memory grew from {late[0]:.1f} to {max(late):.1f} MB")
        return found


async def _ask(reader, writer, key: str, kind: str) -> tuple[int, bool]:
    """One request: the reply's status, and whether the connection can take another."""
    body = BODIES[kind]
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    answered = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(answered.split(b" ", 2)[1])
    if kind == LEFT and status == 200:
        await reader.readuntil(b"data: ")
        return status, False
    if b"transfer-encoding: chunked" in answered:
        await reader.readuntil(b"\r\n0\r\n\r\n")
    else:
        await reader.readexactly(int(answered.partition(b"content-length: ")[2].split(b"\r\n")[0]))
    return status, b"connection: close" not in answered


async def _books(database: Path) -> list[str]:
    """What the books say that they must not. Waits for the streams that were left to be settled."""
    async with opened_store(database) as store:
        deadline = time.monotonic() + _SETTLING_SECONDS
        while (account := store.reads.accounts("", 1)[0]).held and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
        report = audit(store.reads)
    print(f"{report} spent {account.spent}, available {account.available}, held {account.held}")
    found = [] if report.is_clean else [str(report)]
    if account.held:
        found.append(f"{account.held} base units stay held")
    return found


@asynccontextmanager
async def _served(folder: Path):
    with ExitStack() as stack:
        side = await asyncio.to_thread(offline_side, stack, folder)
        async with opened_manager(folder / "gateway.db") as manager:
            session = await manager.create_session("soak", "1000000 USD")
            side.key = session.api_key
        yield side


async def soak(requests: int, clients: int, directory: Path) -> list[str]:
    """All findings; none is good."""
    with tempfile.TemporaryDirectory(dir=directory, prefix="prepaid-soak-") as name:
        folder = Path(name)
        async with _served(folder) as side:
            run = Soak(side, requests)
            await run.run(clients)
            found = run.findings() + await _books(folder / "gateway.db")
            log = (folder / "prepaid.log").read_text()
        return found + [f"logged: {line}" for line in log.splitlines()[:5]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()), help="on a disk")
    arguments = parser.parse_args()
    found = asyncio.run(soak(arguments.requests, arguments.clients, arguments.directory))
    for finding in found:
        print(finding)
    print("memory is flat, and the books balance" if not found else "FAILED")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
