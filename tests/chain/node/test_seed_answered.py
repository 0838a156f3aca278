"""The JavaScript of seed 000 that asks, line by line in Python, answered by a node that runs (spec B3, B13)."""

from __future__ import annotations

from chain.node.desk import deliveries, running
from chain.world import ALICE, MODEL, QUICK, USDT
from prepaid.chain.manager import ManagerContract
from prepaid.chain.values import ResponseStatus, decode_text
from prepaid.routing import default_system_trust


async def test_creating_using_and_batching(desk, chain, world, monkeypatch):
    """Each is answered once, and the session's balance is what its answers left of it."""
    contract = await ManagerContract.at(chain, world.manager, ALICE, QUICK)
    initial_balance = contract.token.units("50 USDT")
    await contract.token.approve(contract.address, initial_balance)
    session_id = await contract.create_session(initial_balance)
    prompts = ["What is the weather like?", "What is AI?", "Explain blockchain", "How does DTN work?"]
    async with running(desk.environment(world), monkeypatch):
        made = [
            await contract.make_ai_request(prompt, MODEL, default_system_trust(), value_wei=10**17)
            for prompt in prompts
        ]
        settled = [await contract.ai.settled(request, timeout_seconds=120) for request in made]
    assert {request.session_id for request in made} == {session_id}
    assert {each.response.status for each in settled} == {ResponseStatus.SUCCESS}
    assert {decode_text(each.response.response) for each in settled} == {"Hello from the fake provider."}
    assert sorted(await deliveries(contract.ai)) == sorted(each.request_id for each in made)
    asked = [told["messages"][-1]["content"] for told in desk.fake.requests]
    assert sorted(asked) == sorted(prompts)
    stats = await contract.get_session_stats(session_id)
    assert stats.balance == 50 * USDT - sum(each.cost for each in settled)
    assert (stats.is_active, stats.request_count) == (True, 4)
