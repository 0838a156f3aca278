"""Shapes of JSON values: which keys an object may have, and which values a key.

A check is called with a value that is not null, and raises. ``FREE`` stands where any value will do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from prepaid.errors import ApiNotSupported, FieldNotSupported, InvalidRequestError
from prepaid.records import ModelInfo

__all__ = [
    "FREE",
    "Check",
    "Keys",
    "Misshapen",
    "Mistake",
    "Uncovered",
    "UnknownKey",
    "Unpriced",
    "each",
    "flag",
    "number",
    "one_of",
    "record",
    "shown",
    "text",
    "text_or",
    "texts",
    "typed",
    "unpriced",
    "walk",
]

Check = Callable[[Any], None]
Keys = Mapping[str, Check | None]
"""The keys that an object may have, each with the check of its value; ``FREE`` where there is none."""

FREE: Final = None
_SHOWN_MAX: Final = 64
_LEAVE_OUT: Final = "Leave it out."


class Mistake(Exception):
    """Something that may not be sent; its place is put together on the way up."""

    def __init__(self) -> None:
        super().__init__()
        self._place: list[str] = []

    def inside(self, key: str | int) -> None:
        """Note that it is below ``key``."""
        self._place.append(f"[{key}]" if isinstance(key, int) else f".{shown(key)}")

    @property
    def place(self) -> str:
        """Where it is, as OpenAI writes it: ``messages[0].content[1].image_url``."""
        return "".join(reversed(self._place)).removeprefix(".")

    def told(self) -> InvalidRequestError:
        """The error for the client."""
        raise NotImplementedError


class UnknownKey(Mistake):
    """A key that is in no list."""

    def told(self) -> InvalidRequestError:
        """The error, in OpenAI's words."""
        return FieldNotSupported(self.place)


