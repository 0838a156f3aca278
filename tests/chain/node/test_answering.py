"""What a node answers, what it leaves to others, and what it is paid (spec A10, A11, A12, A14, A16)."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from pathlib import Path

import pytest
from eth_abi import encode
from eth_utils import keccak, to_checksum_address

from chain.node.desk import FUND, deliveries, ended, running, until
from chain.world import ADMIN, ALICE, MODEL, NODE, OPERATOR, PRICE, question, success
from prepaid.chain.values import DtnRequest, ResponseStatus, decode_text, encode_prompt
from prepaid.chain.wallets import PASSWORD_VARIABLE
from prepaid.errors import ConfigError, EtherTooLow, NoNodesAvailable, StoreBusy
from prepaid.routing import Aggregation, Routing, system_validated_any
from providers.fake_openai import Behaviour

KEY = keccak(text="a key for tests: operator")


async def test_the_command_answers_until_it_is_told_to_stop(desk, world, alice, operator, anvil, session_id):
    """Spec A3, A10, A14: asked on chain, answered by a model, both paid; nothing secret in the logs."""
    environment = desk.environment(world)
    del environment["PREPAID_CHAIN_KEY"]
    password = "a password for tests"
    OPERATOR.to_keystore(desk.folder / "node.json", lambda: password, is_for_tests=True)
    environment[PASSWORD_VARIABLE] = password
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREPAID_")}
    options = {
        "--rpc": anvil.socket_url,
        "--contract": world.ai,
        "--keystore": "node.json",
        "--name": NODE,
        "--models": f"{MODEL}=m",
        "--session": desk.session_id,
    }
    command = [Path(sys.executable).parent / "prepaid", "node", *itertools.chain(*options.items())]
    with (desk.folder / "node.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, env=kept | environment, stderr=log, cwd=desk.folder
        )
    request = await alice.request(session_id, MODEL, [NODE], question("What is the secret word?"))
    settled = await alice.settled(request, timeout_seconds=120)
    await desk.said("ended")
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 120) == 0
    assert decode_text(settled.response.response) == "Hello from the fake provider."
    assert await operator.earned(NODE) == settled.cost > 0
    spent, available = await desk.account()
    assert 0 < spent == FUND - available
    text = desk.log.read_text()
    assert [line["state"] for line in desk.lines("ended")] == ["confirmed"]
    for secret in (password, KEY.hex(), "secret word", "Hello from"):
        assert secret not in text


async def test_a_signer_elsewhere_signs_the_answers(
    desk, world, alice, admin, anvil, session_id, monkeypatch
):
    """Spec A10: anvil, for an account of its own; the node has no key."""
    account = to_checksum_address(anvil.rpc("eth_accounts")[0])
    await admin.register_node("system", "node-8", account)
    chain = {"signer_url": anvil.url, "signer_address": account}
    environment = desk.environment(world, chain=chain, node={"name": "system.node-8"})
    del environment["PREPAID_CHAIN_KEY"]
    async with running(environment, monkeypatch):
        request = await alice.request(session_id, MODEL, ["system.node-8"], question())
        settled = await alice.settled(request, timeout_seconds=120)
    assert settled.response.status is ResponseStatus.SUCCESS
    assert await alice.earned("system.node-8") == settled.cost


async def test_many_requests_at_once(desk, world, alice, operator, session_id, monkeypatch):
    """Spec A10: each once, whatever they wait for."""
    async with running(desk.environment(world), monkeypatch):
        asked = [
            await alice.request(session_id, MODEL, [NODE], question(f"Question {at}")) for at in range(12)
        ]
        settled = [await alice.settled(each, timeout_seconds=120) for each in asked]
    assert {each.response.status for each in settled} == {ResponseStatus.SUCCESS}
    assert sorted(await deliveries(alice)) == sorted(each.request_id for each in asked)
    assert desk.fake.served == len(asked)
    assert await operator.earned(NODE) == sum(each.cost for each in settled)


async def test_placeholders_are_filled_in(desk, world, alice, session_id, monkeypatch):
    """Spec A16: what does not fit costs no response fee, and no model is asked."""
    prompt = encode_prompt("Rate {0:uint8} for {1:address}.")
    fees = (PRICE.fee_per_byte_req, PRICE.fee_per_byte_res, PRICE.total_fee_per_res)
    values = encode(["uint8", "address"], [7, ALICE.address])
    async with running(desk.environment(world), monkeypatch):
        good = await alice.request(session_id, MODEL, [NODE], DtnRequest(prompt, *fees, values))
        answered = await alice.settled(good, timeout_seconds=120)
        bad = await alice.request(session_id, MODEL, [NODE], DtnRequest(prompt, *fees, values[:-1]))
        refused = await alice.settled(bad, timeout_seconds=120)
    assert answered.response.status is ResponseStatus.SUCCESS
    (told,) = desk.fake.requests
    assert told["messages"][-1]["content"] == f"Rate 7 for {ALICE.address}."
    assert refused.response.status is ResponseStatus.FAILED
    assert "uint8, address" in refused.response.message
    assert refused.cost == bad.terms.request_fee


async def test_an_answer_is_as_long_as_it_is_paid_for(desk, world, alice, session_id, monkeypatch):
    """Spec A10: and says that it was cut."""
    desk.fake.default = Behaviour(text="é" * 2_000, ignores_limit=True)
    async with running(desk.environment(world), monkeypatch):
        request = await alice.request(session_id, MODEL, [NODE], question())
        settled = await alice.settled(request, timeout_seconds=120)
    response = settled.response
    assert len(response.response) * PRICE.fee_per_byte_res <= PRICE.total_fee_per_res
    assert decode_text(response.response) == "é" * 208
    assert response.message == "cut: the fee pays for 416 bytes of text"


@pytest.mark.parametrize(
    ("node", "routing", "reason"),
    [
        ({"models": {"another": "m"}}, system_validated_any(), "another model"),
        ({"minimum_profit": 10**9}, system_validated_any(), "does not pay"),
        ({"ether_price": 10**18}, system_validated_any(), "does not pay"),
        ({"deadline_margin_seconds": 10**6}, system_validated_any(), "too near"),
        ({}, Routing(("system",), (), 2, 51, Aggregation.ALL), "more than one node"),
    ],
)
async def test_what_is_left_to_others(
    node, routing, reason, desk, world, alice, admin, session_id, monkeypatch, ends
):
    """Spec A10, A12: judged before the model is asked; nothing is spent."""
    await admin.register_node("system", "node-2", ALICE.address)
    async with running(desk.environment(world, node=node), monkeypatch):
        request = await alice.request(session_id, MODEL, routing, question())
        (end,) = await ends()
    assert (end.request_id, end.state) == (request.request_id, "declined")
    assert reason in end.reason
    assert (await alice.fetch_response(request.request_id)).status is ResponseStatus.PENDING
    assert desk.fake.served == 0
    assert await desk.account() == (0, FUND)


async def test_a_request_that_somebody_else_answered(
    desk, world, alice, operator, session_id, monkeypatch, ends
):
    """Spec A12: found out before the model is asked."""
    request = await alice.request(session_id, MODEL, [NODE], question())
    await operator.respond_to_request(request.encoded_terms, NODE, success("I was first."))
    async with running(desk.environment(world), monkeypatch):
        (end,) = await ends()
    assert (end.request_id, end.state) == (request.request_id, "lost")
    assert desk.fake.served == 0


async def test_earnings_are_taken_out(desk, world, alice, operator, session_id, monkeypatch):
    """To where the operator says, once there are enough."""
    node = {"withdraw_above": 1_000, "withdraw_to": ADMIN.address}
    before = await alice.token.balance_of(ADMIN.address)
    async with running(desk.environment(world, node=node), monkeypatch):
        request = await alice.request(session_id, MODEL, [NODE], question())
        settled = await alice.settled(request, timeout_seconds=120)

        async def is_withdrawn():
            return await alice.token.balance_of(ADMIN.address) > before

        await until(is_withdrawn)
    assert await alice.token.balance_of(ADMIN.address) - before == settled.cost
    assert await operator.earned(NODE) == 0


async def test_what_nobody_answered_is_ended(desk, world, alice, anvil, session_id, monkeypatch, ends):
    """Spec A17: the owner has the money back."""
    node = {"models": {"another": "m"}, "expires_others": True}
    async with running(desk.environment(world, node=node), monkeypatch):
        request = await alice.request(session_id, MODEL, [NODE], question())
        await ends()
        anvil.later(3_601)
        settled = await alice.settled(request, timeout_seconds=120)
    assert (settled.response.status, settled.cost) == (ResponseStatus.TIMEOUT, 0)
    assert (await alice.session_of(session_id)).held == 0


async def test_a_wallet_without_ether(desk, world, alice, anvil, session_id, monkeypatch, ends):
    """Spec A10: no model is asked before its answer could be sent."""
    anvil.rpc("anvil_setBalance", OPERATOR.address, "0x0")
    async with running(desk.environment(world), monkeypatch):
        request = await alice.request(session_id, MODEL, [NODE], question())
        (again, *_) = await ends("will try again")
        assert desk.fake.served == 0
        anvil.give_ether(OPERATOR.address)
        settled = await alice.settled(request, timeout_seconds=120)
    assert again.kind == EtherTooLow.code
    assert settled.response.status is ResponseStatus.SUCCESS
    assert desk.fake.served == 1


async def test_a_budget_that_is_spent(desk, world, alice, anvil, session_id, monkeypatch, ends):
    """Spec D1: what the node may spend is what its session holds; no model is asked for more."""
    await desk.close_session()
    async with running(desk.environment(world), monkeypatch):
        request = await alice.request(session_id, MODEL, [NODE], question())
        await ends("will try again")
        anvil.later(3_601)
        (end,) = await ends()
    assert (end.request_id, end.state) == (request.request_id, "expired")
    assert desk.fake.served == 0


@pytest.mark.parametrize(
    ("node", "error", "said"),
    [
        ({"name": "system.nobody"}, NoNodesAvailable, "no such|registered"),
        ({"name": None}, ConfigError, r"node\.name is missing"),
        ({"models": {}}, ConfigError, r"node\.models is missing"),
        ({"models": {MODEL: "nobody-serves-this"}}, ConfigError, "nobody-serves-this"),
        ({"session_id": None}, ConfigError, r"node\.session_id is missing"),
        ({"session_id": "ses_unknown"}, ConfigError, "ses_unknown"),
    ],
)
async def test_a_node_that_cannot_start_says_why(node, error, said, desk, world, monkeypatch):
    with pytest.raises(error, match=said):
        async with running(desk.environment(world, node=node), monkeypatch) as task:
            await task


async def test_a_node_of_somebody_else(desk, world, admin, monkeypatch):
    await admin.register_node("system", "node-9", ALICE.address)
    with pytest.raises(ConfigError, match=ALICE.address):
        async with running(desk.environment(world, node={"name": "system.node-9"}), monkeypatch) as task:
            await task


async def test_one_journal_has_one_node(desk, world, monkeypatch):
    """Two would answer everything twice."""
    process = desk.start(desk.environment(world))
    await desk.said("following")
    with pytest.raises(StoreBusy, match=r"node\.journal"):
        async with running(desk.environment(world), monkeypatch) as task:
            await task
    process.terminate()
    assert await ended(process) == 0


async def test_a_provider_that_fails_is_asked_again(desk, world, alice, session_id, monkeypatch):
    """Spec C12: what failed cost nothing."""
    for _ in range(2):
        desk.fake.next(Behaviour(status=500))
    async with running(desk.environment(world), monkeypatch):
        request = await alice.request(session_id, MODEL, [NODE], question())
        settled = await alice.settled(request, timeout_seconds=120)
    assert settled.response.status is ResponseStatus.SUCCESS
    assert desk.fake.served == 3
