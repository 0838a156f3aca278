"""Transactions seen through: in order, in time, bumped, replaced, taken back, reverted, and each told apart."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from chain.anvil import Anvil
from chain.proxy import Proxy
from chain.world import ALICE, BOB, POLL_SECONDS, QUICK, USDT, wallet
from prepaid import (
    ChainError,
    ChainMismatch,
    ChainUnreachable,
    ContractReverted,
    EtherTooLow,
    GasPriceTooHigh,
    InsufficientFunds,
    SessionAlreadyClosed,
    TransactionReorganised,
    TransactionReplaced,
    TransactionUnconfirmed,
    WalletUnusable,
)
from prepaid.chain.artefacts import artefact
from prepaid.chain.connection import Chain
from prepaid.chain.contracts import Contract
from prepaid.chain.fees import GasPrice, current_gas_price, raised
from prepaid.chain.rpc import Patience
from prepaid.chain.sending import Sender
from prepaid.chain.watching import Watch

IMPATIENT = Patience(timeout_seconds=1.0, retries_max=2, backoff_seconds=0.01)


async def token_of(chain, world, policy=QUICK, who=ALICE):
    """A contract whose calls are cheap and always succeed."""
    return Contract(chain, artefact("test_usdt"), world.token, Sender(chain, who, policy))


async def until(condition):
    async with asyncio.timeout(120):
        while not await condition():  # noqa: ASYNC110 -- what it waits for is on the other side of an RPC
            await asyncio.sleep(0.01)


@pytest.fixture
def by_hand(anvil):
    """Blocks are made when the test says so."""
    anvil.rpc("evm_setAutomine", False)
    yield anvil
    anvil.rpc("anvil_dropAllTransactions")
    anvil.rpc("evm_setAutomine", True)


async def test_many_tasks_with_one_wallet(chain, world):
    """Each transaction has a number of its own, and none is left out."""
    token = await token_of(chain, world)
    before = await chain.w3.eth.get_transaction_count(ALICE.address)
    receipts = await asyncio.gather(*(token.send("transfer", BOB.address, 1) for _ in range(25)))
    assert len({receipt["transactionHash"] for receipt in receipts}) == 25
    assert await chain.w3.eth.get_transaction_count(ALICE.address) == before + 25
    assert await token.call("balanceOf", BOB.address) == 1_000 * USDT + 25


async def test_many_tasks_while_nothing_is_mined(chain, world, by_hand):
    token = await token_of(chain, world)
    sending = [asyncio.create_task(token.send("transfer", BOB.address, 1)) for _ in range(10)]

    async def are_waiting():
        return by_hand.rpc("txpool_status")["pending"] == "0xa"

    await until(are_waiting)
    by_hand.rpc("evm_mine")
    assert len({(await each)["transactionHash"] for each in sending}) == 10


async def test_two_programs_with_one_wallet(world, chain):
    """Each counts for itself. Whoever loses a number takes another or is told; nobody takes one for two."""
    async with await Chain.connect(world.url, poll_seconds=POLL_SECONDS) as other:
        tokens = [await token_of(chain, world), await token_of(other, world)]
        sends = [token.send("transfer", BOB.address, 1) for _ in range(10) for token in tokens]
        outcomes = await asyncio.gather(*sends, return_exceptions=True)
    lost = [each for each in outcomes if isinstance(each, TransactionReplaced)]
    mined = {each["transactionHash"] for each in outcomes if each not in lost}
    assert len(mined) + len(lost) == 20
    assert await tokens[0].call("balanceOf", BOB.address) == 1_000 * USDT + len(mined)


async def test_as_many_confirmations_as_were_asked_for(chain, world, by_hand):
    token = await token_of(chain, world, replace(QUICK, confirmations=3))
    sending = asyncio.create_task(token.send("transfer", BOB.address, 1))

    async def is_waiting():
        return by_hand.rpc("txpool_status")["pending"] == "0x1"

    await until(is_waiting)
    for _ in range(2):
        by_hand.rpc("evm_mine")
        await chain.next_head()
        await chain.next_head()
        assert not sending.done()
    by_hand.rpc("evm_mine")
    receipt = await sending
    assert await chain.head() == receipt["blockNumber"] + 2


async def test_one_that_is_stuck_pays_more(chain, world, by_hand):
    """EIP-1559 replacement: the same number, an eighth more at least; what was bumped is what is mined."""
    token = await token_of(chain, world, replace(QUICK, bump_after_seconds=0.1))
    sending = asyncio.create_task(token.send("transfer", BOB.address, 1))
    offered = []

    async def was_bumped():
        content = by_hand.rpc("txpool_content")["pending"]
        for by_nonce in content.values():
            offered.extend(int(each["maxFeePerGas"], 16) for each in by_nonce.values())
        return len(set(offered)) >= 3

    await until(was_bumped)
    by_hand.rpc("evm_mine")
    receipt = await sending
    assert receipt["status"] == 1
    first, second, third = sorted(set(offered))[:3]
    assert second >= first + first // 8
    assert third >= second + second // 8
    assert await token.call("balanceOf", BOB.address) == 1_000 * USDT + 1


async def test_no_more_is_paid_than_is_allowed(chain, world, by_hand):
    """The limit holds for a bump, and for the first offer."""
    base = (await chain.w3.eth.get_block("latest"))["baseFeePerGas"]
    tip = await chain.w3.eth.max_priority_fee
    limit = 2 * base + tip
    token = await token_of(chain, world, replace(QUICK, bump_after_seconds=0.05, gas_price_max_wei=limit))
    sending = asyncio.create_task(token.send("transfer", BOB.address, 1))
    for _ in range(10):
        await chain.next_head()
    by_hand.rpc("evm_mine")
    assert (await sending)["effectiveGasPrice"] <= limit
    low = await token_of(chain, world, replace(QUICK, gas_price_max_wei=tip))
    with pytest.raises(GasPriceTooHigh) as caught:
        await low.send("transfer", BOB.address, 1)
    assert caught.value.limit_wei == tip < caught.value.price_wei


def test_what_replaces_a_transaction():
    assert raised(GasPrice(80, 8), GasPrice(10, 1), None) == GasPrice(91, 10)
    assert raised(GasPrice(80, 8), GasPrice(300, 20), None) == GasPrice(300, 20)
    assert raised(GasPrice(80, 8), GasPrice(10, 1), 90) is None
    assert raised(GasPrice(0, 0), GasPrice(0, 0), None) == GasPrice(1, 1)


async def test_one_whose_number_another_took(chain, world, by_hand):
    """Replaced: by the same wallet in another program, which pays more."""
    token = await token_of(chain, world)
    sending = asyncio.create_task(token.send("transfer", BOB.address, 1))

    async def is_waiting():
        return by_hand.rpc("txpool_status")["pending"] == "0x1"

    await until(is_waiting)
    nonce = await chain.w3.eth.get_transaction_count(ALICE.address)
    sender = Sender(chain, ALICE, QUICK)
    draft = {"to": BOB.address, "value": 1, "gas": 21_000, "from": ALICE.address}
    await sender.push(await sender.signed(draft, nonce, GasPrice(10**12, 10**11)))
    by_hand.rpc("evm_mine")
    with pytest.raises(TransactionReplaced) as caught:
        await sending
    assert caught.value.nonce == nonce
    assert caught.value.tx_hash in str(caught.value)


async def test_one_that_the_node_forgets_is_handed_in_again(chain, world, by_hand):
    """Lost from the pool, found in the next block but one."""
    token = await token_of(chain, world)
    sending = asyncio.create_task(token.send("transfer", BOB.address, 1))

    async def is_waiting():
        return by_hand.rpc("txpool_status")["pending"] == "0x1"

    await until(is_waiting)
    by_hand.rpc("anvil_dropAllTransactions")
    by_hand.rpc("evm_mine")
    await until(is_waiting)
    by_hand.rpc("evm_mine")
    assert (await sending)["status"] == 1


@pytest.mark.parametrize("depth", [1, 2, 12])
async def test_one_whose_block_was_taken_back_is_mined_again(chain, world, anvil, depth):
    """A reorganisation above the confirmations: waited out, handed in again, and confirmed once."""
    token = await token_of(chain, world, replace(QUICK, confirmations=depth + 1))
    sending = asyncio.create_task(token.send("transfer", BOB.address, 1))

    async def is_mined():
        # While it takes blocks back, anvil answers from a state without contracts.
        with suppress(ChainMismatch):
            return await token.call("balanceOf", BOB.address) == 1_000 * USDT + 1

    await until(is_mined)
    for _ in range(depth - 1):
        anvil.rpc("evm_mine")
    await chain.next_head()
    await chain.next_head()
    assert not sending.done()
    anvil.rpc("anvil_reorg", depth, [])
    await until(is_mined)
    for _ in range(depth):
        anvil.rpc("evm_mine")
    receipt = await sending
    assert receipt["status"] == 1
    assert await token.call("balanceOf", BOB.address) == 1_000 * USDT + 1


async def test_one_that_is_taken_back_for_good(chain, world, by_hand):
    """Reorganised, not merely late: it had been in a block."""
    token = await token_of(chain, world, replace(QUICK, confirmations=2, timeout_seconds=3.0))
    sending = asyncio.create_task(token.send("transfer", BOB.address, 1))

    async def is_waiting():
        return by_hand.rpc("txpool_status")["pending"] == "0x1"

    await until(is_waiting)
    by_hand.rpc("evm_mine")
    for _ in range(3):
        await chain.next_head()
    by_hand.rpc("anvil_reorg", 1, [])
    with pytest.raises(TransactionReorganised) as caught:
        await sending
    assert caught.value.block == await chain.head()


async def test_one_that_is_never_mined(chain, world, by_hand):
    token = await token_of(chain, world, replace(QUICK, timeout_seconds=0.3))
    with pytest.raises(TransactionUnconfirmed, match=r"0\.3 seconds"):
        await token.send("transfer", BOB.address, 1)


async def test_what_is_refused_costs_nothing(chain, alice):
    """Estimated first: nothing was sent."""
    before = await chain.w3.eth.get_transaction_count(ALICE.address)
    with pytest.raises(InsufficientFunds):
        await alice.start_user_session()
    assert await chain.w3.eth.get_transaction_count(ALICE.address) == before


async def test_one_that_reverts_in_its_block(chain, alice, by_hand):
    """It was right when it was estimated. The contract's reason is found out, and has its class."""
    by_hand.rpc("evm_setAutomine", True)
    session_id = await alice.start_user_session("1 USDT")
    by_hand.rpc("evm_setAutomine", False)
    closing = [asyncio.create_task(alice.close_user_session(session_id)) for _ in range(2)]

    async def are_waiting():
        return by_hand.rpc("txpool_status")["pending"] == "0x2"

    await until(are_waiting)
    by_hand.rpc("evm_mine")
    outcomes = await asyncio.gather(*closing, return_exceptions=True)
    assert [type(each) for each in outcomes if isinstance(each, Exception)] == [SessionAlreadyClosed]


