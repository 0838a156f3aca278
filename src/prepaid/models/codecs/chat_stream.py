"""Follows the chunks of a streamed chat completion, as tolerantly as the most tolerant client (spec P6)."""

from __future__ import annotations

from typing import Any

from prepaid.errors import ProviderResponseInvalid
from prepaid.models.codecs.output import call_parts, output_of, said_texts, shows_hidden_output
from prepaid.records import ToolCall

__all__ = ["ChatStream", "whole_text"]


class ChatStream:
    """Puts one streamed answer together: returns all output, and keeps the first choice."""

    def __init__(self, choices: int = 1) -> None:
        self.usage: Any = None
        """As the provider last reported it; ``None`` if it has not."""
        self.model: str | None = None
        """The model that answered, by the provider's word."""
        self.reason: str | None = None
        """Why the first choice ended."""
        self.hides_output = False
        """Whether there is output that cannot be read."""
        self.error: Any = None
        """The provider's own error, for one choice or for all."""
        self.call_characters = 0
        """In all of the first choice's tool calls."""
        self._open = set(range(choices))
        self._said: list[str] = []
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}

    @property
    def is_ended(self) -> bool:
        """Whether every choice has its reason."""
        return not self._open

    @property
    def open_choices(self) -> list[int]:
        """The choices that have not ended."""
        return sorted(self._open)

    @property
    def text(self) -> str:
        """What the first choice said so far."""
        return whole_text("".join(self._said))

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The first choice's tool calls so far, in their order."""
        parts = ((call.id, call.name, "".join(call.arguments)) for call in self._calls)
        return tuple(ToolCall(*map(whole_text, each)) for each in parts)

    def see(self, chunk: dict[str, Any]) -> str:
        """The output in a chunk, of all its choices.

        Raises:
            ProviderResponseInvalid: its choices are not a list.
        """
        told = chunk.get("usage")
        if told is not None:
            self.usage = told
        if self.model is None and type(chunk.get("model")) is str:
            self.model = chunk["model"]
        self.error = chunk.get("error") or self.error
        choices = chunk.get("choices")
        if not choices:
            return ""
        if type(choices) is not list:
            raise ProviderResponseInvalid("The upstream's choices are not a list.")
        if len(choices) == 1:
            return self._see_choice(choices[0], 0)
        return "".join(self._see_choice(choice, place) for place, choice in enumerate(choices))

    def _see_choice(self, choice: Any, place: int) -> str:
        if type(choice) is not dict:
            return ""
        index = choice.get("index")
        if type(index) is not int:  # some leave it out, or send null
            index = place
        reason = choice.get("finish_reason")
        if reason is not None:
            self._open.discard(index)
            if index == 0:
                self.reason = str(reason)
        self.error = choice.get("error") or self.error
        delta = choice.get("delta")
        if type(delta) is not dict:
            delta = choice.get("message")
            if type(delta) is not dict:
                return ""
        if index == 0:
            self._keep(delta)
        return output_of(delta)

    def _keep(self, delta: dict[str, Any]) -> None:
        for name in ("content", "refusal"):
            value = delta.get(name)
            if value:
                self._said += said_texts(value)
        if delta.get("tool_calls"):
            self._keep_calls(delta["tool_calls"])
        if delta.get("function_call"):
            self._keep_calls([{"index": 0, "function": delta["function_call"]}])
        if len(delta) > 1 and not self.hides_output:
            self.hides_output = shows_hidden_output(delta)

    def _keep_calls(self, parts: Any) -> None:
        for part in parts if type(parts) is list else ():
            if type(part) is dict:
                call_id, name, arguments = call_parts(part)
                call = self._call_of(part.get("index"), call_id, name)
                call.id = call.id or call_id
                call.name = call.name or name
                call.arguments.append(arguments)
                self.call_characters += len(name) + len(arguments)

    def _call_of(self, index: Any, call_id: str, name: str) -> _Call:
        """The call that a part belongs to.

        By its id, else by its index; a part of neither continues the last call unless it names another
        tool. Some providers send no index, or the same one for calls of different ids.
        """
        if call_id in self._by_id:
            return self._by_id[call_id]
        found = self._by_index.get(index) if type(index) is int else None
        if type(index) is not int and not call_id and self._calls and not (name and self._calls[-1].name):
            found = self._calls[-1]
        if found is None or (call_id and found.id and name):
            found = _Call()
            self._calls.append(found)
        if type(index) is int:
            self._by_index[index] = found
        if call_id:
            self._by_id[call_id] = found
        return found


class _Call:
    """A tool call as far as it has come."""

    __slots__ = ("arguments", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


def whole_text(text: str) -> str:
    """Text as Unicode allows it: two halves of a surrogate pair become one letter, a lone half U+FFFD.

    Nothing can store or send half a pair, but a provider may split one over two events.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
