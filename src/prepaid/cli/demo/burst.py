"""The demo's burst: many requests at once against a balance that covers some of them, exactly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from prepaid.cli.demo.stage import Stage, dollars
from prepaid.cli.output import progress
from prepaid.cli.running import workspace_of
from prepaid.errors import InsufficientFunds
from prepaid.meter import Payer
from prepaid.money import USD
from prepaid.records import ChatRequest, Message, Role
from prepaid.sessions.chat import Chat
from prepaid.turns import Answer, Question

__all__ = ["FIRED", "fire_a_burst"]

FIRED: Final = 200
_COVERED: Final = 50
_QUESTION: Final = "count to 10"
_OUTPUT_TOKENS: Final = 10


async def fire_a_burst(stage: Stage) -> None:
    """Exactly as many succeed as the balance covers."""
    outcome = stage.outcome
    stage.story.chapter(f"{FIRED} requests at once, on a balance that covers {_COVERED}")
    price = _quoted(stage)
    session = await stage.manager.create_session("crowd", _COVERED * price, session_name="Burst")
    stage.sessions.append(session)
    outcome.affordable = session.available // price
    stage.story.say(
        f"“{_QUESTION}” costs {dollars(price)}; {dollars(session.available)} pays for {outcome.affordable}."
    )
    stage.story.code(f'asyncio.gather(*(chat.send_message("{_QUESTION}") for chat in chats))')
    chats = await asyncio.gather(*(session.create_new_chat() for _ in range(FIRED)))
    with progress("requests", FIRED, is_shown=not stage.story.is_silent) as advance:
        results = await asyncio.gather(*(_ask(chat, advance) for chat in chats))
    outcome.fired = len(results)
    outcome.succeeded = sum(isinstance(result, Answer) for result in results)
    refused = sum(isinstance(result, InsufficientFunds) for result in results)
    stage.story.good(
        f"{outcome.fired} fired, {outcome.succeeded} answered, {refused} refused;"
        f" {dollars(session.account.spent)} spent, {dollars(session.available)} left."
    )


async def _ask(chat: Chat, advance: Callable[[int], None]) -> Answer | InsufficientFunds:
    try:
        return await chat.send_message(_QUESTION, max_output_tokens=_OUTPUT_TOKENS)
    except InsufficientFunds as error:
        return error
    finally:
        advance(1)


def _quoted(stage: Stage) -> int:
    """What one such request costs at most: with this question and limit, exactly."""
    workspace = workspace_of(stage.manager)
    model = workspace.catalogue.resolve(stage.manager.settings.default_model)
    request = ChatRequest(model.info.name, (Message(Role.USER, _QUESTION),), _OUTPUT_TOKENS)
    question = Question(Payer("", "", USD.code), request, (model,))
    return workspace.turns.quote(question, model).amount
