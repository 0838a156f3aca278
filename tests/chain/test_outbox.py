"""Many transactions of one wallet at once: whatever happens to one of them, no number is left out."""

from __future__ import annotations

import asyncio

import pytest

from chain.proxy import Proxy
from chain.world import ALICE, BOB, POLL_SECONDS, QUICK
from prepaid import ChainError, ChainUnreachable, StoreError, WalletUnusable
from prepaid.chain.connection import Chain
from prepaid.chain.rpc import Patience
from prepaid.chain.sending import Sender

SENDS = 9


def transfers(sender, amount, *, record=None):
    """Coroutines that each send ether to Bob, wei by wei, so that they differ."""
    return [sender.send({"to": BOB.address, "value": amount + at}, record) for at in range(SENDS)]


async def outcomes_of(sends):
    """Hashes of what was mined, and what was raised."""
    outcomes = await asyncio.gather(*sends, return_exceptions=True)
    failed = [each for each in outcomes if isinstance(each, Exception)]
    return {each["transactionHash"] for each in outcomes if each not in failed}, failed


async def count(chain):
    return await chain.w3.eth.get_transaction_count(ALICE.address)


class Choosy:
    """A wallet that does not sign everything."""

    def __init__(self, other, value):
        self._other, self._value = other, value

    @property
    def address(self):
        return self._other.address

    async def sign_transaction(self, transaction):
        if transaction["value"] == self._value:
            raise WalletUnusable("Not this one.")
        return await self._other.sign_transaction(transaction)


async def test_one_that_nobody_signs(chain):
    before = await count(chain)
    mined, failed = await outcomes_of(transfers(Sender(chain, Choosy(ALICE, 13), QUICK), 10))
    assert [type(each) for each in failed] == [WalletUnusable]
    assert len(mined) == SENDS - 1 == await count(chain) - before


async def test_one_that_cannot_be_recorded(chain):
    """It is not sent; what was to come after it is recorded again, as it is sent then."""
    before = await count(chain)
    recorded = {}

    async def record(draft, attempt):
        if draft["value"] == 13:
            raise StoreError("The disk is full.", remedy="Empty it.")
        recorded[draft["value"]] = attempt.tx_hash

    mined, failed = await outcomes_of(transfers(Sender(chain, ALICE, QUICK), 10, record=record))
    assert [type(each) for each in failed] == [StoreError]
    assert len(mined) == SENDS - 1 == await count(chain) - before
    assert set(recorded.values()) == mined


async def test_one_that_is_given_up(chain, anvil):
    """Cancelled at any moment: it may have been sent, and holds nobody up."""
    for moment in range(0, 40, 3):
        sending = [asyncio.create_task(each) for each in transfers(Sender(chain, ALICE, QUICK), 10)]
        for _ in range(moment):
            await asyncio.sleep(0)
        sending[3].cancel()
        mined, _ = await outcomes_of(each for each in sending if each is not sending[3])
        assert len(mined) == SENDS - 1


@pytest.fixture
async def proxy(world):
    async with Proxy(world.url) as running:
        yield running


@pytest.fixture
async def through(proxy):
    async with await Chain.connect(proxy.url, poll_seconds=POLL_SECONDS) as chain:
        yield chain


async def test_one_that_the_node_refuses(chain, through, proxy):
    before = await count(chain)
    proxy.fail("eth_sendRawTransaction", {"error": {"code": -32000, "message": "tx fee exceeds the cap"}})
    mined, failed = await outcomes_of(transfers(Sender(through, ALICE, QUICK), 10))
    assert [type(each) for each in failed] == [ChainError]
    assert len(mined) == SENDS - 1 == await count(chain) - before


async def test_one_that_is_refused_for_a_reason_that_cannot_be_asked_for(chain, world, proxy):
    """Those before it are out, and seen through; those behind it leave under other numbers."""
    before = await count(chain)
    poor = {"error": {"code": -32000, "message": "insufficient funds for gas * price + value"}}
    proxy.fail("eth_sendRawTransaction", None, None, poor)
    proxy.fail("eth_getBalance", *[503] * 3)
    patience = Patience(timeout_seconds=10, retries_max=2, backoff_seconds=0.01)
    async with await Chain.connect(proxy.url, patience=patience, poll_seconds=POLL_SECONDS) as through:
        mined, failed = await outcomes_of(transfers(Sender(through, ALICE, QUICK), 10))
    assert [type(each) for each in failed] == [ChainUnreachable]
    assert len(mined) == SENDS - 1 == await count(chain) - before


@pytest.mark.parametrize(
    "said",
    [
        "max fee per gas less than block base fee",
        "nonce too low: next nonce 5, tx nonce 4",
        "replacement transaction underpriced",
    ],
)
async def test_one_that_is_refused_for_now(chain, through, proxy, said):
    """By what others did meanwhile: it goes out in another try, and so does what stood behind it."""
    before = await count(chain)
    taken = said.startswith("replacement")
    if taken:  # by somebody with the same wallet
        await Sender(chain, ALICE, QUICK).send({"to": BOB.address, "value": 1})
    proxy.fail("eth_sendRawTransaction", {"error": {"code": -32000, "message": said}})
    if taken:
        proxy.fail("eth_getTransactionCount", {"result": hex(before)})
    mined, failed = await outcomes_of(transfers(Sender(through, ALICE, QUICK), 10))
    assert failed == []
    assert len(mined) == SENDS == await count(chain) - before - taken


async def test_room_while_many_wait(chain):
    """Whoever makes what is sent then is held up, until there are fewer."""
    signing = asyncio.Event()

    class Slow(Choosy):
        async def sign_transaction(self, transaction):
            await signing.wait()
            return await self._other.sign_transaction(transaction)

    sender = Sender(chain, Slow(ALICE, None), QUICK)
    await asyncio.wait_for(sender.outbox.room(), 60)
    sending = [asyncio.create_task(each) for _ in range(4) for each in transfers(sender, 10)]
    async with asyncio.timeout(60):
        while sender.outbox.unsent < len(sending):  # noqa: ASYNC110 -- nothing tells it
            await asyncio.sleep(0.01)
        room = asyncio.create_task(sender.outbox.room())
        await asyncio.sleep(0)
        assert not room.done()
        signing.set()
        await room
    assert len(await asyncio.gather(*sending)) == 4 * SENDS
