"""The cells of the matrix: every combination that can exist, and why the others cannot.

A cell is an API, plain or streamed, an ending, a form of usage, a kind of output, whether the provider goes on after
a hang-up, and who answered. ``collapsed`` says of a combination why it is no cell of its own; what it gives no reason
for is run.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import cache


class Api(StrEnum):
    CHAT = "chat"
    RESPONSES = "responses"
    EMBEDDINGS = "embeddings"


class Mode(StrEnum):
    PLAIN = "plain"
    STREAM = "stream"


class Ending(StrEnum):
    WHOLE = "whole"
    REFUSED_429_ONCE = "refused_429_once"
    REFUSED_503_ONCE = "refused_503_once"
    LEFT_BEFORE = "left_before"
    """Before the first byte of the answer."""
    LEFT_ROLE = "left_role"
    """After what opens a stream, before any output."""
    LEFT_ENDLESS = "left_endless"
    """The same, and the provider thinks without end."""
    LEFT_MIDDLE = "left_middle"
    LEFT_LAST_WORD = "left_last_word"
    """After the last word, before it was said that it is the last."""
    LEFT_ENDED = "left_ended"
    """The answer is over, only its usage is missing."""
    LEFT_USAGE = "left_usage"
    """After the usage, before the end of the stream."""
    ERROR_BEFORE = "error_before"
    """The provider's own error instead of an answer, with status 200."""
    ERROR_IN = "error_in"
    ERROR_IN_ONE_READ = "error_in_one_read"
    """The last words and the error come in one piece."""
    STATUS_400 = "status_400"
    STATUS_401 = "status_401"
    STATUS_429 = "status_429"
    STATUS_500 = "status_500"
    STATUS_502 = "status_502"
    STATUS_503 = "status_503"
    STATUS_504 = "status_504"
    STATUS_529 = "status_529"
    NO_CONNECTION = "no_connection"
    TIMEOUT_HEAD = "timeout_head"
    TIMEOUT_BODY = "timeout_body"
    """It falls silent in the middle of the answer."""
    CUT_HEAD = "cut_head"
    CUT_BODY = "cut_body"
    CUT_ENDED = "cut_ended"
    """The answer is over, its usage never comes."""
    FALLBACK_AFTER_500 = "fallback_after_500"
    FALLBACK_AFTER_TIMEOUT = "fallback_after_timeout"
    FALLBACK_AFTER_CUT = "fallback_after_cut"
    KILLED_EARLY = "killed_early"
    KILLED = "killed"
    STOPPED_EARLY = "stopped_early"
    STOPPED = "stopped"
    DISK_FULL = "disk_full"


class Told(StrEnum):
    """In which form the provider tells its usage."""

    PROPER = "proper"
    ABSENT = "absent"
    EMPTY = "empty"
    NULL = "null"
    NULLS = "nulls"
    ZEROS = "zeros"
    ZERO_OUTPUT = "zero_output"
    STRINGS = "strings"
    FLOATS = "floats"
    NEGATIVE = "negative"
    HUGE = "huge"
    TOTAL_ONLY = "total_only"
    NO_COMPLETION = "no_completion"
    CACHED_BEYOND = "cached_beyond"
    EVERY_CHUNK = "every_chunk"
    WITH_DONE = "with_done"
    """In one piece with the end of the stream."""


class Output(StrEnum):
    TEXT = "text"
    HIDDEN = "hidden"
    """Reasoning that is billed and never shown, then text."""
    REASONING_CONTENT = "reasoning_content"
    REASONING = "reasoning"
    REASONING_DETAILS = "reasoning_details"
    REASONING_TWICE = "reasoning_twice"
    """The same reasoning in two fields of one delta."""
    THINKING_BLOCKS = "thinking_blocks"
    LISTED = "listed"
    """Text as a list of parts."""
    DONE_ONLY = "done_only"
    """Text that comes whole, in the event that says that it is done."""
    TOOL_CALL = "tool_call"
    PARALLEL_TOOL_CALLS = "parallel_tool_calls"
    FUNCTION_CALL = "function_call"
    CUSTOM_TOOL = "custom_tool"
    REFUSAL = "refusal"
    IMAGE = "image"
    """Text, about an image in the prompt."""
    LONG_WORDS = "long_words"
    """Text whose tokens have sixteen bytes each: an estimate is twice the truth, or more."""
    SHORT_WORDS = "short_words"
    """Text whose tokens have two bytes each: an estimate is half the truth."""


