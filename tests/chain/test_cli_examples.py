"""The contracts to copy, as a dApp's developer runs them: on ``prepaid chain up``'s chain, with its node."""

from __future__ import annotations

import pytest

from chain.anvil import install
from prepaid.chain.artefacts import artefact
from prepaid.chain.content import ContentId
from prepaid.chain.contracts import Contract
from prepaid.chain.local.stage import MODEL
from prepaid.chain.local.trial import trial
from prepaid.chain.sending import Sender
from prepaid.chain.values import as_id

USDT = 10**6


class Developer:
    """Deploys one example, pays for it, and asks."""

    def __init__(self, running):
        self.stage, self.wallet = running.stage, running.wallets["account"]

    async def example(self, name, of):
        address = await self.stage.deployer(self.wallet).deploy(artefact(name), of, self.wallet.address)
        return Contract(self.stage.chain, artefact(name), address, Sender(self.stage.chain, self.wallet))

    async def ask(self, contract, function, *arguments):
        ai = await self.stage.ai_of(self.wallet)
        (request,) = ai.requests_in(await contract.send(function, MODEL, *arguments))
        await ai.settled(request, timeout_seconds=60)
        return as_id(request.request_id)


@pytest.fixture
async def developer(tmp_path):
    install()
    async with trial(tmp_path) as running:
        yield Developer(running)


async def test_what_each_example_stores(developer):
    """Spec A13, A15, B3: an answer, an image by its content id, an answer through the session manager."""
    stage, account = developer.stage, developer.wallet.address
    ai = await stage.ai_of(developer.wallet)
    before = await ai.token.balance_of(account)
    text, image = [await developer.example(name, stage.ai) for name in ("text_consumer", "image_consumer")]
    for each in (text, image):
        await ai.token.transfer(await ai.fee_target_of(each.address), "1 USDT")
    managed = await developer.example("managed_consumer", stage.manager)
    await ai.token.transfer(managed.address, "5 USDT")

    asked = await developer.ask(text, "ask", "count to 3", [])
    assert await text.call("outcomes", asked) == [1, "1 2 3"]
    drawn = await developer.ask(image, "draw", "draw a cat")
    assert str(ContentId.read(await image.call("images", drawn))).startswith("bafkrei")
    answered = await developer.ask(managed, "ask", "count to 4")
    assert await managed.call("answers", answered) == "1 2 3 4"

    for each in (text, image, managed):
        await each.send("close", account)
    earned = await ai.earned("system.node-1")
    assert earned > 0
    assert await ai.token.balance_of(account) == before - earned
