"""What a request needs of its model, and which wishes would change the price behind our back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Final

from prepaid.errors import ApiNotSupported, InvalidRequestError
from prepaid.records import Api, ChatRequest, ModelInfo

__all__ = ["check_api", "check_apis", "check_extra", "unpriced_wishes"]

_PRICED_TIERS: Final = frozenset({None, "auto", "default", "flex"})
_UNPRICED_WISHES: Final = ("web_search_options", "audio", "prediction", "best_of", "plugins")
"""Providers bill these on top of tokens, or several times, and a hold would not cover it."""

_TOOLS_OF_THE_CALLER: Final = ("function", "custom")

_SET_BY_US: Final = (
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "model",
    "messages",
    "input",
    "tools",
    "functions",
    "stream",
    "prompt",
    "previous_response_id",
    "conversation",
)
"""What the meter or a library says in a request; said again behind their backs it would change the price."""


def check_extra(extra: object) -> None:
    """Refuse extra fields of another library's request that say again what was quoted.

    Raises:
        InvalidRequestError: naming the first.
    """
    if not isinstance(extra, Mapping):
        raise InvalidRequestError(
            f"Extra fields are a {type(extra).__name__}, not a dict.", remedy="Pass a dict of fields."
        )
    for name in _SET_BY_US:
        if name in extra:
            raise InvalidRequestError(
                f"The extra fields of the request set {name!r}, which the meter has to set.",
                remedy="Leave it out; max_tokens of the model settings is the limit.",
            )


def check_apis(info: ModelInfo, request: ChatRequest) -> None:
    """Refuse a request that the model cannot answer, or that its price would not pay for.

    Raises:
        ApiNotSupported: naming the first thing that is missing (spec A11).
    """
    for api in _needed(request):
        check_api(info, api)
    wishes = unpriced_wishes(request.extra)
    if request.extra.get("n") not in (None, 1):
        wishes = itertools.chain(("n",), wishes)
    for wish in wishes:
        raise ApiNotSupported(info.name, wish, tuple(sorted(info.apis)))


def check_api(info: ModelInfo, api: Api) -> None:
    """Refuse a model that lacks ``api``.

    Raises:
        ApiNotSupported: naming what it has.
    """
    if api not in info.apis:
        raise ApiNotSupported(info.name, api, tuple(sorted(info.apis)))


def _needed(request: ChatRequest) -> Iterator[Api]:
    yield "chat"
    if request.tools or request.extra.get("tools") or request.extra.get("functions"):
        yield "tools"
    form = request.extra.get("response_format")
    if isinstance(form, Mapping) and form.get("type", "text") != "text":
        yield "structured_output"


def unpriced_wishes(extra: Mapping[str, Any]) -> Iterator[str]:
    """What in a request the provider bills beyond tokens, or at another rate."""
    tier = extra.get("service_tier")
    if not isinstance(tier, str | None) or tier not in _PRICED_TIERS:
        yield "service_tier"
    yield from (wish for wish in _UNPRICED_WISHES if extra.get(wish))
    modalities = extra.get("modalities")
    if modalities not in (None, [], ["text"]):
        yield "modalities"
    tools = extra.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, Mapping) or tool.get("type", "function") not in _TOOLS_OF_THE_CALLER:
            yield "tools that the provider runs"