class Misshapen(Mistake):
    """A value that the field cannot have."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__()
        self.what, self.remedy = what, remedy

    def told(self) -> InvalidRequestError:
        """The error, with the place before it."""
        error = InvalidRequestError(f"{self.place} {self.what}.", remedy=self.remedy)
        error.param = self.place
        return error


@dataclass(frozen=True, slots=True)
class Uncovered:
    """Something in a request that no price covers: its name, its place, and what to do about it."""

    what: str
    param: str
    remedy: str = _LEAVE_OUT

    def refused(self, info: ModelInfo) -> ApiNotSupported:
        """The error for a request to this model."""
        apis = tuple(sorted(info.apis))
        error = ApiNotSupported(info.name, self.what, apis, param=self.param)
        named = f"{self.what[:1].upper()}{self.what[1:]}" if " of type " in self.what else self.what
        return error.reworded(f"{named} is not supported: no price covers it.", self.remedy)


class Unpriced(Mistake):
    """Something that the provider bills beyond the price, or that cannot be counted here."""

    def __init__(self, what: str = "", *, value: Any = None, remedy: str = _LEAVE_OUT) -> None:
        super().__init__()
        self._what, self._value, self._remedy = what, value, remedy

    def uncovered(self) -> Uncovered:
        """What to remember of it: its name (the field itself by default), place and remedy."""
        value = "" if self._value is None else f" {shown(str(self._value))!r}"
        return Uncovered(self._what or f"{self.place}{value}", self.place, self._remedy)

    def told(self) -> InvalidRequestError:
        """The error where the model is not known; ``Uncovered.refused`` says more."""
        found = self.uncovered()
        error = InvalidRequestError(
            f"{found.what} is not supported: no price covers it.", remedy=found.remedy
        )
        error.param = found.param
        return error


def shown(name: str) -> str:
    """A name that a client made up, short enough for an error."""
    return name if len(name) <= _SHOWN_MAX else f"{name[:_SHOWN_MAX]}…"


def _as_found(value: Any) -> str:
    """``: <value>`` of a number or flag; other values may be long or private."""
    return f": {json.dumps(value)}" if type(value) in (int, float, bool) else ""


def walk(value: Mapping[str, Any], keys: Keys) -> None:
    """Check an object against the keys that it may have; a key that is null is as good as absent.

    Raises:
        Mistake: the first.
    """
    for key, inner in value.items():
        check = keys.get(key, _unknown)
        if check is None or (inner is None and check is not _unknown):
            continue
        try:
            check(inner)
        except Mistake as mistake:
            mistake.inside(key)
            raise


def _unknown(value: Any) -> None:  # noqa: ARG001 -- no value will do
    raise UnknownKey


def record(keys: Keys) -> Check:
    """An object with these keys and no other."""

    def check(value: Any) -> None:
        if type(value) is not dict:
            raise Misshapen(f"is not an object{_as_found(value)}", "Send it as OpenAI's API has it.")
        walk(value, keys)

    return check


def each(inner: Check) -> Check:
    """A list of values that ``inner`` accepts."""

    def check(value: Any) -> None:
        if type(value) is not list:
            raise Misshapen(f"is not a list{_as_found(value)}", "Send it as OpenAI's API has it.")
        for index, one in enumerate(value):
            try:
                inner(one)
            except Mistake as mistake:
                mistake.inside(index)
                raise

    return check


def typed(kinds: Mapping[str, Keys], what: str) -> Check:
    """An object whose ``type`` says what keys it may have.

    A kind that is not listed is ``Unpriced``: ``what`` and its name.
    """
    known = ", ".join(kinds)

    def check(value: Any) -> None:
        if type(value) is not dict:
            raise Misshapen(f"is not an object{_as_found(value)}", "Send it as OpenAI's API has it.")
        kind = value.get("type")
        keys = kinds.get(kind) if type(kind) is str else None
        if keys is not None:
            walk(value, keys)
        elif kind is None:
            found = ", ".join(shown(key) for key in list(value)[:4]) or "nothing"
            raise Misshapen(f"has no `type` (it has: {found})", f"Send its type, one of: {known}.")
        else:
            raise Unpriced(f"{what} of type {shown(str(kind))!r}")

    return check


def one_of(*values: str, or_else: Check | None = None) -> Check:
    """One of these strings; anything else is unpriced, or what ``or_else`` accepts."""
    known = frozenset(values)
    listed = ", ".join(values)

    def check(value: Any) -> None:
        if type(value) is str and value in known:
            return
        if or_else is None:
            raise Unpriced(value=value, remedy=f"Send one of: {listed}.")
        or_else(value)

    return check


def text(value: Any) -> None:
    """A string."""
    if type(value) is not str:
        raise Misshapen(f"is not a string{_as_found(value)}", "Send a string.")


def text_or(other: Check) -> Check:
    """A string, or what ``other`` accepts."""

    def check(value: Any) -> None:
        if type(value) is not str:
            other(value)

    return check


def flag(value: Any) -> None:
    """True or false. An upstream could take anything else for true."""
    if type(value) is not bool:
        raise Misshapen(f"is {shown(str(value))}", "Send true or false.")


def number(value: Any) -> None:
    """A number."""
    if type(value) not in (int, float):
        raise Misshapen(f"is not a number{_as_found(value)}", "Send a number.")


def texts(value: Any) -> None:
    """An object of strings, as ``metadata`` is; anything deeper could be an instruction to a proxy."""
    if type(value) is not dict:
        raise Misshapen(f"is not an object{_as_found(value)}", "Send an object of strings.")
    for key, inner in value.items():
        if type(inner) is not str and inner is not None:
            mistake = Misshapen(f"is not a string{_as_found(inner)}", "Send an object of strings.")
            mistake.inside(key)
            raise mistake


def unpriced(value: Any) -> None:  # noqa: ARG001 -- no value will do
    """Refuse any value: the field's presence is enough."""
    raise Unpriced