class After(StrEnum):
    """What a provider does when it was hung up on."""

    STOPS = "stops"
    PROMISED = "promised"
    """It stops, and its operator has said so (``stops_when_left``)."""
    GOES_ON = "goes_on"


class Answerer(StrEnum):
    ASKED = "asked"
    SNAPSHOT = "snapshot"
    """A dated name of the same model: the same price."""
    DEARER = "dearer"
    """Another one of the catalogue, ten times dearer."""


@dataclass(frozen=True, slots=True)
class Cell:
    api: Api
    mode: Mode
    ending: Ending
    told: Told = Told.PROPER
    output: Output = Output.TEXT
    after: After = After.STOPS
    answerer: Answerer = Answerer.ASKED

    def __str__(self) -> str:
        return "-".join(self.values)

    @property
    def values(self) -> tuple[str, ...]:
        """One of each dimension, in their order."""
        return (self.api, self.mode, self.ending, self.told, self.output, self.after, self.answerer)

    @property
    def is_seen_ending(self) -> bool:
        """Whether the client leaves where output was seen and more may come: the provider is left with it.

        Nothing says of a response's item that it is the last one, so its end is no end of the answer.
        """
        is_item_done = self.api is Api.RESPONSES and self.ending is Ending.LEFT_ENDED
        return is_item_done or self.ending in {Ending.LEFT_MIDDLE, Ending.LEFT_LAST_WORD}

    @property
    def may_hide(self) -> bool:
        """Whether there is, or seems to be, output that nobody sees: reasoning that is shown may be a part of it."""
        is_reasoned = self.api is Api.RESPONSES and self.output in {
            Output.REASONING,
            Output.REASONING_CONTENT,
        }
        return is_reasoned or self.output is Output.HIDDEN

    @property
    def is_left(self) -> bool:
        """Whether the client hangs up."""
        return self.ending in LEFT

    @property
    def is_whole(self) -> bool:
        """Whether the client is given an answer to its end."""
        return self.ending in WHOLE


def named(name: str) -> Cell:
    """The cell of this name, as ``str`` gives it."""
    parts = name.split("-")
    if len(parts) != len(DIMENSIONS):
        raise ValueError(f"{name} is no cell: it has {len(parts)} parts, of {len(DIMENSIONS)}")
    cell = Cell(*(kind(part) for kind, part in zip(DIMENSIONS, parts, strict=True)))
    if reason := collapsed(cell):
        raise ValueError(f"{name} is no cell: {reason}")
    return cell


DIMENSIONS = (Api, Mode, Ending, Told, Output, After, Answerer)

LEFT = frozenset(ending for ending in Ending if ending.startswith("left_"))
AGAIN = frozenset({Ending.REFUSED_429_ONCE, Ending.REFUSED_503_ONCE})
BACKED = frozenset(ending for ending in Ending if ending.startswith("fallback_"))
WHOLE = AGAIN | BACKED | {Ending.WHOLE}
STATUSES = {ending: int(ending.rpartition("_")[2]) for ending in Ending if ending.startswith("status_")}
UNBILLED = frozenset(
    ending for ending in STATUSES if ending not in {Ending.STATUS_502, Ending.STATUS_504}
) | {Ending.NO_CONNECTION}
"""The provider cannot have begun, or says that it failed: nothing is billed, and nothing booked."""
KILLS = frozenset({Ending.KILLED, Ending.KILLED_EARLY})
STOPS = frozenset({Ending.STOPPED, Ending.STOPPED_EARLY})
TOGETHER = KILLS | STOPS | {Ending.DISK_FULL}
"""What happens to the gateway itself, and so to all that it does at the moment."""
TIMEOUTS = frozenset({Ending.TIMEOUT_HEAD, Ending.TIMEOUT_BODY})

_STREAM_ONLY = frozenset(
    {
        Ending.LEFT_ROLE,
        Ending.LEFT_ENDLESS,
        Ending.LEFT_MIDDLE,
        Ending.LEFT_LAST_WORD,
        Ending.LEFT_ENDED,
        Ending.LEFT_USAGE,
        Ending.ERROR_IN,
        Ending.ERROR_IN_ONE_READ,
        Ending.CUT_ENDED,
        Ending.KILLED,
        Ending.STOPPED,
    }
)
"""A plain answer has no middle that its client sees."""

