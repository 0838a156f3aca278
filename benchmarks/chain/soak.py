"""Many requests answered by one ``prepaid node``: its memory must stay flat, and every answer be paid for.

    uv run python -m benchmarks.chain.soak                       # 100,000 requests
    uv run python -m benchmarks.chain.soak --requests 500        # a look

Requests are made a hundred at a time, when those before are answered. Exits with 1 if memory grew, if an answer is
missing or came twice, or if chain and ledger do not agree.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.chain.ground import BATCH, Ground, ground
from benchmarks.filling import opened_store
from benchmarks.gateway.sides import resident_mb
from prepaid.audit import audit

GROWTH_MB_MAX = 10
"""From a fifth of the run on, when every cache is full and every code path was taken."""
_SAMPLES = 50
_BATCH_SECONDS = 300


async def soak(requests: int, directory: Path) -> list[str]:
    """All findings; none is good."""
    memory: list[float] = []
    with tempfile.TemporaryDirectory(dir=directory, prefix="prepaid-soak-") as name:
        folder = Path(name)
        async with ground(folder, "--transaction-block-keeper", "2000") as chain:
            async with chain.node("node") as process:
                began = time.monotonic()
                found = await _asked(chain, requests, lambda: memory.append(resident_mb(process.pid)))
                seconds = time.monotonic() - began
            print(f"{requests:,} requests in {seconds:,.0f} s: {requests / seconds:,.0f}/s")
        found += await _books(folder / "node-ledger.db")
    late = memory[len(memory) // 5 :]
    if max(late) - late[0] > GROWTH_MB_MAX:
        found.append(f"memory grew from {late[0]:.1f} to {max(late):.1f} MB")
    return found


async def _asked(chain: Ground, requests: int, sample) -> list[str]:
    every = max(requests // _SAMPLES, BATCH)
    for done in range(0, requests, BATCH):
        if done % every < BATCH:
            sample()
        first = await chain.chain.head()
        made = {each.request_id for each in await chain.ask(min(BATCH, requests - done))}
        answered = await _answered(chain, first, len(made))
        if sorted(answered) != sorted(made):
            return [f"of {len(made)} requests, {len(answered)} answers came, {len(set(answered))} different"]
    sample()
    return []


async def _answered(chain: Ground, first: int, least: int) -> list[str]:
    """Whose answers are in the blocks after ``first``, once there are enough."""
    contract = chain.operator.contract
    query = {
        "address": contract.address,
        "topics": [contract.topic("ResponseDelivered")],
        "fromBlock": hex(first + 1),
    }
    deadline = time.monotonic() + _BATCH_SECONDS
    while True:
        logs = await chain.rpc("eth_getLogs", query)
        if len(logs) >= least or time.monotonic() > deadline:
            return [log["topics"][1] for log in logs]
        await asyncio.sleep(0.2)


async def _books(ledger: Path) -> list[str]:
    async with opened_store(ledger) as store:
        account = store.reads.accounts("", 1)[0]
        report = audit(store.reads)
    print(f"{report} spent {account.spent}, available {account.available}, held {account.held}")
    found = [] if report.is_clean else [str(report)]
    return [*found, f"{account.held} base units stay held"] if account.held else found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()), help="on a disk")
    arguments = parser.parse_args()
    found = asyncio.run(soak(arguments.requests, arguments.directory))
    for finding in found:
        print(finding)
    print("memory is flat, and the books balance" if not found else "FAILED")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