async def test_a_wallet_without_ether(chain, world):
    poor = wallet("a wallet without ether")
    token = await token_of(chain, world, who=poor)
    with pytest.raises(EtherTooLow) as caught:
        await token.send("approve", BOB.address, 1)
    assert (caught.value.address, caught.value.available_wei) == (poor.address, 0)
    assert caught.value.needed_wei > 0


class TestAnEndpointThatMisbehaves:
    """Real HTTP, with a fault for each way in which an endpoint can fail."""

    @pytest.fixture
    async def proxy(self, world):
        async with Proxy(world.url) as running:
            yield running

    @pytest.fixture
    async def through(self, proxy):
        async with await Chain.connect(proxy.url, patience=IMPATIENT, poll_seconds=POLL_SECONDS) as chain:
            yield chain

    @pytest.mark.slow
    @pytest.mark.parametrize("fault", [503, 429, "drop", "swallow", "hang", {"error": {"code": -32005}}])
    @pytest.mark.parametrize(
        "method",
        ["eth_estimateGas", "eth_getTransactionCount", "eth_sendRawTransaction", "eth_getTransactionReceipt"],
    )
    async def test_once(self, through, world, proxy, method, fault):
        """Asked again; what arrived although it was not confirmed is not sent twice."""
        token = await token_of(through, world)
        before = await through.w3.eth.get_transaction_count(ALICE.address)
        proxy.fail(method, fault)
        await token.send("transfer", BOB.address, 1)
        assert await through.w3.eth.get_transaction_count(ALICE.address) == before + 1
        assert await token.call("balanceOf", BOB.address) == 1_000 * USDT + 1

    async def test_longer_than_its_patience(self, through, proxy):
        proxy.fail("eth_blockNumber", *["drop"] * 10)
        with pytest.raises(ChainUnreachable) as caught:
            await through.head()
        assert caught.value.attempts == 3
        assert proxy.seen.count("eth_blockNumber") == 3
        assert caught.value.retryable

    async def test_while_a_transaction_is_out(self, through, world, proxy):
        """It was swallowed, and so was what followed: handed in again when the endpoint is back, once."""
        token = await token_of(through, world)
        proxy.fail("eth_sendRawTransaction", *["drop"] * 3)
        proxy.fail("eth_getTransactionReceipt", *[503] * 3)
        receipt = await token.send("transfer", BOB.address, 1)
        assert receipt["status"] == 1
        assert await token.call("balanceOf", BOB.address) == 1_000 * USDT + 1

    async def test_for_good_while_a_transaction_is_out(self, through, world, proxy):
        token = await token_of(through, world, replace(QUICK, timeout_seconds=0.2))
        proxy.fail("eth_getTransactionReceipt", *[503] * 50)
        with pytest.raises(ChainUnreachable, match="HTTP status 503"):
            await token.send("transfer", BOB.address, 1)

    async def test_an_answer_that_is_none(self, through, proxy):
        proxy.fail("eth_blockNumber", 200)
        assert await through.head() > 0
        assert proxy.seen.count("eth_blockNumber") == 2

    async def test_a_refusal_of_the_node_is_passed_on(self, through, world, proxy):
        token = await token_of(through, world)
        refused = {"error": {"code": -32000, "message": "tx fee exceeds the configured cap"}}
        proxy.fail("eth_sendRawTransaction", refused)
        with pytest.raises(ChainError, match="tx fee exceeds the configured cap"):
            await token.send("transfer", BOB.address, 1)