_NOTHING_MADE = UNBILLED | {Ending.ERROR_BEFORE, Ending.STATUS_502, Ending.STATUS_504}
_HEADLESS = frozenset(
    {Ending.TIMEOUT_HEAD, Ending.CUT_HEAD, Ending.LEFT_ENDLESS, Ending.KILLED_EARLY, Ending.STOPPED_EARLY}
)
_USAGE_COMES = WHOLE | {
    Ending.LEFT_BEFORE,
    Ending.LEFT_ROLE,
    Ending.LEFT_ENDED,
    Ending.LEFT_USAGE,
    Ending.DISK_FULL,
}
"""Endings at which the provider tells its usage, to whoever is still there."""
_USAGE_SO_FAR = frozenset(
    {
        Ending.LEFT_MIDDLE,
        Ending.LEFT_LAST_WORD,
        Ending.ERROR_IN,
        Ending.ERROR_IN_ONE_READ,
        Ending.TIMEOUT_BODY,
        Ending.CUT_BODY,
        Ending.CUT_ENDED,
        Ending.KILLED,
        Ending.STOPPED,
    }
)
"""Endings before the usage, unless it is told in every chunk."""

UNTOLD = frozenset(
    {
        Told.ABSENT,
        Told.EMPTY,
        Told.NULL,
        Told.NULLS,
        Told.ZEROS,
        Told.ZERO_OUTPUT,
        Told.NEGATIVE,
        Told.HUGE,
    }
)
"""Forms that tell nothing which can be true of an answer with output."""

_OUTPUTS = {
    Api.CHAT: frozenset(Output) - {Output.DONE_ONLY},
    Api.RESPONSES: frozenset(Output)
    - {
        Output.REASONING_DETAILS,
        Output.REASONING_TWICE,
        Output.THINKING_BLOCKS,
        Output.LISTED,
        Output.FUNCTION_CALL,
    },
    Api.EMBEDDINGS: frozenset({Output.TEXT}),
}
_OTHER_VOCABULARIES = frozenset({Output.LONG_WORDS, Output.SHORT_WORDS})
_SHOWN_AT_THE_END = frozenset({Output.DONE_ONLY})


def collapsed(cell: Cell) -> str:
    """Why this combination is no cell of its own; empty where it is one."""
    return _no_such_answer(cell) or _no_such_usage(cell) or _no_such_output(cell) or _no_such_provider(cell)


def _no_such_answer(cell: Cell) -> str:
    if cell.api is Api.EMBEDDINGS and cell.mode is Mode.STREAM:
        return "embeddings are not streamed"
    if cell.output not in _OUTPUTS[cell.api]:
        return "this API has no such output"
    if cell.mode is Mode.PLAIN and cell.ending in _STREAM_ONLY:
        return "a plain answer is seen whole or not at all"
    if cell.mode is Mode.PLAIN and cell.output is Output.DONE_ONLY:
        return "a plain answer has no events"
    if cell.ending is Ending.LEFT_USAGE and cell.api is Api.RESPONSES:
        return "the usage is in the last event of a response: after it nothing is left to leave"
    return ""


def _no_such_usage(cell: Cell) -> str:
    told, ending = cell.told, cell.ending
    if told is Told.PROPER:
        return ""
    if cell.mode is Mode.PLAIN and told in {Told.EVERY_CHUNK, Told.WITH_DONE}:
        return "a plain answer tells its usage once"
    if cell.api is Api.RESPONSES and told in {Told.EVERY_CHUNK, Told.WITH_DONE}:
        return "a response tells its usage in its last event, which is its end"
    if cell.api is Api.EMBEDDINGS and told in {Told.NO_COMPLETION, Told.ZERO_OUTPUT}:
        return "embeddings have no output to count"
    if cell.is_seen_ending and told is not Told.EVERY_CHUNK:
        return "it ends before the usage is told"
    if ending in _USAGE_COMES:
        if ending in AGAIN | BACKED | {Ending.DISK_FULL} and told is not Told.ABSENT:
            return "how usage is read does not depend on how often was asked, or on what befalls the books"
        if ending is Ending.LEFT_USAGE and told in {Told.ABSENT, Told.WITH_DONE}:
            return "there is no moment between its usage and its end"
        if ending is Ending.LEFT_ENDED and told is Told.WITH_DONE:
            return "the same as proper: it is told after the answer's end"
        return ""
    if ending in _USAGE_SO_FAR:
        return "" if told is Told.EVERY_CHUNK else "it ends before the usage is told"
    return "no usage is ever told"


