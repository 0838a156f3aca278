"""The worker that the demo kills while it speaks.

Started as ``python -m prepaid.cli.demo.worker DATABASE SESSION_ID USER CHAT_NO``.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from typing import Final

from prepaid.cli.demo.stage import PRICE
from prepaid.config import SessionSettings, Settings
from prepaid.models.offline import OfflineModel
from prepaid.records import TextDelta
from prepaid.sessions.manager import SessionManager

__all__ = ["HOLD_SECONDS"]

HOLD_SECONDS: Final = 1
"""How long after its last sign of life the worker's hold is settled by others."""

_TOKEN_SECONDS: Final = 0.025
_QUESTION: Final = "count to 500"


async def speak(database: str, session_id: str, user_id: str, chat_no: int) -> None:
    """Answer slowly, and pass every piece on at once."""
    settings = Settings(
        database=database, hold_seconds=HOLD_SECONDS, sessions=SessionSettings(auto_cleanup=False)
    )
    model = OfflineModel(price=PRICE, delay_seconds=_TOKEN_SECONDS)
    async with SessionManager(settings=settings, models=[model]) as manager:
        chat = manager.get_session(session_id, user_id).get_chat(chat_no)
        async with aclosing(chat.stream_message(_QUESTION)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    sys.stdout.write(event.text)
                    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(speak(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
