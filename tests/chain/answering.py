"""A node in a task: answers whatever it is asked, as long as the block lasts."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from chain.world import NODE, success
from prepaid.chain.ai.requests import request_of


@asynccontextmanager
async def answering(operator, answer=None):
    """``operator`` answers every request from now on, one after another."""
    first = await operator.contract.chain.head() + 1
    task = asyncio.create_task(answer_all(operator, first, answer or success()))
    try:
        yield
    finally:
        task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        if not isinstance(outcome, asyncio.CancelledError):
            raise outcome


async def answer_all(operator, block, answer):
    chain = operator.contract.chain
    while True:
        head = await chain.next_head()
        if head >= block:
            query = {
                "address": operator.address,
                "topics": [operator.contract.topic("RequestMade")],
                "fromBlock": block,
                "toBlock": head,
            }
            for log in await chain.w3.eth.get_logs(query):
                told = operator.contract.decode("RequestMade", log)
                made = request_of(told, log["blockNumber"], log["transactionHash"].to_0x_hex())
                await operator.respond_to_request(made.encoded_terms, NODE, answer)
            block = head + 1
