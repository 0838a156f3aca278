"""Sessions on the AI contract from Python: money in, money out, and whose it is (spec A1 to A9)."""

from __future__ import annotations

import asyncio

import pytest

from chain.world import (
    ADMIN,
    ALICE,
    BOB,
    MODEL,
    NODE,
    OPERATOR,
    PRICE,
    QUICK,
    USDT,
    question,
    success,
    wallet,
)
from prepaid import (
    AmountTooLarge,
    ChainMismatch,
    ConfigError,
    ContractReverted,
    InsufficientFunds,
    InvalidRequestError,
    SessionAlreadyClosed,
    SessionNotFound,
)
from prepaid.chain.ai import AiContract, Claimable
from prepaid.chain.artefacts import artefact
from prepaid.chain.deploying import Deployer
from prepaid.money import format_amount


async def test_a_deposit_becomes_a_session_and_what_is_left_comes_back(alice, operator):
    """Spec A1, A2, A3, A6, A10, A14: every unit is accounted for."""
    before = await alice.token.balance_of(ALICE.address)
    target = await alice.deposit("50 USDT")
    assert target == await alice.fee_target()
    session_id = await alice.start_user_session()
    assert (await alice.session_of(session_id)).available == 50 * USDT
    asked = await alice.request(session_id, MODEL, [NODE], question())
    assert asked.session_id == session_id
    books = await alice.session_of(session_id)
    assert (books.available, books.held) == (50 * USDT - asked.hold, asked.hold)
    await operator.respond_to_request(asked.encoded_terms, NODE, success())
    settled = await alice.settled(asked)
    paid = len(question().call) * PRICE.fee_per_byte_req + 96 * PRICE.fee_per_byte_res
    assert settled.cost == paid == await operator.earned(NODE)
    closed = await alice.close_user_session(session_id)
    assert (closed.refund, closed.held) == (50 * USDT - paid, 0)
    assert await alice.token.balance_of(ALICE.address) == before - paid
    assert await operator.withdraw(NODE) == paid
    assert await operator.token.balance_of(OPERATOR.address) == paid


async def test_deposits_of_two_are_never_mixed(alice, bob):
    """Spec A2: however their transactions interleave."""
    await asyncio.gather(alice.deposit("3 USDT"), bob.deposit("5 USDT"))
    hers, his = await asyncio.gather(alice.start_user_session(), bob.start_user_session())
    assert (await alice.session_of(hers)).available == 3 * USDT
    assert (await alice.session_of(his)).available == 5 * USDT
    assert (await alice.session_of(his)).owner == BOB.address


async def test_starting_with_nothing_deposited(alice):
    """Spec A2: refused, and told where to send it."""
    with pytest.raises(InsufficientFunds) as caught:
        await alice.start_user_session()
    assert (caught.value.needed, caught.value.available) == (1, 0)
    assert await alice.fee_target() in str(caught.value)


async def test_starting_with_more_than_there_is(alice):
    with pytest.raises(InsufficientFunds) as caught:
        await alice.start_user_session("1001 USDT")
    assert (caught.value.needed, caught.value.available) == (1001 * USDT, 1000 * USDT)
    assert await alice.token.allowance(ALICE.address, alice.address) == 0


async def test_an_allowance_is_given_when_it_is_missing_and_changed_as_usdt_wants_it(alice):
    """Ethereum's USDT refuses to change an allowance but from zero."""
    await alice.token.approve(alice.address, "1 USDT")
    session_id = await alice.start_user_session("2 USDT")
    assert (await alice.session_of(session_id)).available == 2 * USDT
    assert await alice.token.allowance(ALICE.address, alice.address) == 0


async def test_a_session_is_funded_by_allowance_and_by_deposit(alice, bob):
    """Spec A1, B6: and by anybody who pays."""
    session_id = await alice.start_user_session("1 USDT")
    assert await alice.fund_session(session_id, "2 USDT") == 2 * USDT
    assert await bob.fund_session(session_id, "4 USDT") == 4 * USDT
    await alice.deposit("8 USDT")
    assert await alice.fund_session(session_id) == 8 * USDT
    assert (await alice.session_of(session_id)).available == 15 * USDT


async def test_only_the_owner_uses_and_closes_it(alice, bob):
    """Spec A5: to others it does not exist."""
    session_id = await alice.start_user_session("1 USDT")
    for verb in (bob.close_user_session(session_id), bob.request(session_id, MODEL, [NODE], question())):
        with pytest.raises(SessionNotFound) as caught:
            await verb
        assert caught.value.session_id == str(session_id)


@pytest.mark.parametrize("session_id", [5, -1, 2**256, True, "7"])
async def test_a_session_that_is_none(alice, session_id):
    """Spec A9."""
    for verb in (alice.close_user_session, alice.session_of, lambda each: alice.fund_session(each, 1)):
        with pytest.raises(SessionNotFound):
            await verb(session_id)


async def test_a_closed_session(alice):
    """Spec A8, A9: distinct from one that never was; another is started with what came back."""
    session_id = await alice.start_user_session("1 USDT")
    await alice.close_user_session(session_id)
    with pytest.raises(SessionAlreadyClosed) as caught:
        await alice.close_user_session(session_id)
    assert caught.value.session_id == str(session_id)
    with pytest.raises(SessionAlreadyClosed):
        await alice.fund_session(session_id, 1)
    books = await alice.session_of(session_id)
    assert (books.available, books.held, books.is_open) == (0, 0, False)
    assert await alice.start_user_session("1 USDT") != session_id


