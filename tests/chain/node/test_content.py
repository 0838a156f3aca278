"""Answers by content id: kept, named on chain, fetched and verified by an implementation of IPFS (spec A15)."""

from __future__ import annotations

import json
import signal
from dataclasses import replace

import pytest
from eth_abi import decode

from chain.node.desk import PRICES, deliveries, ended, running, until
from chain.node.gateways import Kubo, helia, shelf, told
from chain.world import ADMIN, ALICE, MODEL, NODE, OPERATOR, question
from prepaid.chain.connection import Chain
from prepaid.chain.content import content_id_of, decode_content_id, fetch_content
from prepaid.chain.content.tree import PIECE_BYTES
from prepaid.chain.local import stage as stages
from prepaid.chain.local.chain import Engine, local_chain
from prepaid.chain.values import CallType, ChainModel, ResponseStatus, encode_prompt, encode_text
from prepaid.errors import ConfigError
from prepaid.models.drawing import drawing
from providers.fake_openai import Behaviour

PRICE = ChainModel(10, 100, 20_000, frozenset(CallType))


@pytest.fixture(autouse=True)
async def offered(admin):
    """The model, answering by content id as well."""
    await admin.set_model(MODEL, PRICE)


def by_content_id(*lines, **more):
    return replace(question(*lines, price=PRICE), call_type=CallType.IPFS, **more)


def keeping(desk, **more):
    """What an operator sets to answer by content id."""
    return {"content_store": str(desk.folder / "content.db"), "serve_port": 0} | more


async def gateway_of(ends):
    (line,) = await ends("serving")
    return f"http://127.0.0.1:{line.port}"


async def test_a_picture_by_its_id(desk, world, alice, session_id, monkeypatch, ends):
    """Spec A15: asked on chain, drawn by the offline model, named in the response, fetched by Helia."""
    node = keeping(desk, models={MODEL: "offline"})
    async with running(desk.environment(world, node=node), monkeypatch):
        request = await alice.request(session_id, MODEL, [NODE], by_content_id("Draw a cat."))
        settled = await alice.settled(request, timeout_seconds=120)
        gateway = await gateway_of(ends)
        (cid,) = decode(["string"], settled.response.response)  # as a contract does
        picture = await fetch_content(cid, gateway)
        said = await helia(gateway, fetch=[cid])
    assert settled.response.status is ResponseStatus.SUCCESS
    assert picture == drawing("Draw a cat.")
    assert str(content_id_of(picture)) == cid
    assert said["fetch"] == [told(picture)]
    assert settled.cost == request.terms.request_fee + 128 * PRICE.fee_per_byte_res


async def test_an_answer_that_no_transaction_could_carry(
    desk, world, alice, operator, session_id, monkeypatch, ends
):
    """Spec A15: fifty times what the contract takes; whole, pushed to a Kubo, and paid by the id's bytes."""
    text = f"{'play' * 2_500} " * 120
    desk.fake.default = Behaviour(
        text=text, ignores_limit=True, usage={"prompt_tokens": 5, "completion_tokens": 9}
    )
    dear = {"fee_per_byte_res": 10_000, "total_fee_per_res": 2_000_000}
    limits = {"context_tokens_max": 1_000_000, "output_tokens_max": 400_000}
    talkative = {"PREPAID_PRICES": json.dumps({"m": PRICES["m"] | limits})}
    kubo = Kubo()
    async with kubo.running() as url:
        node = keeping(desk, kubo_rpc_url=url, content_tokens_max=400_000)
        async with running(desk.environment(world, node=node, more=talkative), monkeypatch):
            request = await alice.request(session_id, MODEL, [NODE], by_content_id(**dear))
            settled = await alice.settled(request, timeout_seconds=120)
            content_id = decode_content_id(settled.response.response)
            content = await fetch_content(content_id, await gateway_of(ends))
            await ends("content pushed")
    assert len(content) > PIECE_BYTES
    assert content_id.codec == "dag-pb"
    assert content.decode() == text
    assert kubo.roots == [str(content_id)]
    assert await operator.earned(NODE) == settled.cost


async def test_a_node_killed_around_keeping(desk, world, alice, session_id):
    """Spec A15: answered once, the model paid once, and the content is there before the chain names it."""
    environment = desk.environment(world, node=keeping(desk), more={"PREPAID_HOLD_SECONDS": "30"})
    asked = []
    for kill_at in ("before content", "after content"):
        process = desk.start(environment, kill_at)
        await desk.said("ended", times=len(asked))
        asked.append(await alice.request(session_id, MODEL, [NODE], by_content_id(kill_at)))
        assert await ended(process) == -signal.SIGKILL, kill_at
        assert asked[-1].request_id not in await deliveries(alice)
    process = desk.start(environment)
    settled = [await alice.settled(each) for each in asked]
    *_, serving = await desk.said("serving", times=3)
    gateway = f"http://127.0.0.1:{serving['port']}"
    named = [decode_content_id(each.response.response) for each in settled]
    contents = [await fetch_content(each, gateway) for each in named]
    await desk.said("ended", times=len(asked))
    process.terminate()
    assert await ended(process) == 0
    assert contents == [b"Hello from the fake provider."] * 2
    assert desk.fake.served == 2
    assert sorted(await deliveries(alice)) == sorted(each.request_id for each in asked)


