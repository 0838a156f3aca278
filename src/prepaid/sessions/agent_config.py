"""How a chat answers: model, system prompt, tools. Part of it is kept, part lives in the process."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from prepaid.errors import InvalidRequestError, ModelNotSupported
from prepaid.models.contract import Model
from prepaid.sessions.values import check_name, check_text

__all__ = ["AgentConfig"]

_KEPT: Final = (
    "current_provider",
    "current_model",
    "system_prompt",
    "fallback_models",
    "temperature",
    "max_output_tokens",
    "debug",
)


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """A chat's agent (spec C3, C16).

    Without ``current_model`` the configured default answers. ``providers`` are models of your own by
    name, of which ``current_provider`` answers. ``tools`` are Python functions, ``mcp_servers``
    pydantic-ai toolsets, ``output_type`` a type that the answer must have. ``debug`` logs every turn's
    model, tokens and cost; never its text.

    Providers, tools, MCP servers and the output type are objects of this process: after a restart, give
    them again with ``chat.attach()``.
    """

    current_model: str | None = None
    current_provider: str | None = None
    system_prompt: str = ""
    fallback_models: tuple[str, ...] | None = None
    temperature: float | None = None
    max_output_tokens: int | None = None
    debug: bool = False
    providers: Mapping[str, Model] = field(default_factory=dict)
    tools: Sequence[Callable[..., Any]] = ()
    mcp_servers: Sequence[Any] = ()
    output_type: Any = None

    def __post_init__(self) -> None:
        if (
            self.current_provider is not None
            and self.providers
            and self.current_provider not in self.providers
        ):
            raise ModelNotSupported(self.current_provider, tuple(self.providers))
        if self.system_prompt:
            check_text(self.system_prompt, "system_prompt")
        if self.current_model is not None:
            check_name(self.current_model, "current_model")
        if self.max_output_tokens is not None and self.max_output_tokens < 1:
            raise InvalidRequestError(
                f"max_output_tokens of {self.max_output_tokens} is below 1.", remedy="Ask for 1 or more."
            )

    @property
    def needs_agent(self) -> bool:
        """Whether a turn may take several model calls, and so runs as a pydantic-ai agent."""
        return bool(self.tools or self.mcp_servers or self.output_type is not None)

    def to_json(self) -> str:
        """What is kept of it, and whether there was more."""
        kept: dict[str, Any] = {name: getattr(self, name) for name in _KEPT}
        kept = {name: value for name, value in kept.items() if value is not None and value != ""}
        if not self.debug:
            del kept["debug"]
        if self.needs_agent or self.providers:
            kept["attached"] = True
        return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))

    def with_kept(self, text: str) -> AgentConfig:
        """These live parts with the settings that were kept.

        Raises:
            InvalidRequestError: the chat had live parts, and they were not given in this process.
        """
        kept = json.loads(text)
        if kept.pop("attached", False) and not (self.needs_agent or self.providers):
            raise InvalidRequestError(
                "This chat has tools or providers that live in a process, and this is another one.",
                remedy="Give them again with chat.attach(tools=…) or what else it had.",
            )
        if "fallback_models" in kept:
            kept["fallback_models"] = tuple(kept["fallback_models"])
        defaults = {each.name: each.default for each in fields(self) if each.name in _KEPT}
        return replace(self, **(defaults | kept))
