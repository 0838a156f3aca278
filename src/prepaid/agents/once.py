"""The caller's key of a whole turn, which takes several holds: a hold of nothing stands for all of them.

It is open while the turn runs and settled right behind the turn's last call, with the answer, so the
same key gets the same answer, and a turn that failed or was cut off may be tried again (spec D3).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter
from pydantic_ai.output import NativeOutput, PromptedOutput, TextOutput, ToolOutput

from prepaid.ledger import fingerprint
from prepaid.meter import Meter, PaidCall, Payer, Replay
from prepaid.records import Price, Quote, Unit
from prepaid.store.operations import PlaceTaken
from prepaid.turns import Answer

__all__ = ["begin_once", "output_of", "plain_answer"]


async def begin_once(meter: Meter, payer: Payer, key: str, *content: object) -> PaidCall | Replay:
    """The hold of nothing, or what the key was answered before.

    Raises:
        RequestInProgress: the key is being worked on.
        IdempotencyConflict: the key was used for something else.
    """
    nothing = Quote("", Price.flat(payer.asset, Unit.TOKEN, 0, 0), 0, 0, 0, 0)
    opened = await meter.open(payer, nothing, key=key, content=fingerprint("agent", *content))
    assert not isinstance(opened, PlaceTaken), "it asks for no place"
    return opened


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
