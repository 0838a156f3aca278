"""The chain's first scenes: contracts deployed, a node that runs, a contract of Ann's with money."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from prepaid.chain.ai import AiContract
from prepaid.chain.artefacts import artefact
from prepaid.chain.connection import Chain
from prepaid.chain.contracts import Contract
from prepaid.chain.local import Engine, LocalChain
from prepaid.chain.local.stage import MODEL, NODE, PRICE, node_settings, set_stage
from prepaid.chain.sending import Sender
from prepaid.chain.wallets import KeyWallet
from prepaid.cli.demo.onchain.cast import SLEEPER, Cast
from prepaid.cli.demo.story import Story
from prepaid.cli.output import pairs
from prepaid.money import format_amount

__all__ = ["build", "fund_a_contract", "register_nodes"]

_BROUGHT: Final = 100
_BUDGET: Final = "1 USDT"
_ENGINES: Final = {
    Engine.ANVIL: "Foundry's anvil",
    Engine.PY_EVM: "An EVM in this process (py-evm)",
}


async def build(story: Story, local: LocalChain, chain: Chain, folder: Path) -> Cast:
    """Everything that is there before anybody asks. The node's files go into ``folder``."""
    story.chapter("A chain of our own, and the contracts on it")
    story.say(f"{_ENGINES[local.engine]} makes a block of every transaction. It ends with this demo.")
    story.code("Deployer(chain, wallet).ai_contract(token)")
    with story.waiting("deploying"):
        stage = await set_stage(local, chain, KeyWallet.create())
        ann, bob, operator = KeyWallet.create(), KeyWallet.create(), KeyWallet.create()
        for each, whole in ((ann, _BROUGHT), (bob, 0), (operator, 0)):
            await stage.welcome(each, whole)
        usdt = (await stage.ai_of(ann)).token.currency
        node = await node_settings(stage, folder, NODE, _BUDGET)
        deployed = await stage.deployer(ann).deploy(artefact("text_consumer"), stage.ai, ann.address)
    consumer = Contract(chain, artefact("text_consumer"), deployed, Sender(chain, ann))
    places = {"test USDT": stage.token, "AI contract": stage.ai, "session manager": stage.manager}
    story.show(pairs(places | {"TextConsumer, Ann's": consumer.address}))
    cast = Cast(story, stage, usdt, ann, bob, operator, consumer, node)
    _tell_price(cast)
    return cast


async def register_nodes(cast: Cast) -> None:
    """One that will answer, one that will not."""
    story = cast.story
    story.chapter("Two nodes register; one of them runs")
    admin = await cast.stage.ai_of(cast.stage.admin)
    for name, operator in ((NODE, cast.operator.address), (SLEEPER, cast.stage.admin.address)):
        await _register(admin, name, operator)
    story.code(f'ai.register_node("system", "node-1", operator)   # and "{SLEEPER}"')
    story.say(f"$ prepaid node --rpc {cast.stage.local.socket_url} --name {NODE} --models {MODEL}=offline")
    story.good(f"{NODE} follows the chain. A ledger session of {_BUDGET} pays the models it asks.")
    story.say(f"{SLEEPER} is registered too, and nobody runs it: it will be needed.")


async def fund_a_contract(cast: Cast) -> None:
    """Money first, here too."""
    story = cast.story
    ai = await cast.ai_of(cast.ann)
    cast.brought = {address: await ai.token.balance_of(address) for address in cast.people.values()}
    story.chapter("Ann funds a contract of hers")
    target = await ai.fee_target_of(cast.consumer.address)
    story.code('token.transfer(ai.fee_target_of(consumer), "5 USDT")')
    await ai.token.transfer(target, "5 USDT")
    lies = cast.told(await ai.token.balance_of(target))
    story.good(f"{lies} lies at the contract's own deposit address.")
    story.say(
        "It can become a session of that contract, and nothing else. No allowance, no key of anybody's."
    )


async def _register(admin: AiContract, name: str, operator: str) -> None:
    namespace, node = name.split(".")
    if await admin.namespace_of(namespace) is None:
        await admin.register_namespace(namespace)
    await admin.register_node(namespace, node, operator)


def _tell_price(cast: Cast) -> None:
    request, response, most = (
        format_amount(units, cast.usdt)
        for units in (PRICE.fee_per_byte_req, PRICE.fee_per_byte_res, PRICE.total_fee_per_res)
    )
    cast.story.say(
        f"{MODEL} is for sale: {request} for a byte of the question, {response} for one of the answer,"
        f" {most} for an answer at most. Ann has {_BROUGHT} USDT; the others have none."
    )
