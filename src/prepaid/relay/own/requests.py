"""A body of OpenAI's APIs as a ``ChatRequest`` for a model of ours."""

from __future__ import annotations

from typing import Any, Final

from prepaid.errors import InvalidRequestError
from prepaid.models.codecs.output import texts_of
from prepaid.records import ChatRequest, Message, Role, Tool, ToolCall
from prepaid.relay.wire import Body, WireApi

__all__ = ["chat_request"]

_READ: Final = frozenset(
    {"model", "messages", "input", "instructions", "max_tokens", "max_completion_tokens", "max_output_tokens"}
    | {"n", "stream", "stream_options", "temperature", "tools", "text", "store"}
)
"""What stands in a request's own fields; the rest goes on as ``extra``."""
_ROLES: Final = {"developer": Role.SYSTEM, "function": Role.TOOL} | {role.value: role for role in Role}


def chat_request(api: WireApi, body: Body) -> ChatRequest:
    """The request, with as much as our models understand.

    Raises:
        InvalidRequestError: a role or a temperature that cannot be.
    """
    extra = {name: value for name, value in body.items() if name not in _READ}
    if api.path == "/responses":
        messages = _of_items(body)
        form = body.get("text")
        if type(form) is dict and type(form.get("format")) is dict:
            extra["response_format"] = _chat_format(form["format"])
    else:
        messages = tuple(_message(message) for message in body["messages"])
    limits = (body.get(name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"))
    return ChatRequest(
        body["model"],
        messages,
        output_tokens_max=next((limit for limit in limits if limit is not None), None),
        tools=tuple(_tool(tool) for tool in body.get("tools") or ()),
        temperature=_temperature(body.get("temperature")),
        extra=extra,
    )


def _message(message: Body) -> Message:
    calls = message.get("tool_calls")
    return Message(
        _role(message.get("role")),
        "".join(texts_of(message.get("content"))),
        tuple(_call(call.get("id"), call.get("function")) for call in calls if type(call) is dict)
        if type(calls) is list
        else (),
        _text_or_none(message.get("tool_call_id")),
    )


def _of_items(body: Body) -> tuple[Message, ...]:
    messages: list[Message] = []
    if body.get("instructions"):
        messages.append(Message(Role.SYSTEM, "".join(texts_of(body["instructions"]))))
    if type(body["input"]) is str:
        return (*messages, Message(Role.USER, body["input"]))
    for item in body["input"]:
        match item.get("type", "message"):
            case "message":
                messages.append(Message(_role(item.get("role")), "".join(texts_of(item.get("content")))))
            case "function_call":
                call = _call(item.get("call_id"), item)
                messages.append(Message(Role.ASSISTANT, "", (call,)))
            case "function_call_output":
                text = "".join(texts_of(item.get("output")))
                messages.append(Message(Role.TOOL, text, (), _text_or_none(item.get("call_id"))))
    return tuple(messages)


def _role(role: Any) -> Role:
    found = _ROLES.get(role) if type(role) is str else None
    if found is None:
        raise InvalidRequestError(
            f"{str(role)[:40]!r} is no role of a message.", remedy=f"Use one of: {', '.join(_ROLES)}."
        )
    return found


def _call(call_id: Any, function: Any) -> ToolCall:
    parts = function if type(function) is dict else {}
    texts = (call_id, parts.get("name"), parts.get("arguments"))
    return ToolCall(*(text if type(text) is str else "" for text in texts))


def _tool(tool: Any) -> Tool:
    """Chat completions nest a tool's parts, responses do not."""
    parts = tool if type(tool) is dict else {}
    if type(parts.get("function")) is dict:
        parts = parts["function"]
    name, parameters = parts.get("name"), parts.get("parameters")
    if type(name) is not str:
        raise InvalidRequestError("A tool has no name.", remedy="Name every tool.")
    description = parts.get("description")
    return Tool(
        name,
        description if type(description) is str else "",
        parameters if type(parameters) is dict else {},
    )


def _chat_format(form: Body) -> Body:
    if form.get("type") != "json_schema":
        return form
    return {
        "type": "json_schema",
        "json_schema": {name: form.get(name) for name in ("name", "schema", "strict")},
    }


def _temperature(value: Any) -> float | None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise InvalidRequestError(f"temperature is {str(value)[:40]}.", remedy="Send a number.")


def _text_or_none(value: Any) -> str | None:
    return value if type(value) is str else None
