"""The chain over a WebSocket: calls in any order, subscriptions, and what happens when it breaks."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from chain.node.proxy import Proxy
from chain.world import ALICE, MODEL, NODE, POLL_SECONDS, QUICK, USDT, question
from prepaid import ChainMismatch, ChainUnreachable, ConfigError
from prepaid.chain.ai import AiContract
from prepaid.chain.connection import Chain
from prepaid.chain.rpc import Patience
from prepaid.chain.socket import SocketRpc

IMPATIENT = Patience(timeout_seconds=2, retries_max=3, backoff_seconds=0.01)


@pytest.fixture
async def live(anvil):
    connected = await Chain.connect(anvil.socket_url, patience=IMPATIENT, poll_seconds=POLL_SECONDS)
    async with connected:
        yield connected


async def test_everything_works_over_it(live, world):
    ai = await AiContract.at(live, world.ai, ALICE, QUICK)
    session_id = await ai.start_user_session("1 USDT")
    made = await asyncio.gather(*(ai.request(session_id, MODEL, [NODE], question()) for _ in range(5)))
    assert len({each.request_id for each in made}) == 5
    books = await ai.session_of(session_id)
    assert books.available + books.held == USDT


async def test_notices_of_new_blocks(live, anvil):
    notices = live.provider.subscribe("newHeads")
    first = asyncio.create_task(anext(notices))
    await subscribed(live)
    anvil.rpc("evm_mine")
    assert int((await first)["number"], 16) == await live.head()
    anvil.rpc("evm_mine")
    anvil.rpc("evm_mine")
    numbers = [int((await anext(notices))["number"], 16) for _ in range(2)]
    assert numbers == [await live.head() - 1, await live.head()]
    await notices.aclose()
    assert live.provider._subscribers == {}


async def subscribed(live):
    async with asyncio.timeout(120):
        while not live.provider._subscribers:  # noqa: ASYNC110 -- the answer is on its way
            await asyncio.sleep(0.01)


async def test_a_socket_that_breaks_is_opened_again(live):
    """Calls are made again; subscribers are told that they may have missed something."""
    notices = live.provider.subscribe("newHeads")
    waiting = asyncio.create_task(anext(notices))
    await subscribed(live)
    await live.provider._socket.close()
    with pytest.raises(ChainUnreachable, match="the WebSocket broke"):
        await waiting
    assert await live.head() > 0


async def test_calls_in_flight_when_it_breaks(live, world):
    calls = [asyncio.create_task(live.head()) for _ in range(20)]
    await asyncio.sleep(0)
    await live.provider._socket.close()
    assert len(set(await asyncio.gather(*calls))) == 1


async def test_what_arrives_in_another_order(anvil):
    """Each caller has its own answer, and a subscriber every notice, whichever came first."""
    proxy = Proxy(anvil.socket_url, reorder=0.5)
    async with (
        proxy.serving() as url,
        await Chain.connect(url, patience=IMPATIENT, poll_seconds=POLL_SECONDS) as live,
        aclosing(live.provider.subscribe("newHeads")) as notices,
    ):
        first = asyncio.create_task(anext(notices))
        await subscribed(live)
        begun = await live.head()
        anvil.rpc("anvil_mine", hex(20))
        told = [int((await first)["number"], 16)]
        told += [int((await anext(notices))["number"], 16) for _ in range(19)]
        blocks = await asyncio.gather(*(live.w3.eth.get_block(number) for number in told))
    assert [each["number"] for each in blocks] == told
    assert sorted(told) == list(range(begun + 1, begun + 21)) != told
    assert proxy.replies.overtaken > 0


async def test_a_subscription_that_is_refused(live):
    with pytest.raises(ChainUnreachable, match="eth_subscribe was refused"):
        await anext(live.provider.subscribe("no such thing"))


async def test_notices_that_nobody_reads(live, anvil, monkeypatch):
    """Bounded; and the reader is told instead of missing some in silence."""
    monkeypatch.setattr("prepaid.chain.socket._UNREAD_MAX", 2)
    notices = live.provider.subscribe("newHeads")
    first = asyncio.create_task(anext(notices))
    await subscribed(live)
    for _ in range(5):
        anvil.rpc("evm_mine")
    await first
    with pytest.raises(ChainUnreachable, match="left unread"):
        async for _ in notices:
            pass


async def test_nobody_listens():
    patience = Patience(timeout_seconds=1, retries_max=1, backoff_seconds=0.01)
    with pytest.raises(ChainUnreachable, match=r"ws://127\.0\.0\.1:9"):
        await Chain.connect("ws://127.0.0.1:9/v3/key", patience=patience)


async def test_closing_it_tells_those_who_wait(anvil):
    provider = SocketRpc(anvil.socket_url, IMPATIENT)
    notices = provider.subscribe("newHeads")
    waiting = asyncio.create_task(anext(notices))
    async with asyncio.timeout(120):
        while not provider._subscribers:  # noqa: ASYNC110 -- the answer is on its way
            await asyncio.sleep(0.01)
    await provider.disconnect()
    with pytest.raises(ChainUnreachable):
        await waiting


async def test_another_chain(anvil):
    with pytest.raises(ChainMismatch, match="chain's id is 31337, not 1"):
        await Chain.connect(anvil.socket_url, chain_id=1)


async def test_an_endpoint_that_is_none():
    with pytest.raises(ConfigError, match="cannot begin with 'ftp'"):
        await Chain.connect("ftp://somewhere/secret")
