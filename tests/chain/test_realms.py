"""One suite for both realms: an app that knows only ``Realm`` and ``PaidSession`` sees no difference."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
from eth_utils import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain.answering import answering
from chain.world import MODEL, OPERATOR, POLL_SECONDS, QUICK
from prepaid import (
    AmountNotExact,
    AmountNotPositive,
    AmountTooPrecise,
    ConfigError,
    ConsensusTimeout,
    CurrencyMismatch,
    InsufficientFunds,
    ModelNotSupported,
    NodeValidationFailed,
    SessionAlreadyClosed,
    SessionNotFound,
    WalletUnusable,
    open_realm,
)
from prepaid.chain.ai import AiContract
from prepaid.chain.connection import Chain
from prepaid.chain.values import Answer, ResponseStatus
from prepaid.config import Settings

USDT = 10**6


class Ledger:
    """Opens the ledger of one database for a user."""

    def __init__(self, folder):
        self._settings = Settings(database=str(folder / "realms.db"), currency="USDT")

    def of(self, user):
        return open_realm(self._settings, user_id=user)

    @asynccontextmanager
    async def answered(self):
        yield


class OnChain:
    """Opens the chain for a user, whose key is in the environment as an operator would put it there."""

    def __init__(self, world, monkeypatch):
        chain = {
            "rpc_url": world.url,
            "ai_contract": world.ai,
            "chain_id": 31337,
            "poll_seconds": POLL_SECONDS,
        }
        self._world, self._monkeypatch = world, monkeypatch
        self._settings = Settings(realm="chain", chain=chain, default_model=MODEL)

    def of(self, user):
        key = keccak(text=f"a key for tests: {user}").hex()
        self._monkeypatch.setenv("PREPAID_CHAIN_KEY", key)
        return open_realm(self._settings)

    @asynccontextmanager
    async def answered(self):
        async with await Chain.connect(self._world.url, poll_seconds=POLL_SECONDS) as chain:
            operator = await AiContract.at(chain, self._world.ai, OPERATOR, QUICK)
            async with answering(operator):
                yield


@pytest.fixture(params=["ledger", "chain"])
def realms(request, tmp_path, monkeypatch):
    if request.param == "ledger":
        return Ledger(tmp_path)
    return OnChain(request.getfixturevalue("world"), monkeypatch)


@pytest.fixture
async def realm(realms):
    async with await realms.of("alice") as opened:
        yield opened


async def test_a_session_from_its_opening_to_its_refund(realms, realm):
    """Spec A1, A3, A6, A7: what is paid and what comes back is what was put in."""
    session = await realm.open("2 USDT")
    assert await session.fund("0.5 USDT") == 5 * USDT // 2
    async with realms.answered():
        answer = await session.request("What is the weather like?")
    assert answer.text
    assert answer.session_id == session.session_id
    stats = await session.stats()
    assert stats.available == 5 * USDT // 2 - answer.cost
    assert (stats.held, stats.is_open) == (0, True)
    refund = await session.close()
    assert (refund.session_id, refund.refunded, refund.held) == (session.session_id, stats.available, 0)
    closed = await session.stats()
    assert (closed.available, closed.held, closed.is_open) == (0, 0, False)


async def test_what_is_closed_stays_closed(realms, realm):
    """Spec A9."""
    session = await realm.open("1 USDT")
    await session.close()
    for verb in (session.close(), session.fund("1 USDT"), session.request("Anybody there?")):
        with pytest.raises(SessionAlreadyClosed) as caught:
            await verb
        assert caught.value.session_id == session.session_id


async def test_nobody_else_finds_it(realms, realm):
    """Spec A5."""
    session = await realm.open("1 USDT")
    assert (await (await realm.find(session.session_id)).stats()) == await session.stats()
    async with await realms.of("bob") as bobs:
        with pytest.raises(SessionNotFound):
            await bobs.find(session.session_id)
    for nonsense in ("no such session", "0", "12345", str(2**255), str(2**300)):
        with pytest.raises(SessionNotFound):
            await realm.find(nonsense)


async def test_a_balance_that_does_not_pay(realm):
    """Spec A9, D1: the numbers are in the error, and nothing was spent."""
    session = await realm.open(1)
    with pytest.raises(InsufficientFunds) as caught:
        await session.request("A question that one base unit does not pay for.")
    assert caught.value.available == 1 < caught.value.needed
    stats = await session.stats()
    assert (stats.available, stats.held) == (1, 0)


async def test_a_model_that_nobody_offers(realm):
    """Spec A11."""
    session = await realm.open("1 USDT")
    with pytest.raises(ModelNotSupported) as caught:
        await session.request("Anybody?", model="no-such-model")
    assert caught.value.model == "no-such-model"
    assert (await session.stats()).available == USDT


@pytest.mark.parametrize(
    ("amount", "error"),
    [
        (1.5, AmountNotExact),
        (True, AmountNotExact),
        ("ten", AmountNotExact),
        (0, AmountNotPositive),
        (-1, AmountNotPositive),
        ("0.0000001 USDT", AmountTooPrecise),
        ("1 USD", CurrencyMismatch),
    ],
)
async def test_amounts_that_are_none(realm, amount, error):
    with pytest.raises(error):
        await realm.open(amount)


@pytest.mark.parametrize("amount", [1_500_000, Decimal("1.5"), "1.5", "1.5 usdt"])
async def test_one_amount_in_all_its_forms(realm, amount):
    session = await realm.open(amount)
    assert (await session.stats()).available == 1_500_000


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(amounts=st.lists(st.integers(1, 10**7), min_size=1, max_size=3))
async def test_all_that_went_in_comes_out(realm, amounts):
    """Spec A6, property: whatever was put in, in whatever parts, is paid back to the unit."""
    session = await realm.open(amounts[0])
    for amount in amounts[1:]:
        await session.fund(amount)
    assert (await session.close()).refunded == sum(amounts)


async def test_the_ledger_must_be_told_whose_sessions_they_are(tmp_path):
    with pytest.raises(ConfigError, match="user_id"):
        await open_realm(Settings(database=str(tmp_path / "a.db")))


async def test_the_chain_must_be_told_where_things_are():
    with pytest.raises(ConfigError, match=r"chain\.rpc_url is missing"):
        await open_realm(Settings(realm="chain", chain={"keystore": None}))


class TestOnTheChainOnly:
    """What only nodes can do: not answer, and answer that there is no answer."""

    @pytest.fixture
    async def session(self, world, monkeypatch):
        async with await OnChain(world, monkeypatch).of("alice") as opened:
            yield await opened.open("1 USDT")

    async def test_a_question_that_no_node_could_answer(self, session, operator):
        """Spec A16: reading it is what it costs."""
        async with answering(operator, Answer(ResponseStatus.FAILED, "no such city")):
            with pytest.raises(NodeValidationFailed, match="no such city"):
                await session.request("What is the weather like in Atlantis?")
        stats = await session.stats()
        assert (stats.available > 990_000, stats.held) == (True, 0)

    async def test_a_question_that_nobody_answers(self, session, operator, anvil):
        """Spec A17: held until its deadline; whoever expires it then gives it back."""
        with pytest.raises(ConsensusTimeout, match="within 0"):
            await session.request("Anybody there?", timeout_seconds=0)
        assert (await session.stats()).held > 0
        waiting = asyncio.create_task(session.request("And now?", timeout_seconds=120))
        async with asyncio.timeout(120):
            while len(made := await requests_of(operator)) < 2:  # noqa: ASYNC110 -- it is on its way
                await asyncio.sleep(0.01)
        anvil.later(3_601)
        for each in made:
            await operator.expire(each)
        with pytest.raises(ConsensusTimeout, match="expired unanswered"):
            await waiting
        assert (await session.stats()).available == USDT

    async def test_a_wallet_that_cannot_be_opened(self, world, monkeypatch):
        monkeypatch.delenv("PREPAID_CHAIN_KEY", raising=False)
        chain = {"rpc_url": world.url, "ai_contract": world.ai}
        with pytest.raises(WalletUnusable, match="PREPAID_CHAIN_KEY"):
            await open_realm(Settings(realm="chain", chain=chain))
        monkeypatch.setenv("PREPAID_CHAIN_KEY", "11" * 32)
        with pytest.raises(ConfigError, match=r"chain\.ai_contract is missing"):
            await open_realm(Settings(realm="chain", chain={"rpc_url": world.url}))


async def requests_of(ai):
    """The terms of every request that the contract has ever seen, newest last."""
    query = {"address": ai.address, "topics": [ai.contract.topic("RequestMade")], "fromBlock": 0}
    logs = await ai.contract.chain.w3.eth.get_logs(query)
    return [ai.contract.decode("RequestMade", log)["terms"] for log in logs]
