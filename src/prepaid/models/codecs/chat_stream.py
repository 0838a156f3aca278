"""Follows the chunks of a streamed chat completion, as tolerantly as the most tolerant client (spec P6)."""

from __future__ import annotations

from typing import Any, Final

from prepaid.errors import ProviderResponseInvalid
from prepaid.models.codecs.output import call_parts, output_of, shows_hidden_output, texts_of
from prepaid.records import ToolCall

__all__ = ["ChatStream", "whole_text"]

MODELS_MAX: Final = 8
REPEATED_CHARACTERS_MIN: Final = 8
"""A shorter piece may come twice by chance."""

_TEXTS: Final = ("content", "refusal", "reasoning_content", "reasoning")


class ChatStream:
    """Puts one streamed answer together: returns all output, and keeps the first choice."""

    def __init__(self, choices: int = 1) -> None:
        self.usage: Any = None
        """As the provider last reported it; ``None`` if it has not."""
        self.models: list[str] = []
        """The models that the provider says have answered."""
        self.reason: str | None = None
        """Why the first choice ended."""
        self.hides_output = False
        """Whether there is output that cannot be read."""
        self.error: Any = None
        """The provider's own error, of a choice or of all."""
        self.is_answer = False
        """Whether there was any choice."""
        self.least_characters = 0
        """Of output in fields that are known to hold nothing else."""
        self._open = set(range(choices))
        self._said: list[str] = []
        self._so_far: dict[tuple[Any, ...], list[str]] = {}
        self._last: dict[tuple[Any, ...], str] = {}
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
        self._see_usage(chunk.get("usage"))
        model = chunk.get("model")
        if type(model) is str and model and model not in self.models and len(self.models) < MODELS_MAX:
            self.models.append(model)
        self.error = chunk.get("error") or self.error
        choices = chunk.get("choices")
        if "x_groq" in chunk and type(chunk["x_groq"]) is dict:
            self._see_usage(chunk["x_groq"].get("usage"))
        if not choices:
            return ""
        if type(choices) is not list:
            raise ProviderResponseInvalid("The upstream's choices are not a list.")
        if len(choices) == 1:
            return self._see_choice(choices[0], 0)
        return "".join(self._see_choice(choice, place) for place, choice in enumerate(choices))

    def _see_usage(self, told: Any) -> None:
        """Keep the last that says anything: some tell an empty one behind the true one."""
        if told is not None and (self.usage is None or _says_something(told)):
            self.usage = told

    def _see_choice(self, choice: Any, place: int) -> str:
        if type(choice) is not dict:
            return ""
        self.is_answer = True
        index = choice.get("index")
        if type(index) is not int:  # some leave it out, or send null
            index = place
        reason = choice.get("finish_reason")
        if reason:
            self._open.discard(index)
            if index == 0:
                self.reason = str(reason)
        self.error = choice.get("error") or self.error
        if "usage" in choice:
            self._see_usage(choice["usage"])
        delta, is_whole = _delta_of(choice)
        delta = self._new_in(delta, index, is_whole=is_whole)
        if index == 0:
            self._keep(delta)
        if len(delta) > 1 and not self.hides_output:
            self.hides_output = shows_hidden_output(delta)
        return output_of(delta)

    def _new_in(self, delta: dict[str, Any], index: int, *, is_whole: bool) -> dict[str, Any]:
        """``delta`` without what it repeats: some send all of the text so far again and again."""
        for name in _TEXTS:
            piece = delta.get(name)
            if type(piece) is str and piece:
                new = self._grown((index, name), piece, is_whole=is_whole)
                if new is not piece:
                    delta = {**delta, name: new}
        if type(delta.get("tool_calls")) is list:
            calls = [self._new_in_call(call, index, is_whole=is_whole) for call in delta["tool_calls"]]
            delta = {**delta, "tool_calls": calls}
        return delta

    def _new_in_call(self, call: Any, index: int, *, is_whole: bool) -> Any:
        if type(call) is not dict or type(call.get("function")) is not dict:
            return call
        inner: dict[str, Any] = call["function"]
        piece = inner.get("arguments")
        if type(piece) is not str or not piece:
            return call
        key = call.get("index")
        if type(key) is not int:
            key = call.get("id") if type(call.get("id")) is str else None
        new = self._grown((index, "call", key), piece, is_whole=is_whole)
        return call if new is piece else {**call, "function": {**inner, "arguments": new}}

    def _grown(self, key: tuple[Any, ...], piece: str, *, is_whole: bool) -> str:
        """What of a piece goes beyond the one before, or of a whole message beyond all before."""
        last = self._last.get(key, "")
        self._last[key] = piece
        new = piece
        if len(piece) > len(last) >= REPEATED_CHARACTERS_MIN and piece.startswith(last):
            new = piece[len(last) :]
        elif is_whole and key in self._so_far:
            so_far = "".join(self._so_far[key])
            new = piece.removeprefix(so_far)
        self._so_far.setdefault(key, []).append(new)
        self.least_characters += len(new)
        return new

    def _keep(self, delta: dict[str, Any]) -> None:
        for name in ("content", "refusal"):
            value = delta.get(name)
            if value:
                self._said += texts_of(value)
        if delta.get("tool_calls"):
            self._keep_calls(delta["tool_calls"])
        if delta.get("function_call"):
            self._keep_calls([{"index": 0, "function": delta["function_call"]}])

    def _keep_calls(self, parts: Any) -> None:
        for part in parts if type(parts) is list else ():
            if type(part) is dict:
                call_id, name, arguments = call_parts(part)
                call = self._call_of(part.get("index"), call_id, name)
                call.id = call.id or call_id
                call.name = call.name or name
                call.arguments.append(arguments)

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


def _delta_of(choice: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """What a choice adds, and whether it is a whole message that repeats what came before."""
    if type(choice.get("delta")) is dict:
        return choice["delta"], False
    if type(choice.get("message")) is dict:
        return choice["message"], True
    text = choice.get("text")  # as the older completions have it
    return ({"content": text} if type(text) is str else {}), False


def _says_something(told: Any) -> bool:
    if type(told) is not dict:
        return False
    return any(type(each) in (int, float, str) and str(each).strip("0. ") != "" for each in told.values())


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
