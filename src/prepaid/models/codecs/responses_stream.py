"""Follows the events of a streamed response, as tolerantly as the most tolerant client (spec P6)."""

from __future__ import annotations

from typing import Any, Final

from prepaid.models.codecs.output import strings_in

__all__ = ["ResponsesStream", "item_output"]

MODELS_MAX: Final = 8

_ENDS: Final = ("response.completed", "response.incomplete", "response.failed", "response.done")
_SAID: Final = ("response.output_text.delta", "response.refusal.delta")
_WRITTEN: Final = ("delta", "text", "refusal", "arguments", "input", "code", "part", "item")
"""Where an event of type ``….done`` repeats its deltas, and may add to them."""


class ResponsesStream:
    """Puts one streamed response together: returns all output once, whichever events have it."""

    def __init__(self) -> None:
        self.usage: Any = None
        """As the provider last reported it; ``None`` if it has not."""
        self.models: list[str] = []
        """The models that the provider says have answered."""
        self.least_characters = 0
        """Of output in events that are known to hold nothing else."""
        self.is_ended = False
        """Whether the provider has said how the response ends."""
        self.hides_output = False
        """Whether there is output that cannot be read."""
        self.response: dict[str, Any] = {}
        """The response object of the last event that had one."""
        self.number = 0
        """Of the last event."""
        self.said: list[str] = []
        """Text and refusals, as they came."""
        self._counted: dict[tuple[Any, ...], int] = {}
        self._counted_by_item: dict[Any, int] = {}
        self._items: dict[Any, Any] = {}

    def see(self, event: dict[str, Any]) -> str:
        """The output in an event that no earlier one had."""
        kind = event.get("type")
        kind = kind if type(kind) is str else ""
        number = event.get("sequence_number")
        self.number = number if type(number) is int else self.number + 1
        if type(event.get("response")) is dict:
            return self._see_response(kind, event["response"])
        delta = event.get("delta")
        if type(delta) is str:
            if kind in _SAID:
                self.said.append(delta)
            return self._count(self._place(event, kind.removesuffix(".delta")), event, delta)
        if kind.endswith(".added"):
            return self._see_added(event)
        if kind.endswith(".done"):
            return self._see_done(kind, event)
        return ""

    def _see_response(self, kind: str, response: dict[str, Any]) -> str:
        self.response = response
        if response.get("usage") is not None:
            self.usage = response["usage"]
        model = response.get("model")
        if type(model) is str and model and model not in self.models and len(self.models) < MODELS_MAX:
            self.models.append(model)
        if kind not in _ENDS:
            return ""
        self.is_ended = True
        output = response.get("output")
        text = "".join(item_output(item) for item in (output if type(output) is list else ()))
        return text[sum(self._counted_by_item.values()) :]

    def _see_added(self, event: dict[str, Any]) -> str:
        item = event.get("item")
        if type(item) is dict and item.get("type") == "reasoning":
            self.hides_output = True
        return self._more(event, item_output(item), 0)

    def _see_done(self, kind: str, event: dict[str, Any]) -> str:
        if kind == "response.output_item.done":
            text = item_output(event.get("item"))
            before = self._counted_by_item.get(self._item_of(event), 0)
            return self._more(event, text, before)
        written = next((event[name] for name in _WRITTEN if event.get(name)), "")
        text = "".join(strings_in(written))
        place = self._place(event, kind.removesuffix(".done"))
        before = self._counted.get(place, 0)
        more = self._more(event, text, before)
        self._counted[place] = before + len(more)
        if more and kind in ("response.output_text.done", "response.refusal.done"):
            self.said.append(more)
        return more

    def _more(self, event: dict[str, Any], text: str, before: int) -> str:
        """The part of ``text`` beyond the characters that came before."""
        more = text[before:]
        item = self._item_of(event)
        self._counted_by_item[item] = self._counted_by_item.get(item, 0) + len(more)
        return more

    def _count(self, place: tuple[Any, ...], event: dict[str, Any], delta: str) -> str:
        self.least_characters += len(delta)
        self._counted[place] = self._counted.get(place, 0) + len(delta)
        item = self._item_of(event)
        self._counted_by_item[item] = self._counted_by_item.get(item, 0) + len(delta)
        return delta

    def _item_of(self, event: dict[str, Any]) -> Any:
        """One key for an item, whichever of its two names an event tells: its index, or its id."""
        index, item_id = event.get("output_index"), event.get("item_id")
        if type(item_id) is not str and type(event.get("item")) is dict:
            item_id = event["item"].get("id")
        names = [name for name, kind in ((index, int), (item_id, str)) if type(name) is kind]
        key = next((self._items[name] for name in names if name in self._items), names[0] if names else None)
        for name in names:
            self._items[name] = key
        return key

    def _place(self, event: dict[str, Any], kind: str) -> tuple[Any, ...]:
        """Where the text of an event stands: those of one place repeat and continue each other."""
        item = self._item_of(event)
        for name in ("content_index", "summary_index"):
            if type(event.get(name)) is int:
                return item, name, event[name]
        return item, kind, 0


def item_output(item: Any) -> str:
    """All output in an item of a response."""
    return "".join(strings_in(item))
