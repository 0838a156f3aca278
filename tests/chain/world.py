"""Contracts deployed and people with money: where every test on the chain starts."""

from __future__ import annotations

from dataclasses import dataclass

from eth_utils import keccak

from prepaid.chain.ai import AiContract
from prepaid.chain.artefacts import artefact
from prepaid.chain.connection import Chain
from prepaid.chain.deploying import Deployer, ManagerConfig
from prepaid.chain.sending import Policy
from prepaid.chain.values import (
    Answer,
    CallType,
    ChainModel,
    DtnRequest,
    ResponseStatus,
    encode_prompt,
    encode_text,
)
from prepaid.chain.wallets import KeyWallet

USDT = 10**6
MODEL = "gpt-3.5-turbo"
PRICE = ChainModel(10, 20, 10_000, frozenset({CallType.DIRECT}))
NODE = "system.node-1"
QUICK = Policy(timeout_seconds=120)
POLL_SECONDS = 0.02


def wallet(name):
    """Somebody's wallet; the same name is the same account."""
    return KeyWallet(keccak(text=f"a key for tests: {name}"))


ADMIN, ALICE, BOB, OPERATOR = (wallet(name) for name in ("admin", "alice", "bob", "operator"))


@dataclass(frozen=True)
class World:
    """Where things are."""

    url: str
    token: str
    signed_token: str
    ai: str
    signed_ai: str
    manager: str


async def build(anvil):
    """Deploy everything, offer a model, register a node, give everybody money."""
    for each in (ADMIN, ALICE, BOB, OPERATOR):
        anvil.give_ether(each.address)
    async with await Chain.connect(anvil.url, poll_seconds=POLL_SECONDS) as chain:
        deployer = Deployer(chain, ADMIN, QUICK)
        token = await deployer.test_token()
        signed_token = await deployer.deploy(artefact("test_usd"), 18)
        world = World(
            url=anvil.url,
            token=token,
            signed_token=signed_token,
            ai=(ai_address := await deployer.ai_contract(token)),
            signed_ai=await deployer.ai_contract(signed_token),
            manager=await deployer.session_manager(ai_address, ManagerConfig(10 * USDT)),
        )
        for address in (world.ai, world.signed_ai):
            ai = await AiContract.at(chain, address, ADMIN, QUICK)
            await ai.set_model(MODEL, PRICE)
            await ai.register_node("system", "node-1", OPERATOR.address)
        for each in (ALICE, BOB):
            await deployer.mint(token, each.address, 1_000 * USDT)
            await deployer.mint(signed_token, each.address, 1_000 * 10**18)
    return world


def question(*lines, price=PRICE):
    """A request at the model's own price."""
    return DtnRequest(
        encode_prompt(*(lines or ("What is the weather like?",))),
        price.fee_per_byte_req,
        price.fee_per_byte_res,
        price.total_fee_per_res,
    )


def success(text="Sunny."):
    return Answer(ResponseStatus.SUCCESS, "", encode_text(text))