def _no_such_output(cell: Cell) -> str:
    ending, output = cell.ending, cell.output
    if output is Output.TEXT:
        return ""
    if ending in _NOTHING_MADE:
        return "nothing was made, of whatever kind"
    if ending in _HEADLESS and output is not Output.IMAGE:
        return "nothing was shown, of whatever kind"
    if ending in BACKED and output is not Output.HIDDEN:
        return "the fall-back's answer is text"
    if (
        output is Output.HIDDEN
        and (cell.told in UNTOLD or ending is Ending.CUT_ENDED)
        and ending in WHOLE | LEFT | {Ending.CUT_ENDED}
    ):
        return "whoever reads it to the end cannot know of output that is neither shown nor told"
    if output in _OTHER_VOCABULARIES and (
        cell.told in UNTOLD or cell.is_seen_ending or ending not in WHOLE | _DRAINED | {Ending.LEFT_USAGE}
    ):
        return "our own count is of a vocabulary of four bytes; elsewhere only what was told is exact"
    if output in _SHOWN_AT_THE_END and ending in _NEEDS_A_MIDDLE:
        return "it has no middle"
    return ""


_NEEDS_A_MIDDLE = frozenset(
    {Ending.LEFT_MIDDLE, Ending.ERROR_IN, Ending.ERROR_IN_ONE_READ, Ending.KILLED, Ending.STOPPED}
)

_DRAINED = frozenset({Ending.LEFT_BEFORE, Ending.LEFT_ROLE, Ending.LEFT_ENDED})
"""Where the provider is read to its end without the client."""

_HUNG_UP_ON = (LEFT - {Ending.LEFT_ENDLESS}) | {Ending.TIMEOUT_HEAD, Ending.TIMEOUT_BODY} | STOPS


def _no_such_provider(cell: Cell) -> str:
    if cell.after is After.GOES_ON and cell.ending not in _HUNG_UP_ON:
        return "it is not hung up on"
    if cell.after is After.PROMISED and not cell.is_seen_ending:
        return "the promise matters only where output was seen"
    if cell.after is After.PROMISED and cell.output is Output.HIDDEN:
        return "the promise is of what was seen, and nobody can see this"
    if cell.ending in TIMEOUTS and cell.after is After.STOPS:
        return "it was silent, not idle: it has made all before it was hung up on"
    if cell.answerer is Answerer.ASKED:
        return ""
    if cell.api is Api.EMBEDDINGS and cell.answerer is Answerer.SNAPSHOT:
        return "the same as for the other APIs"
    if cell.output is not Output.TEXT or cell.told not in {Told.PROPER, Told.ABSENT, Told.EVERY_CHUNK}:
        return "who answered does not depend on what, or on how usage is told"
    if cell.ending not in {
        Ending.WHOLE,
        *_DRAINED,
        Ending.LEFT_MIDDLE,
        Ending.LEFT_LAST_WORD,
        Ending.LEFT_USAGE,
    }:
        return "who answered is not known, or nobody did"
    return ""


def all_cells() -> tuple[Cell, ...]:
    """Every cell that there is."""
    return _sorted()[0]


def combinations():
    """All, those that cannot exist included."""
    return (Cell(*values) for values in itertools.product(*DIMENSIONS))


def reasons() -> Counter[str]:
    """How many combinations were collapsed, by reason."""
    return _sorted()[1]


@cache
def _sorted() -> tuple[tuple[Cell, ...], Counter[str]]:
    cells: list[Cell] = []
    why: Counter[str] = Counter()
    for cell in combinations():
        if reason := collapsed(cell):
            why[reason] += 1
        else:
            cells.append(cell)
    return tuple(cells), why


def sample(count: int, seed: int) -> list[Cell]:
    """So many cells, among them every pair of values that occurs in any cell."""
    draw = random.Random(seed)
    shuffled = list(all_cells())
    draw.shuffle(shuffled)
    missing = {pair for cell in shuffled for pair in _pairs(cell)}
    chosen: list[Cell] = []
    others: list[Cell] = []
    for cell in shuffled:
        new = missing & _pairs(cell)
        missing -= new
        (chosen if new else others).append(cell)
    return chosen + others[: max(count - len(chosen), 0)]


def _pairs(cell: Cell) -> set[tuple[str, str, str, str]]:
    values = [(kind.__name__, value) for kind, value in zip(DIMENSIONS, cell.values, strict=True)]
    return {(*one, *other) for one, other in itertools.combinations(values, 2)}
