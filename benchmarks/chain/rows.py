"""A node beside its chain: answers a second, how soon one is sent, and catching up.

Throughput is measured on a chain with blocks, since one without has no ceiling but its machine's: a block of ten
million gas every two seconds, which is what Ethereum takes in a second (60 million in twelve), as fast.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from pathlib import Path
from statistics import median

import aiohttp

from benchmarks.chain.ground import NODE, OPERATOR, Ground, ground
from benchmarks.context import Context
from benchmarks.harness import Figure, interleave, percentile, ratios
from prepaid.chain.ai import Request
from prepaid.chain.connection import Chain
from prepaid.chain.fees import GasPrice
from prepaid.chain.node.following import Follower
from prepaid.chain.node.journal import Journal
from prepaid.chain.socket import SocketRpc
from prepaid.chain.values import Answer, ResponseStatus, encode_text

BLOCKS = ("--block-time", "2", "--gas-limit", "10000000")
ANSWER = Answer(ResponseStatus.SUCCESS, "", encode_text("1 2 3"))
GAS = 150_000
_AT_ONCE = 50
_WEI = 10**11
_PATIENCE_SECONDS = 600


async def throughput(context: Context) -> list[Figure]:
    """Answers a second, against transactions that were signed before and only have to be taken."""
    answers = context.scaled(1_000, 200)
    with context.folder() as folder:
        async with ground(folder, *BLOCKS) as chain:
            numbers = iter(range(10**6))

            async def node() -> float:
                first = await chain.chain.head()
                await chain.ask(answers)
                back = await chain.chain.head() - first + 10
                async with chain.node(f"node-{next(numbers)}", concurrency=64, lookback_blocks=back):
                    return await _answered(chain, first, answers)

            async def ceiling() -> float:
                raws = await _signed(chain, await chain.ask(answers))
                return await _flooded(chain, raws)

            sides = {"node": node, "chain": ceiling}
            samples = await interleave(sides, min(context.rounds, 3), warm_ups=0)
    return [
        Figure(
            "answers of one node to requests that wait, model included (offline)",
            "answers that were signed before",
            ratios(samples, "chain", "node"),
            at_least=0.8,
            told={name: f"{1 / median(samples[name]):,.0f}/s" for name in samples},
        )
    ]


async def latency(context: Context) -> list[Figure]:
    """From the event's notice to the notice of the block with the answer, as somebody else subscribes to both."""
    requests = context.scaled(300, 50)
    with context.folder() as folder:
        async with ground(folder) as chain, chain.node("node"):
            seconds = await _timed(chain, requests)
    return [
        Figure(
            "event told to answer mined, one request at a time, over WebSocket, model included (offline)",
            "by the clock",
            [1_000 * each for each in seconds],
            unit="ms",
            at_most=50,
            told={"p95": f"{1_000 * percentile(seconds, 0.95):.0f} ms"},
        )
    ]


async def catching_up(context: Context) -> list[Figure]:
    """Blocks a second that a node reads which was away: events found, decoded, and durable in its journal."""
    blocks = context.scaled(10_000, 1_000)
    with context.folder() as folder:
        async with ground(folder) as chain:
            context.say(f"making {blocks:,} blocks")
            first = await chain.chain.head()
            await _filled(chain, blocks)
            rates = [
                await _scanned(chain, folder / f"{number}.db", first, blocks)
                for number in range(context.rounds)
            ]
    return [
        Figure(
            f"catching up with {blocks:,} blocks of which {blocks // 10:,} hold a request",
            "by the clock",
            rates,
            unit="blocks/s",
            at_least=2_000,
        )
    ]


async def _answered(chain: Ground, first: int, answers: int) -> float:
    """Seconds an answer, from when the node has started to the last answer in a block."""
    began = time.perf_counter()
    await _until(lambda: _logged(chain, first, answers))
    return (time.perf_counter() - began) / answers


async def _signed(chain: Ground, requests: list[Request]) -> list[bytes]:
    sender = chain.operator.contract.sender
    nonce = await chain.chain.transactions_of(OPERATOR.address, "latest")
    raws = []
    for number, request in enumerate(requests, nonce):
        draft = chain.operator.response_draft(request.encoded_terms, NODE, ANSWER)
        raws.append((await sender.signed({**draft, "gas": GAS}, number, GasPrice(_WEI, _WEI // 100))).raw)
    return raws


async def _flooded(chain: Ground, raws: list[bytes]) -> float:
    """Seconds a transaction, from handing in the first to the last in a block."""
    first = await chain.chain.head()
    began = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        for at in range(0, len(raws), _AT_ONCE):
            calls = [
                {
                    "jsonrpc": "2.0",
                    "id": number,
                    "method": "eth_sendRawTransaction",
                    "params": [f"0x{raw.hex()}"],
                }
                for number, raw in enumerate(raws[at : at + _AT_ONCE])
            ]
            async with session.post(chain.url, json=calls) as reply:
                answers = await reply.json()
            assert all("result" in each for each in answers), answers[:1]
    await _until(lambda: _logged(chain, first, len(raws)))
    return (time.perf_counter() - began) / len(raws)


async def _timed(chain: Ground, requests: int) -> list[float]:
    contract = chain.operator.contract
    async with await Chain.connect(chain.socket_url) as own:
        assert isinstance(own.provider, SocketRpc)
        notices = own.provider.subscribe("logs", {"address": contract.address})
        made, answered = contract.topic("RequestMade"), contract.topic("ResponseDelivered")
        seconds = []
        async with aclosing(notices) as logs:
            asking = asyncio.create_task(_one_by_one(chain, requests))
            began = 0.0
            while len(seconds) < requests:
                topic = (await anext(logs))["topics"][0]
                if topic == made:
                    began = time.perf_counter()
                elif topic == answered:
                    seconds.append(time.perf_counter() - began)
            await asking
    return seconds


async def _one_by_one(chain: Ground, requests: int) -> None:
    """Each when the one before is answered: nothing waits for anything else."""
    await asyncio.sleep(0.5)
    for _ in range(requests):
        (request,) = await chain.ask(1)
        await chain.asker.settled(request)


async def _filled(chain: Ground, blocks: int) -> None:
    """A request in every tenth block."""
    for _ in range(blocks // 10):
        await chain.ask(1)
        await chain.rpc("anvil_mine", hex(9))


async def _scanned(chain: Ground, path: Path, first: int, blocks: int) -> float:
    journal = Journal(path)
    try:
        page = journal.page(chain.chain.chain_id, chain.operator.address)
        follower = Follower(chain.operator, page, 1, await chain.chain.head() - first)
        began = time.perf_counter()
        async with aclosing(follower.news()) as pieces:
            found = sum([len(piece) async for piece in pieces])
        seconds = time.perf_counter() - began
    finally:
        journal.close()
    assert found == blocks // 10, found
    return blocks / seconds


async def _logged(chain: Ground, first: int, least: int) -> bool:
    """Whether the blocks after ``first`` hold so many answers; of one that is not there yet, anvil makes an error."""
    if await chain.chain.head() <= first:
        return False
    contract = chain.operator.contract
    topic = contract.topic("ResponseDelivered")
    query = {"address": contract.address, "topics": [topic], "fromBlock": hex(first + 1)}
    return len(await chain.rpc("eth_getLogs", query)) >= least


async def _until(condition) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not await condition():
            await asyncio.sleep(0.1)