async def test_a_refund_that_the_token_refuses_can_be_claimed(alice, chain, world):
    """Spec A6: it blocks nothing, and waits."""
    session_id = await alice.start_user_session("1 USDT")
    await set_blocked(chain, world, ALICE.address, blocked=True)
    await alice.close_user_session(session_id)
    assert await alice.claimable() == Claimable(USDT, 0)
    with pytest.raises(ContractReverted, match="DtnAi_PaymentRefused"):
        await alice.claim_refund()
    safe = wallet("elsewhere").address
    assert await alice.claim_refund(safe) == Claimable(USDT, 0)
    assert await alice.token.balance_of(safe) == USDT
    with pytest.raises(ContractReverted) as caught:
        await alice.claim_refund()
    assert (caught.value.reason, caught.value.arguments) == (
        "DtnAi_NothingToClaim",
        {"account": ALICE.address},
    )


async def set_blocked(chain, world, account, *, blocked):
    from prepaid.chain.contracts import Contract
    from prepaid.chain.sending import Sender

    token = Contract(chain, artefact("test_usdt"), world.token, Sender(chain, ADMIN, QUICK))
    await token.send("setBlocked", account, blocked)


class TestSigned:
    """A token with 18 decimals and typed signatures."""

    @pytest.fixture
    async def hers(self, chain, world):
        return await AiContract.at(chain, world.signed_ai, ALICE, QUICK)

    async def test_by_permit(self, hers):
        """Spec A2, EIP-2612: one transaction."""
        session_id = await hers.start_user_session_with_permit("2.5 USDM")
        assert (await hers.session_of(session_id)).available == 25 * 10**17

    async def test_by_authorization_which_anybody_hands_in(self, hers, chain, world):
        """Spec A2, EIP-3009: the session is whose signature it is; Bob only pays the gas."""
        signed = await hers.authorize("3 USDM")
        bobs = await AiContract.at(chain, world.signed_ai, BOB, QUICK)
        session_id = await bobs.start_user_session_with_authorization(signed)
        books = await bobs.session_of(session_id)
        assert (books.owner, books.available) == (ALICE.address, 3 * 10**18)

    async def test_an_authorization_is_good_for_once(self, hers):
        signed = await hers.authorize("3 USDM")
        await hers.start_user_session_with_authorization(signed)
        with pytest.raises(ContractReverted):
            await hers.start_user_session_with_authorization(signed)

    async def test_more_than_a_database_holds(self, hers):
        """18 decimals: a thousand tokens are 2**70 base units."""
        session_id = await hers.start_user_session("1000 USDM")
        available = (await hers.session_of(session_id)).available
        assert available == 10**21
        assert format_amount(available, hers.token.currency) == "1,000.00 USDM"

    async def test_more_than_a_session_holds(self, hers):
        with pytest.raises(AmountTooLarge):
            await hers.start_user_session(2**96)

    async def test_a_token_that_lacks_something(self, hers):
        with pytest.raises(InsufficientFunds) as caught:
            await hers.start_user_session_with_permit("1001 USDM")
        assert (caught.value.needed, caught.value.available) == (1001 * 10**18, 1000 * 10**18)


async def test_usdt_knows_no_signatures(alice):
    for verb in (alice.start_user_session_with_permit("1 USDT"), alice.authorize("1 USDT")):
        with pytest.raises(ChainMismatch, match="one without"):
            await verb


async def test_opened_for_reading_only(chain, world, alice):
    session_id = await alice.start_user_session("1 USDT")
    reader = await AiContract.at(chain, world.ai)
    assert (await reader.session_of(session_id)).available == USDT
    assert await reader.fee_target_of(ALICE.address) == await alice.fee_target()
    assert await reader.fee_token() == world.token
    with pytest.raises(ConfigError, match="without a wallet"):
        await reader.close_user_session(session_id)


async def test_what_is_no_ai_contract_is_not_paid(chain, world):
    """A wrong address is seen before anything is sent there."""
    for address, found in (
        (ALICE.address, "no contract"),
        (world.token, "another contract"),
        (world.manager, "another contract"),
    ):
        with pytest.raises(ChainMismatch, match=found):
            await AiContract.at(chain, address, ALICE, QUICK)
    with pytest.raises(InvalidRequestError, match="is no address"):
        await AiContract.at(chain, "0x12", ALICE, QUICK)


async def test_the_contract_is_found_where_it_was_foreseen(chain, world):
    """Deploying what is there already finds it: the address depends on the code and its arguments only."""
    assert await Deployer(chain, ADMIN, QUICK).ai_contract(world.token, ADMIN.address) == world.ai
    elsewhere = await Deployer(chain, ADMIN, QUICK).ai_contract(world.token, BOB.address)
    assert elsewhere != world.ai


async def test_a_constructor_that_refuses_says_why(chain, world):
    deployer = Deployer(chain, ADMIN, QUICK)
    coarse = await deployer.test_token(decimals=24)
    with pytest.raises(ContractReverted) as caught:
        await deployer.ai_contract(coarse)
    assert caught.value.reason == "DtnAi_TokenNotSupported"
    assert caught.value.arguments == {"token": coarse, "decimals": 24}


async def test_the_deployer_is_not_on_every_chain(chain, world, anvil):
    """Then a contract is created the ordinary way."""
    anvil.rpc("anvil_setCode", "0x4e59b44847b379578588920cA78FbF26c0B4956C", "0x")
    address = await Deployer(chain, ADMIN, QUICK).ai_contract(world.token)
    assert address != world.ai
    assert (await AiContract.at(chain, address, ALICE, QUICK)).token.address == world.token
