"""The demo's middle: the shared pool, and a pause."""

from __future__ import annotations

from prepaid.cli.demo.stage import Stage, dollars
from prepaid.errors import SessionPaused

__all__ = ["pause_and_resume", "share_in_the_pool"]


async def share_in_the_pool(stage: Stage) -> None:
    """Bob spends Ann's money, within her cap, and it is accounted to him."""
    story, manager = stage.story, stage.manager
    story.chapter("Ann shares her session; Bob leases it, and spends within her cap")
    story.code('session.add_to_pool(cap="0.10 USD")')
    await stage.ann.add_to_pool(cap="0.10 USD")
    story.code('manager.get_from_pool("bob")')
    async with await manager.get_from_pool("bob") as lease:
        chat = await lease.create_new_chat(chat_name="Counter")
        answer = await stage.talk(chat, "Bob", "count to 100")
        story.say(
            f"The cap paid for {answer.output_limit} tokens of answer, so it ends there"
            f" (finish_reason “{answer.finish_reason}”). Bob spent {dollars(lease.spent)}."
        )
    status = manager.get_pool_status()
    story.good(f"Given back: {status.pooled} session in the pool, {status.leased} on lease.")
    await stage.ann.remove_from_pool()


async def pause_and_resume(stage: Stage) -> None:
    """Paused, it spends nothing."""
    story, chat = stage.story, (await stage.ann.get_chats())[0]
    story.chapter("Paused, a session spends nothing")
    story.code("session.pause()")
    await stage.ann.pause()
    try:
        await chat.send_message("Are you there?")
    except SessionPaused as error:
        story.refused(f"{type(error).__name__}: {error.what}")
    story.code("session.resume()")
    await stage.ann.resume()
    await stage.talk(chat, "Ann", "count to 5")
