"""What the scenes on the chain share: the stage, who plays, and the story."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from prepaid.chain.ai import AiContract, Request, Settled
from prepaid.chain.contracts import Contract
from prepaid.chain.local.stage import PRICE, Stage
from prepaid.chain.manager import ManagerContract
from prepaid.chain.values import DtnRequest, decode_text, encode_prompt
from prepaid.chain.wallets import KeyWallet
from prepaid.cli.demo.story import Story
from prepaid.config import Settings
from prepaid.money import Currency, format_amount

__all__ = ["SLEEPER", "Cast", "question"]

SLEEPER: Final = "sleepy.node-1"
"""A node that is registered, and that nobody runs."""

_ANSWER_SECONDS: Final = 60.0
_WORD: Final = re.compile(r"\s*\S+")


@dataclass(slots=True)
class Cast:
    """Handed from scene to scene."""

    story: Story
    stage: Stage
    usdt: Currency
    ann: KeyWallet
    bob: KeyWallet
    operator: KeyWallet
    consumer: Contract
    node: Settings
    """The running node's."""

    names: dict[int, str] = field(default_factory=dict)
    """What the story calls each session."""

    brought: dict[str, int] = field(default_factory=dict)
    """What each wallet had of the token before the first session was opened, by its address."""

    @property
    def people(self) -> dict[str, str]:
        """Every wallet that can have money in the end, by what the story calls it."""
        return {
            "Ann": self.ann.address,
            "Bob": self.bob.address,
            "node-1's operator": self.operator.address,
        }

    async def ai_of(self, wallet: KeyWallet) -> AiContract:
        """The AI contract in somebody's hands."""
        return await self.stage.ai_of(wallet)

    async def manager_of(self, wallet: KeyWallet) -> ManagerContract:
        """The session manager in somebody's hands."""
        return await self.stage.manager_of(wallet)

    def told(self, units: int) -> str:
        """An amount as people read it."""
        return format_amount(units, self.usdt)

    async def answered(self, ai: AiContract, request: Request) -> Settled:
        """Wait for the node, and tell what it said and took.

        Raises:
            ConsensusTimeout: it says nothing.
        """
        self.story.note(f"{self.told(request.hold)} held: the most that it can cost")
        with self.story.waiting("the node sees the event, asks its model, sends the answer"):
            settled = await ai.settled(request, timeout_seconds=_ANSWER_SECONDS)
        with self.story.reply("node-1") as speak:
            for word in _WORD.findall(decode_text(settled.response.response)):
                speak(word)
        released = self.told(request.hold - settled.cost)
        self.story.note(f"{self.told(settled.cost)} for the node, {released} free again")
        return settled


def question(text: str) -> DtnRequest:
    """A question at the model's own price."""
    fees = (PRICE.fee_per_byte_req, PRICE.fee_per_byte_res, PRICE.total_fee_per_res)
    return DtnRequest(encode_prompt(text), *fees)
