"""A chain of one's own: what clients and nodes rely on, on every engine."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing

import pytest
from aiohttp import ClientSession

from chain.anvil import install
from chain.world import ADMIN, BOB, POLL_SECONDS, QUICK, USDT
from prepaid import ChainError
from prepaid.chain.ai import AiContract
from prepaid.chain.artefacts import artefact
from prepaid.chain.connection import Chain
from prepaid.chain.deploying import CREATE2_DEPLOYER, Deployer
from prepaid.chain.local import Engine, local_chain
from prepaid.chain.local.refused import reverted
from prepaid.chain.values import encode_text


@pytest.fixture(params=list(Engine))
async def local(request):
    install()
    async with local_chain(request.param) as running:
        yield running


async def test_contracts_are_deployed_money_moves_and_time_passes(local):
    await local.give_ether(ADMIN.address)
    async with await Chain.connect(local.url, chain_id=31_337, poll_seconds=POLL_SECONDS) as chain:
        deployer = Deployer(chain, ADMIN, QUICK)
        token = await deployer.test_token()
        ai = await AiContract.at(chain, await deployer.ai_contract(token), ADMIN, QUICK)
        await deployer.mint(token, ADMIN.address, 3 * USDT)
        session_id = await ai.start_user_session(2 * USDT)
        assert (await ai.session_of(session_id)).available == 2 * USDT
        before = await chain.time()
        await local.later(3_600)
        assert await chain.time() >= before + 3_600
        assert (await ai.close_user_session(session_id)).refund == 2 * USDT
        assert await ai.token.balance_of(ADMIN.address) == 3 * USDT


async def test_what_the_chain_refuses_is_told(local):
    with pytest.raises(ChainError, match="eth_nothing"):
        await local.rpc("eth_nothing")


async def test_a_port_that_is_taken(local):
    with pytest.raises(ChainError):
        async with local_chain(local.engine, port=local.port):
            pass


async def test_nothing_is_left_when_it_ends(local):
    async with local_chain(local.engine) as second:
        assert second.port != local.port
        assert await second.rpc("eth_chainId") == hex(31_337)
    with pytest.raises(OSError, match="Connect"):
        await asyncio.open_connection("127.0.0.1", second.port)


WRONG = (
    ("eth_nothing", [], -32_601),
    ("eth_chainId", ["too", "many"], -32_602),
    ("eth_getBalance", ["0x12", "latest"], -32_602),
    ("eth_getBalance", [ADMIN.address, {"no": "block"}], -32_602),
    ("eth_getBalance", [ADMIN.address, {"blockHash": "0x12"}], -32_000),
    ("eth_getBalance", [ADMIN.address, "0xffff"], -32_000),
    ("eth_call", ["not an object"], -32_602),
    ("eth_call", [{"to": ADMIN.address, "data": "0xabc"}], -32_602),
    ("eth_call", [{"to": ADMIN.address, "value": "much"}], -32_602),
    ("eth_getLogs", [[]], -32_602),
    ("eth_getLogs", [{"blockHash": "0x12"}], -32_000),
    ("eth_sendRawTransaction", ["0x1234"], -32_000),
    ("eth_estimateGas", [{"from": ADMIN.address, "to": ADMIN.address, "value": hex(10**30)}], -32_000),
    ("eth_subscribe", ["newHeads"], -32_601),
    ({"a": 1}, [], -32_600),
    ("eth_chainId", "no list", -32_602),
)


async def test_what_is_asked_wrongly_is_answered_so():
    """In the codes of JSON-RPC and the words of geth; nothing ends the server, nothing is an internal error."""
    async with local_chain(Engine.PY_EVM) as local, ClientSession() as session:
        told = []
        for method, params, _ in WRONG:
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            async with session.post(local.url, json=body) as reply:
                told.append((await reply.json())["error"]["code"])
        assert told == [code for _, _, code in WRONG]
        async with session.post(local.url, data=b"[" * 100_000) as reply:
            assert (await reply.json())["error"]["code"] == -32_700
        batch = [{"id": number, "method": "eth_chainId", "params": []} for number in range(3)]
        async with session.post(local.url, json=batch) as reply:
            assert [each["id"] for each in await reply.json()] == [0, 1, 2]


async def test_transactions_that_the_chain_does_not_take():
    async with local_chain(Engine.PY_EVM) as local, await Chain.connect(local.url) as chain:
        await local.give_ether(ADMIN.address)
        transfer = {"to": BOB.address, "value": 1, "gas": 21_000, "chainId": 31_337, "type": 2, "nonce": 0}
        fees = {"maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**9}
        for change, said in (
            ({"chainId": 1}, "invalid chain id"),
            ({"nonce": 1}, "nonce too high"),
            ({"maxFeePerGas": 1, "maxPriorityFeePerGas": 1}, "less than block base fee"),
            ({"value": 10**21}, "insufficient funds"),
            ({"gas": 30_000_001}, "exceeds block gas limit"),
            ({"gas": 20_999}, "intrinsic gas too low"),
        ):
            raw = await ADMIN.sign_transaction(transfer | fees | change)
            assert said in (await error_of(chain, "eth_sendRawTransaction", f"0x{raw.hex()}"))["message"]
        raw = f"0x{(await ADMIN.sign_transaction(transfer | fees)).hex()}"
        tx_hash = await local.rpc("eth_sendRawTransaction", raw)
        assert "nonce too low" in (await error_of(chain, "eth_sendRawTransaction", raw))["message"]
        found = await local.rpc("eth_getTransactionByHash", tx_hash)
        block = {"blockHash": found["blockHash"]}
        assert await local.rpc("eth_getBalance", BOB.address, block) == "0x1"
        before = hex(int(found["blockNumber"], 16) - 1)
        assert await local.rpc("eth_getBalance", BOB.address, before) == "0x0"
        whole = await local.rpc("eth_getBlockByHash", found["blockHash"], True)
        assert whole["transactions"] == [found]


async def test_an_anvil_that_does_not_start_says_why(tmp_path, monkeypatch):
    """The one on PATH comes first."""
    (tmp_path / "anvil").write_text("#!/bin/sh\necho no room for a chain\nexit 1\n")
    (tmp_path / "anvil").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(ChainError, match="no room for a chain"):
        async with local_chain():
            pass


async def test_both_engines_tell_the_same():
    """What a client reads of blocks, transactions, receipts, logs and refusals has the same form on either."""
    install()
    told = {}
    for engine in Engine:
        async with local_chain(engine) as local:
            told[engine] = await tell(local)
    anvil, evm = told[Engine.ANVIL], told[Engine.PY_EVM]
    assert evm["same"] == anvil["same"]
    assert abs(evm["estimate"] / anvil["estimate"] - 1) < 0.02
    for name, form in evm["forms"].items():
        kinds = {key: type(value) for key, value in anvil["forms"][name].items()}
        assert {key: type(value) for key, value in form.items()}.items() <= kinds.items(), name


async def tell(local):
    """What the chain says of a deployment and of a transfer that is refused."""
    await local.give_ether(ADMIN.address)
    async with await Chain.connect(local.url, poll_seconds=POLL_SECONDS) as chain:
        deployer = Deployer(chain, ADMIN, QUICK)
        token = await deployer.deploy(artefact("test_usd"), 18)
        await deployer.mint(token, ADMIN.address, 1)
        (log,) = await local.rpc("eth_getLogs", {"address": token, "fromBlock": "0x0"})
        asked = {"from": ADMIN.address, "to": token, "data": transfer(ADMIN.address, 2)}
        refused = [
            await error_of(chain, "eth_call", asked, "latest"),
            await error_of(chain, "eth_estimateGas", asked),
            await error_of(chain, "eth_call", asked | {"data": "0x12345678"}, "latest"),
        ]
        receipt = await local.rpc("eth_getTransactionReceipt", log["transactionHash"])
        block = await local.rpc("eth_getBlockByNumber", log["blockNumber"], False)
        return {
            "same": [
                token,
                await local.rpc("eth_getCode", CREATE2_DEPLOYER, "latest"),
                await local.rpc("eth_getCode", token, "latest"),
                {key: log[key] for key in ("address", "topics", "data", "logIndex")},
                [(each["code"], each["data"]) for each in refused],
                {key: receipt[key] for key in ("status", "gasUsed", "logsBloom", "from", "to", "type")},
                block["gasUsed"],
                await local.rpc("eth_getTransactionReceipt", "0x" + "11" * 32),
                await local.rpc("eth_getBlockByNumber", "0xffff", False),
            ],
            "estimate": int(
                await local.rpc("eth_estimateGas", asked | {"data": transfer(ADMIN.address, 1)}), 16
            ),
            "forms": {
                "log": log,
                "receipt": receipt,
                "block": block,
                "transaction": await local.rpc("eth_getTransactionByHash", log["transactionHash"]),
                "fees": await local.rpc("eth_feeHistory", "0x2", "latest", [50]),
            },
        }


async def error_of(chain, method, *params):
    return (await chain.provider.make_request(method, list(params)))["error"]


def transfer(to, units):
    return f"0xa9059cbb{to[2:].lower():>064}{units:064x}"


async def test_new_blocks_are_told_to_subscribers(local):
    async with await Chain.connect(local.socket_url) as chain:
        async with aclosing(chain.provider.subscribe("newHeads")) as heads:
            told = asyncio.ensure_future(anext(heads))
            async with asyncio.timeout(180):
                while not told.done():
                    await local.later(1)
                    await asyncio.sleep(0.02)
            head = await told
        block = await local.rpc("eth_getBlockByHash", head["hash"], False)
        assert block["number"] == head["number"]
        assert int(head["number"], 16) <= await chain.head()


async def test_transactions_from_before_london(local):
    await local.give_ether(ADMIN.address)
    transfer = {
        "to": BOB.address,
        "value": 1,
        "gas": 21_000,
        "gasPrice": 10**10,
        "nonce": 0,
        "chainId": 31_337,
    }
    raw = await ADMIN.sign_transaction(transfer)
    tx_hash = await local.rpc("eth_sendRawTransaction", f"0x{raw.hex()}")
    found = await local.rpc("eth_getTransactionByHash", tx_hash)
    assert {key: int(found[key], 16) for key in ("type", "gasPrice", "value", "gas")} == {
        "type": 0,
        "gasPrice": 10**10,
        "value": 1,
        "gas": 21_000,
    }
    assert int(found["v"], 16) in {31_337 * 2 + 35, 31_337 * 2 + 36}
    assert await local.rpc("eth_getStorageAt", BOB.address, "0x0", "latest") == f"0x{0:064x}"


def test_a_reason_in_words_is_told():
    words = bytes.fromhex("08c379a0") + encode_text("not today")
    assert reverted(words).form() == {
        "code": 3,
        "message": "execution reverted: not today",
        "data": f"0x{words.hex()}",
    }
    assert str(reverted(words[:40])) == "execution reverted"
