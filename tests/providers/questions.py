"""A question, a model to ask it, and what was answered."""

from __future__ import annotations

from prepaid.records import ALL_CHAT_APIS, ChatRequest, Message, ModelInfo, Price, Role, TextDelta, Unit

INFO = ModelInfo(
    "fast", Price.flat("USD", Unit.TOKEN, 1, 2), 1000, 1000, ALL_CHAT_APIS, "fake", allow_fields=("fake",)
)
HELLO = ChatRequest("fast", (Message(Role.SYSTEM, "Be kind."), Message(Role.USER, "Hello there")))


def text_of(events) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))
