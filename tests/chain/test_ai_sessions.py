"""Sessions on the AI contract from Python: money in, money out, and whose it is (spec A1 to A9)."""

from __future__ import annotations

from chain.world import ALICE, MODEL, NODE, PRICE, USDT, question, success


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
