"""What is kept of an agent's answer under a caller's key, and how its output is made of that again."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter
from pydantic_ai.output import NativeOutput, PromptedOutput, TextOutput, ToolOutput

from prepaid.turns import Answer

__all__ = ["output_of", "plain_answer"]


def plain_answer(answer: Answer) -> Answer:
    """What of an agent's answer is kept for its key."""
    return Answer(**{each.name: getattr(answer, each.name) for each in fields(Answer)})


def output_of(text: str, output_type: Any) -> Any:
    """The structured output again, whose JSON is ``text``; plain JSON where not a single type made it."""
    wanted: Any
    match output_type:
        case ToolOutput():
            wanted = output_type.output
        case NativeOutput() | PromptedOutput():
            wanted = output_type.outputs
        case _:
            wanted = output_type
    if wanted is str:
        return text
    if not isinstance(wanted, Sequence | TextOutput) and not inspect.isroutine(wanted):
        return TypeAdapter(wanted).validate_json(text)
    try:
        return json.loads(text)
    except ValueError:  # one of the types was str
        return text