async def test_an_endpoint_that_is_not_there():
    """The key that providers put into the path is not told."""
    with pytest.raises(ChainUnreachable) as caught:
        await Chain.connect("http://127.0.0.1:9/v3/0123456789abcdef", patience=IMPATIENT)
    assert caught.value.place == "http://127.0.0.1:9"
    assert "0123456789abcdef" not in str(caught.value)


class TestWhatFailsInItsBlock:
    """Sent although it would fail, as others' transactions in between can bring about."""

    async def judged(self, chain, world, function, arguments, gas, *, then=None):
        token = await token_of(chain, world)
        sender = token.sender
        draft = {**token.draft(function, *arguments), "gas": gas, "from": ALICE.address}
        nonce = await chain.w3.eth.get_transaction_count(ALICE.address)
        attempt = await sender.signed(draft, nonce, await current_gas_price(chain, None))
        await sender.push(attempt)
        if then is not None:
            await then()
        return await Watch(sender, draft, attempt).until_confirmed()

    async def test_out_of_gas(self, chain, world):
        with pytest.raises(ContractReverted, match="out of gas"):
            await self.judged(chain, world, "approve", (BOB.address, 1), 22_500)

    async def test_for_a_reason_that_is_still_there(self, chain, world):
        with pytest.raises(ContractReverted, match="Panic"):
            await self.judged(chain, world, "transfer", (BOB.address, 2_000 * USDT), 100_000)

    async def test_for_a_reason_that_is_gone(self, chain, world, by_hand):
        """Minted to in the same block, right behind it."""
        minting = []

        async def mint():
            token = await token_of(chain, world, who=BOB)
            minting.append(asyncio.create_task(token.send("mint", ALICE.address, 5_000 * USDT)))

            async def are_waiting():
                return by_hand.rpc("txpool_status")["pending"] == "0x2"

            await until(are_waiting)
            by_hand.rpc("evm_mine")

        by_hand.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**9))
        with pytest.raises(ContractReverted, match="something that has changed since"):
            await self.judged(chain, world, "transfer", (BOB.address, 2_000 * USDT), 100_000, then=mint)
        await asyncio.gather(*minting)


