"""The demo's first scenes: a funded session, two chats, a tool, and a question that is too expensive."""

from __future__ import annotations

from typing import Final

from prepaid.cli.demo.stage import Stage, dollars
from prepaid.errors import InsufficientFunds
from prepaid.sessions.agent_config import AgentConfig

__all__ = ["ask_too_much", "fund_a_session", "switch_chats", "two_chats", "use_a_tool"]

_LONG_TEXT_WORDS: Final = 12_000


async def fund_a_session(stage: Stage) -> None:
    """Money first."""
    stage.story.chapter("Ann funds a session")
    stage.story.code('manager.create_session("ann", fund="10 USD")')
    session = await stage.manager.create_session("ann", "10 USD", session_name="Ann's work")
    stage.sessions.append(session)
    stage.story.good(
        f"{session.session_id} is open with {dollars(session.available)}: all it can ever spend."
    )
    stage.story.say("A token costs 0.001 USD in and 0.002 USD out here, so that you can see the money move.")


async def two_chats(stage: Stage) -> None:
    """One balance, two characters."""
    stage.story.chapter("Two chats on one balance, each with a system prompt of its own")
    for name, prompt in (("Pirate", "You are a pirate."), ("Reviewer", "You review code.")):
        stage.story.code(f'session.create_new_chat(chat_name="{name}", system_prompt="{prompt}")')
        await stage.ann.create_new_chat(chat_name=name, system_prompt=prompt)
    pirate, reviewer = await stage.ann.get_chats()
    await stage.talk(pirate, "Ann", "Where is the treasure?")
    await stage.talk(reviewer, "Ann", "Is this loop correct?")


async def switch_chats(stage: Stage) -> None:
    """Histories never mix."""
    stage.story.chapter("She switches between them: histories never mix")
    for chat in await stage.ann.get_chats():
        stage.story.code(f'session.switch_to_chat("{chat.chat_id}")')
        await stage.talk(await stage.ann.switch_to_chat(chat.chat_id), "Ann", "What did I say?")


async def use_a_tool(stage: Stage) -> None:
    """Every model call in a tool loop is paid for."""

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    stage.story.chapter("A chat with a tool: each model call of the loop is paid")
    stage.story.code('session.create_new_chat(chat_name="Abacus", agent_config=AgentConfig(tools=[add]))')
    with stage.story.waiting("loading pydantic-ai"):
        import prepaid.agents  # a second's work that only chats with tools need

    assert prepaid.agents
    chat = await stage.ann.create_new_chat(chat_name="Abacus", agent_config=AgentConfig(tools=[add]))
    await stage.talk(chat, "Ann", "use add with 2 and 3")


async def ask_too_much(stage: Stage) -> None:
    """What cannot be paid is not asked."""
    stage.story.chapter("A question she cannot pay is refused before any model hears it")
    chat = (await stage.ann.get_chats())[0]
    before = stage.ann.account
    stage.story.question("Ann", f"Summarise this … ({_LONG_TEXT_WORDS:,} words)")
    try:
        await chat.send_message("word " * _LONG_TEXT_WORDS)
    except InsufficientFunds as error:
        needed, available = dollars(error.needed), dollars(error.available)
        stage.story.refused(f"InsufficientFunds: {needed} needed at least, {available} available.")
    charged = before.available - stage.ann.available
    stage.story.good(f"It cost {dollars(charged)}; the session goes on.")
