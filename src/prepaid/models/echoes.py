"""A provider's words for the log, without what they repeat of the request: logs never have prompts.

Providers quote a request in their own ways: escaped, in capitals, on one line, cut off. So only letters and
digits are compared, and a word stays if the request has nothing like it, or if it is a word that errors are
made of. Long runs that stand in the request go, whatever they are made of.
"""

from __future__ import annotations

import html
import json
import re
from typing import Any, Final
from unicodedata import normalize

__all__ = ["ASKED_BYTES_MAX", "parsed", "without_echoes"]

ASKED_BYTES_MAX: Final = 131_072
"""Looking through longer requests would hold everybody up."""

_WORDS_LENGTH_MAX: Final = 300
_RUN_LENGTH: Final = 20
_PIECE_LENGTH: Final = 6
_PIECE_LENGTH_ELSEWHERE: Final = 2
"""Of scripts that have other letters than ASCII's, some of which write no blanks."""
_SHORT: Final = 4
"""A shorter word stands in every text; it is an echo only where it is a word there, too."""
_SHARE_MAX: Final = 0.5
"""Where more of the words than this is repeated, what is left says nothing to anybody."""
_WORD: Final = re.compile(r"[^\W_]+")
_ESCAPE: Final = re.compile(r"\\+(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|[nrtbfv])")

_VOCABULARY: Final = frozenset(
    re.findall(
        r"\S+",
        """
        a about above access account additional after again all allowed also an and any api are argument
        arguments array as assistant at audio authentication authorization available b backend bad balance
        base64 be because been before below billing body boolean but by bytes call calls can cannot
        capacity char characters chat check choice closed code codes column completion connect connection
        contact contain contains content context could count credentials credit credits current data
        deployment detail does engine enough error exceed exceeded exceeds exception exist expected failed
        failure field fields file filter filtered for format found from function functions gateway
        generation get got has have header host id image images in incorrect input insufficient integer
        internal invalid is it its json key keys length less limit limited limits line long machine
        management max maximum may message messages method min minimum missing model models more must name
        names new no node non not number object of ok on one only operation or org organisation
        organization out output overloaded parameter parameters parse path payload permission plan please
        policy process project prompt properties property provided provider quota range rate reach read
        reason refused refuses region reject rejected request requested requests required resource
        response retry role safety schema see server service should size stop stream string subscription
        such supported supports system team temperature than that the their there this time timeout to
        token tokens too tool tools traceback try type unavailable unexpected unknown unsupported upstream
        url use user valid validation value values version was were when which while with workspace wrong
        you your
        """,
    )
)
"""Words of errors, which say nothing about a prompt that has them, too."""


def without_echoes(words: str, asked: bytes) -> str:
    """The beginning of ``words``, without what they repeat of the request's body ``asked``."""
    if not words or not asked:
        return words[:_WORDS_LENGTH_MAX]
    request = parsed(asked)
    if request is None:
        return f"({len(words)} characters about a long request)"
    told = " ".join(_unescaped(words)[:_WORDS_LENGTH_MAX].split())
    found = list(_WORD.finditer(told))
    folded = [_folded(each[0]) for each in found]
    echoes = _echoes(folded, _texts(request))
    if sum(len(folded[at]) for at in echoes) > _SHARE_MAX * sum(map(len, folded)):
        return f"({len(words)} characters, which repeat the request)"
    kept, end = [], 0
    for at, each in enumerate(found):
        kept += [told[end : each.start()], "[…]" if at in echoes else each[0]]
        end = each.end()
    return re.sub(r"\[…\](?:\W*\[…\])+", "[…]", "".join([*kept, told[end:]]))


def parsed(asked: bytes) -> Any:
    """A request's body; ``None`` where it is too long to be looked at, or none."""
    if not asked or len(asked) > ASKED_BYTES_MAX:
        return None
    try:
        return json.loads(asked)
    except (ValueError, RecursionError):
        return asked.decode("utf-8", "replace")


def _echoes(folded: list[str], texts: list[str]) -> set[int]:
    """Which of the words stand in the texts."""
    read = [each for text in texts for each in {_unescaped(text), text}]
    words = [word for text in read for word in _WORD.findall(_folded(text))]
    known, squeezed = frozenset(words), "".join(words)
    found = {
        at for at, word in enumerate(folded) if word not in _VOCABULARY and _is_echo(word, known, squeezed)
    }
    owners = [at for at, word in enumerate(folded) for _ in word]
    told = "".join(folded)
    for at in range(len(told) - _RUN_LENGTH + 1):
        if told[at : at + _RUN_LENGTH] in squeezed:
            found.update(owners[at : at + _RUN_LENGTH])
    return found


def _is_echo(word: str, known: frozenset[str], squeezed: str) -> bool:
    if word.isascii() and len(word) < _SHORT:
        return word in known
    length = min(len(word), _PIECE_LENGTH if word.isascii() else _PIECE_LENGTH_ELSEWHERE)
    return any(word[at : at + length] in squeezed for at in range(len(word) - length + 1))


def _texts(request: Any) -> list[str]:
    """All that a client can have written, but for the name of the model."""
    texts: list[str] = []
    left = [request if type(request) is not dict else {**request, "model": None}]
    while left:
        value = left.pop()
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, list):
            left += value
        elif isinstance(value, dict):
            texts += value
            left += value.values()
    return texts


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_character, html.unescape(text) if "&" in text else text)


def _character(found: re.Match[str]) -> str:
    digits = found[1] or found[2]
    return chr(int(digits, 16)) if digits else " "


def _folded(text: str) -> str:
    return normalize("NFKC", text).casefold()
