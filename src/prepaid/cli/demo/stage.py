"""What the scenes of the demo share: a manager on a database of its own, the story, and what came out."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from prepaid.audit import AuditReport, audit
from prepaid.cli.demo.story import Story
from prepaid.cli.running import workspace_of
from prepaid.config.problems import ENV_PREFIX
from prepaid.money import USD, format_amount
from prepaid.records import Account, Price, SessionState, TextDelta, ToolCall, Unit
from prepaid.sessions.chat import Chat
from prepaid.sessions.manager import SessionManager
from prepaid.sessions.session import Session
from prepaid.turns import Answer

__all__ = ["PRICE", "Outcome", "Stage", "dollars", "untouched_by_settings"]

PRICE: Final = Price.flat(USD.code, Unit.TOKEN, 1_000_000_000, 2_000_000_000)
"""0.001 USD for a token in and 0.002 for one out: dear, so that what a reply costs can be seen."""


@dataclass(slots=True)
class Outcome:
    """What came out, each number read from the ledger or counted when it happened."""

    fired: int = 0
    affordable: int = 0
    succeeded: int = 0
    recovered: bool = False
    statement_verified: bool = False
    funded: int = 0
    spent: int = 0
    refunded: int = 0
    is_clean: bool = False

    @property
    def is_good(self) -> bool:
        """Everything that was promised."""
        return (
            self.recovered
            and self.statement_verified
            and self.is_clean
            and self.succeeded == self.affordable
            and self.funded == self.spent + self.refunded
        )


@dataclass(slots=True)
class Stage:
    """Handed from scene to scene."""

    manager: SessionManager
    story: Story
    folder: Path
    database: Path
    sessions: list[Session] = field(default_factory=list)
    outcome: Outcome = field(default_factory=Outcome)

    @property
    def ann(self) -> Session:
        """The session of the main character."""
        return self.sessions[0]

    async def talk(self, chat: Chat, who: str, text: str) -> Answer:
        """A question and its answer, as they come, with what it cost."""
        self.story.question(who, text)
        answer = await self._streamed(chat, text)
        left = dollars(answer.available)
        tokens = f"(tokens: {answer.usage.input_tokens} in, {answer.usage.output_tokens} out)"
        self.story.note(f"{dollars(answer.cost)} {tokens} · {left} left")
        return answer

    async def _streamed(self, chat: Chat, text: str) -> Answer:
        with self.story.reply(chat.name) as speak:
            async with aclosing(chat.stream_message(text)) as events:
                async for event in events:
                    match event:
                        case TextDelta(piece):
                            speak(piece)
                        case ToolCall():
                            speak(f"(calls {event.name} {event.arguments}) ")
                        case Answer():
                            return event
        raise AssertionError("a stream ends with its answer")

    async def audited(self) -> AuditReport:
        """Every balance against its lines, every line against its hash."""
        return await workspace_of(self.manager).store.report(audit)

    async def accounts(self) -> list[Account]:
        """Every session that the demo opened, as the ledger has it."""
        found = await workspace_of(self.manager).store.report(lambda reads: reads.accounts("", 1_000))
        return [account for account in found if account.state is not SessionState.DEPOSIT]


def dollars(units: int) -> str:
    """An amount as people read it."""
    return format_amount(units, USD)


@contextmanager
def untouched_by_settings() -> Generator[None]:
    """While it lasts, no ``PREPAID_*`` variable and no ``prepaid.toml`` counts, here or in a worker."""
    before = {name: value for name, value in os.environ.items() if name.upper().startswith(ENV_PREFIX)}
    for name in before:
        del os.environ[name]
    os.environ["PREPAID_CONFIG"] = os.devnull
    try:
        yield
    finally:
        del os.environ["PREPAID_CONFIG"]
        os.environ.update(before)