async def test_a_prompt_by_its_id(desk, world, alice, session_id, monkeypatch):
    """Spec A15: fetched from the configured gateway, and verified before a model sees it."""
    prompt = encode_prompt("What is in the prompt that was too long?")
    named = content_id_of(prompt)
    blocks = {named.digest: b"a lie"}
    async with shelf(blocks) as gateway:
        node = keeping(desk, content_gateway=gateway)
        async with running(desk.environment(world, node=node), monkeypatch):
            asked = by_content_id(call=encode_text(str(named)))
            request = await alice.request(session_id, MODEL, [NODE], asked)

            async def was_asked():
                return "asked" in blocks

            await until(was_asked)
            blocks[named.digest] = prompt
            settled = await alice.settled(request, timeout_seconds=120)
    assert settled.response.status is ResponseStatus.SUCCESS
    (said,) = desk.fake.requests
    assert said["messages"][-1]["content"] == "What is in the prompt that was too long?"


async def test_what_cannot_be_answered_by_id(desk, world, alice, session_id, monkeypatch):
    """Spec A15: FAILED, with the reason; no model is asked, and no content is fetched that nobody allowed."""
    named = str(content_id_of(b"a prompt")).encode()
    asked = [by_content_id(call=named), by_content_id(total_fee_per_res=12_700 + 7_300, fee_per_byte_res=200)]
    async with running(desk.environment(world, node=keeping(desk)), monkeypatch):
        made = [await alice.request(session_id, MODEL, [NODE], each) for each in asked]
        settled = [(await alice.settled(each, timeout_seconds=120)).response for each in made]
    assert {each.status for each in settled} == {ResponseStatus.FAILED}
    assert "this node fetches none" in settled[0].message
    assert "the fee pays for 100" in settled[1].message
    assert desk.fake.served == 0


async def test_a_node_that_keeps_nothing(desk, world, alice, session_id, monkeypatch):
    async with running(desk.environment(world), monkeypatch):
        request = await alice.request(session_id, MODEL, [NODE], by_content_id())
        settled = await alice.settled(request, timeout_seconds=120)
    assert settled.response.status is ResponseStatus.FAILED
    assert "IPFS is not configured" in settled.response.message


async def test_a_full_store(desk, world, alice, session_id, monkeypatch, ends):
    """Before a model is asked."""
    node = keeping(desk, content_store_bytes_max=1_000)
    async with running(desk.environment(world, node=node), monkeypatch):
        await alice.request(session_id, MODEL, [NODE], by_content_id())
        (end,) = await ends()
    assert (end.state, end.reason) == ("declined", "the content store is full")
    assert desk.fake.served == 0


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"content_store": "content.db"}, r"nobody could fetch.*node\.serve_port"),
        ({"kubo_rpc_url": "http://127.0.0.1:5001"}, r"node\.content_store"),
    ],
)
async def test_settings_that_make_no_sense(node, said, desk, world, monkeypatch):
    with pytest.raises(ConfigError, match=said):
        async with running(desk.environment(world, node=node), monkeypatch) as task:
            await task


async def test_the_local_chain_s_node_draws(tmp_path):
    """Spec A15: for newcomers, on the EVM in the process: at the price that is offered there."""
    async with (
        local_chain(Engine.PY_EVM) as local,
        await Chain.connect(local.url, poll_seconds=0.05) as there,
    ):
        stage = await stages.set_stage(local, there, ADMIN)
        await stage.welcome(ALICE, 10)
        await stage.welcome(OPERATOR)
        await (await stage.ai_of(ADMIN)).register_node("system", "node-1", OPERATOR.address)
        settings = await stages.node_settings(stage, tmp_path, stages.NODE, "10 USDT", serve_port=0)
        async with stages.running_node(settings, OPERATOR) as node:
            ai = await stage.ai_of(ALICE)
            asked = replace(question("Draw a cat.", price=stages.PRICE), call_type=CallType.IPFS)
            session_id = await ai.start_user_session("10 USDT")
            request = await ai.request(session_id, stages.MODEL, [stages.NODE], asked)
            response = (await ai.settled(request, timeout_seconds=120)).response
            picture = await fetch_content(decode_content_id(response.response), node.gateway_url)
    assert picture == drawing("Draw a cat.")
