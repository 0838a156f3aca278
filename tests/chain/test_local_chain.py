"""A chain of one's own: what clients and nodes rely on, on every engine."""

from __future__ import annotations

import asyncio

import pytest

from chain.anvil import install
from chain.world import ADMIN, POLL_SECONDS, QUICK, USDT
from prepaid import ChainError
from prepaid.chain.ai import AiContract
from prepaid.chain.artefacts import artefact
from prepaid.chain.connection import Chain
from prepaid.chain.deploying import CREATE2_DEPLOYER, Deployer
from prepaid.chain.local import Engine, local_chain


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
