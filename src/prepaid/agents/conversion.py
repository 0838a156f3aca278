"""Between our messages and pydantic-ai's: requests going out, histories going in, turns to be kept.

Only text and tool calls cross. What a model thought is not kept, and what cannot be told in bytes of
text (images, files, tools that the provider runs) is refused, because its price could not be held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from pydantic_ai.messages import (
    CachePoint,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    SystemPromptPart,
    TextContent,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings

from prepaid.errors import ApiNotSupported
from prepaid.records import Api, ChatRequest, Message, Role, Tool, ToolCall

__all__ = ["answered_only", "kept_messages", "last_uses", "to_messages", "to_model_messages", "to_request"]

_EXTRA: Final = {
    "top_p": "top_p",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "logit_bias": "logit_bias",
    "stop_sequences": "stop",
    "service_tier": "service_tier",
}
"""Settings that chat completions know, and their names there."""

_TEXT_APIS: Final[tuple[Api, ...]] = ("chat", "structured_output", "tools")


# --- out: what pydantic-ai asks, as our request ----------------------------------------------------


def to_request(
    model: str,
    messages: Iterable[Message],
    settings: ModelSettings | None,
    parameters: ModelRequestParameters,
) -> ChatRequest:
    """The request with settings and tools; ``parameters`` are those that ``prepare_request`` returns.

    Raises:
        ApiNotSupported: tools that the provider runs.
    """
    if parameters.native_tools:
        raise ApiNotSupported(model, "tools that the provider runs", _TEXT_APIS)
    wanted = settings or {}
    tools = tuple(
        Tool(tool.name, tool.description or "", tool.parameters_json_schema)
        for tool in parameters.declared_tool_defs.values()
    )
    return ChatRequest(
        model=model,
        messages=tuple(messages),
        output_tokens_max=wanted.get("max_tokens"),
        tools=tools,
        temperature=wanted.get("temperature"),
        extra=_extra(wanted, parameters, has_tools=bool(tools)),
    )


def to_messages(model: str, instructions: str | None, messages: Sequence[ModelMessage]) -> Iterator[Message]:
    """Our messages of a prepared history, one for each part that a model reads.

    Raises:
        ApiNotSupported: something that is not text.
    """
    if instructions:
        yield Message(Role.SYSTEM, instructions)
    for message in messages:
        if isinstance(message, ModelRequest):
            for part in message.parts:
                yield _asked(model, part)
        elif (said := _said(message)) is not None:
            yield said


def _asked(model: str, part: ModelRequestPart) -> Message:
    match part:
        case SystemPromptPart():
            return Message(Role.SYSTEM, part.content)
        case UserPromptPart(content=str(text)):
            return Message(Role.USER, text)
        case UserPromptPart(content=content):
            return Message(Role.USER, "\n\n".join(_texts(model, content)))
        case ToolReturnPart() if not part.files:
            return Message(Role.TOOL, part.model_response_str(), tool_call_id=part.tool_call_id)
        case _:
            raise ApiNotSupported(model, _word(part), _TEXT_APIS)


def _texts(model: str, content: str | Sequence[UserContent]) -> Iterator[str]:
    for item in (content,) if isinstance(content, str) else content:
        if isinstance(item, str):
            yield item
        elif isinstance(item, TextContent):
            yield item.content
        elif not isinstance(item, CachePoint):
            raise ApiNotSupported(model, _word(item), _TEXT_APIS)


def _word(item: object) -> str:
    return "files from tools" if isinstance(item, ToolReturnPart) else type(item).__name__


def _said(message: ModelResponse) -> Message | None:
    text = "".join(part.content for part in message.parts if isinstance(part, TextPart))
    calls = tuple(
        ToolCall(part.tool_call_id, part.tool_name, part.args_as_json_str())
        for part in message.parts
        if isinstance(part, ToolCallPart)
    )
    return Message(Role.ASSISTANT, text, calls) if text or calls else None


def _extra(wanted: ModelSettings, parameters: ModelRequestParameters, *, has_tools: bool) -> dict[str, Any]:
    extra: dict[str, Any] = {ours: wanted[name] for name, ours in _EXTRA.items() if name in wanted}  # type: ignore[literal-required]
    if has_tools:
        if (parallel := wanted.get("parallel_tool_calls")) is not None:
            extra["parallel_tool_calls"] = parallel
        choice = wanted.get("tool_choice") if parameters.function_tools else None
        if isinstance(choice, str):
            extra["tool_choice"] = choice
        elif not parameters.allow_text_output:
            extra["tool_choice"] = "required"
    if (wished := parameters.output_object) is not None and parameters.output_mode == "native":
        schema: dict[str, Any] = {"name": wished.name or "answer", "schema": wished.json_schema}
        if wished.description:
            schema["description"] = wished.description
        if wished.strict is not None:
            schema["strict"] = wished.strict
        extra["response_format"] = {"type": "json_schema", "json_schema": schema}
    body = wanted.get("extra_body")
    return extra | (body if isinstance(body, dict) else {})


# --- in: what a chat has kept, as a history --------------------------------------------------------


def to_model_messages(history: Iterable[Message]) -> list[ModelMessage]:
    """A chat's messages as pydantic-ai's; calls without a result and results without a call are left out."""
    names: dict[str, str] = {}
    messages: list[ModelMessage] = []
    for message in answered_only(history):
        match message.role:
            case Role.ASSISTANT:
                names |= {call.id: call.name for call in message.tool_calls}
                calls = [ToolCallPart(call.name, call.arguments, call.id) for call in message.tool_calls]
                text = [TextPart(message.text)] if message.text or not calls else []
                messages.append(ModelResponse([*text, *calls]))
            case Role.TOOL:
                called = message.tool_call_id or ""
                messages.append(ModelRequest([ToolReturnPart(names[called], message.text, called)]))
            case Role.SYSTEM:
                messages.append(ModelRequest([SystemPromptPart(message.text)]))
            case Role.USER:
                messages.append(ModelRequest([UserPromptPart(message.text)]))
    return messages


def answered_only(messages: Iterable[Message]) -> tuple[Message, ...]:
    """The messages, without tool calls that have no result right behind them and results without a call."""
    whole: list[Message] = []
    waiting: list[Message] = []
    for message in (*messages, None):
        if message is not None and message.role is Role.TOOL:
            waiting.append(message)
            continue
        if waiting or (whole and whole[-1].tool_calls):
            _pair(whole, waiting)
            waiting = []
        if message is not None:
            whole.append(message)
    return tuple(whole)


def _pair(whole: list[Message], results: list[Message]) -> None:
    """Put the results behind the calls that they answer; what is left without its other half goes."""
    if not whole or not whole[-1].tool_calls:
        return
    asked = whole.pop()
    by_id = {result.tool_call_id: result for result in results}
    calls = tuple({call.id: call for call in asked.tool_calls if call.id in by_id}.values())
    if asked.text or calls:
        whole.append(Message(asked.role, asked.text, calls))
    whole.extend(by_id[call.id] for call in calls)


# --- kept: what a turn adds to its chat ------------------------------------------------------------


def last_uses(messages: Sequence[ModelMessage]) -> Iterator[Message]:
    """The tools called together with the final answer, where that was given by a tool too."""
    if (
        len(messages) > 1
        and isinstance(messages[-1], ModelRequest)
        and isinstance(messages[-2], ModelResponse)
    ):
        said = _said(messages[-2])
        assert said is not None, "it has calls"
        yield said
        for part in messages[-1].parts:
            if isinstance(part, ToolReturnPart):
                yield Message(Role.TOOL, part.model_response_str(), tool_call_id=part.tool_call_id)


def kept_messages(
    question: str, asked: Sequence[Message], answer: str, answering: frozenset[str]
) -> tuple[Message, ...]:
    """What a turn adds to its chat: the question, each use of a tool, and the answer.

    ``asked`` is what the last model call of the turn was told since the question. Of it, only tool calls
    and their results are kept. Attempts at an answer that were refused (by text, or by the tools
    ``answering``), and what the model was told about them, nobody said.
    """
    uses = []
    for message in asked:
        if message.role is Role.TOOL:
            uses.append(message)
        elif message.role is Role.ASSISTANT:
            calls = tuple(call for call in message.tool_calls if call.name not in answering)
            uses.append(Message(Role.ASSISTANT, message.text if calls else "", calls))
    whole = (message for message in answered_only(uses) if message.role is Role.TOOL or message.tool_calls)
    return (Message(Role.USER, question), *whole, Message(Role.ASSISTANT, answer))