class Moody:
    """A wallet that signs once."""

    def __init__(self, other):
        self._other = other
        self._left = 1

    @property
    def address(self):
        return self._other.address

    async def sign_transaction(self, transaction):
        if not self._left:
            raise WalletUnusable("Not again.")
        self._left -= 1
        return await self._other.sign_transaction(transaction)


async def test_a_wallet_that_signs_no_bump(chain, world, by_hand):
    """What is out stays out, and is waited for."""
    policy = replace(QUICK, bump_after_seconds=0.05)
    token = await token_of(chain, world, policy, who=Moody(ALICE))
    sending = asyncio.create_task(token.send("transfer", BOB.address, 1))
    for _ in range(10):
        await chain.next_head()
    by_hand.rpc("evm_mine")
    assert (await sending)["status"] == 1


async def test_a_chain_with_an_older_gas_market():
    old = Anvil("--hardfork", "berlin")
    try:
        async with await Chain.connect(old.url, poll_seconds=POLL_SECONDS) as chain:
            old.give_ether(ALICE.address)
            with pytest.raises(ChainMismatch, match="EIP-1559"):
                await Sender(chain, ALICE, QUICK).send({"to": BOB.address, "value": 1})
    finally:
        old.stop()


async def test_an_endpoint_that_does_not_say_what_tip_is_usual(world, chain):
    async with Proxy(world.url) as proxy:
        proxy.fail("eth_maxPriorityFeePerGas", {"error": {"code": -32601, "message": "Method not found"}})
        async with await Chain.connect(proxy.url, patience=IMPATIENT, poll_seconds=POLL_SECONDS) as through:
            assert (await current_gas_price(through, None)).tip_wei == 10**9
