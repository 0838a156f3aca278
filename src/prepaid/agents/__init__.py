"""Chats and users' own agents on pydantic-ai, with every model call of theirs paid.

Imported only when an agent is needed: pydantic-ai takes a second to import.
"""

from __future__ import annotations

import os

# pydantic-ai greets its own users on the terminal; ours would find it in the middle of their chat.
os.environ.setdefault("PYDANTIC_AI_NO_BANNER", "1")

from prepaid.agents.bridge import BridgedModel, paid_model
from prepaid.agents.metered import MeteredModel, model_info
from prepaid.agents.turn import AgentAnswer, AgentQuestion, ChatAgent, Opening

__all__ = [
    "AgentAnswer",
    "AgentQuestion",
    "BridgedModel",
    "ChatAgent",
    "MeteredModel",
    "Opening",
    "model_info",
    "paid_model",
]
