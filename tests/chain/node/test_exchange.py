"""What peers may serve, and what of it is believed (spec A12)."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from chain.world import BOB, MODEL, NODE, QUICK, question, success
from prepaid.chain.ai import AiContract
from prepaid.chain.node.exchange import Peers
from prepaid.chain.values import as_id


def said(seal):
    return json.dumps({"node_id": seal.node_id, "signature": f"0x{seal.signature.hex()}"})


@pytest.fixture
async def serve():
    """Serves a text as a peer's seal; its URL."""
    runners = []

    async def start(text, status=200):
        async def handle(_):
            return web.Response(text=text, status=status, headers={"Location": "/elsewhere"})

        application = web.Application()
        application.router.add_get("/{tail:.*}", handle)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        runners.append(runner)
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def asked(alice, session_id):
    return await alice.request(session_id, MODEL, [NODE], question())


async def test_a_seal_of_the_same_answer_is_taken(serve, asked, operator):
    seal = await operator.seal(asked.request_id, NODE, success())
    url = await serve(said(seal))
    peers = Peers(operator, [url, url])
    assert await peers.seals(asked.request_id, success(), asked.terms.trusted) == [seal]


async def test_seals_of_anything_else_are_left_out(serve, asked, operator, chain, world):
    """Another answer, another request, somebody else's signature, a node that is not trusted or not known."""
    bob = await AiContract.at(chain, world.ai, BOB, QUICK)
    other = f"0x{'12' * 32}"
    wrong = [
        await operator.seal(asked.request_id, NODE, success("Rain.")),
        await operator.seal(other, NODE, success()),
        await bob.seal(asked.request_id, NODE, success()),
        await bob.seal(asked.request_id, "system.nobody", success()),
    ]
    urls = [await serve(said(seal)) for seal in wrong]
    assert await Peers(operator, urls).seals(asked.request_id, success(), asked.terms.trusted) == []
    good = await serve(said(await operator.seal(asked.request_id, NODE, success())))
    assert await Peers(operator, [good]).seals(asked.request_id, success(), [as_id("others")]) == []


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", 200),
        ("<html>", 200),
        ("[]", 200),
        ("{}", 200),
        ('{"node_id": 1, "signature": 2}', 200),
        ('{"node_id": "0x12", "signature": "0x12"}', 200),
        ('{"node_id": "0x12", "signature": "zz"}', 200),
        ("x" * 1_000_000, 200),
        ("moved", 302),
        ("gone", 404),
        ("broken", 500),
    ],
)
async def test_rubbish_is_left_out(text, status, serve, asked, operator):
    silent = "http://127.0.0.1:9"
    peers = Peers(operator, [await serve(text, status), silent])
    assert await peers.seals(asked.request_id, success(), asked.terms.trusted) == []
