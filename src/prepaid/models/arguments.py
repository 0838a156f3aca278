"""Fits what a text mentions to a tool's JSON schema, for the offline model."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["fit_arguments"]

_DEPTH_MAX: Final = 16
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w)")
_QUOTED = re.compile(r"\"([^\"]*)\"|'([^']*)'")
_Schema = Mapping[str, Any]


def fit_arguments(schema: _Schema, text: str) -> str:
    """JSON text of arguments for ``schema``, with the values that ``text`` mentions, in its order.

    A JSON object in ``text`` is taken as it stands. Otherwise numbers go to numeric properties, quoted
    words (or else the whole text) to strings, and whatever is not mentioned gets a fitting constant.
    """
    return _json_object(text) or json.dumps(_Fitter(schema, text).value(schema, 0))


def _json_object(text: str) -> str | None:
    start = text.find("{")
    if start < 0:
        return None
    try:
        _, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return text[start:end]


class _Fitter:
    """Hands out the values found in a text, each once."""

    def __init__(self, root: _Schema, text: str) -> None:
        self._root = root
        self._text = text
        self._numbers = _NUMBER.findall(text)
        self._words = [double or single for double, single in _QUOTED.findall(text)]

    def value(self, schema: _Schema, depth: int) -> Any:
        schema = self._resolved(schema)
        for key in ("const", "default"):
            if key in schema:
                return schema[key]
        if schema.get("enum"):
            return next((option for option in schema["enum"] if str(option) in self._text), schema["enum"][0])
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = next((one for one in kind if one != "null"), "null")
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth)
        return self._scalar(kind, schema)

    def _object(self, schema: _Schema, depth: int) -> dict[str, Any]:
        properties: Mapping[str, _Schema] = schema.get("properties", {})
        names = schema.get("required") or (properties if depth == 0 else ())
        if depth > _DEPTH_MAX:
            return {}
        return {name: self.value(properties.get(name, {}), depth + 1) for name in names}

    def _array(self, schema: _Schema, depth: int) -> list[Any]:
        """All numbers left for a list of numbers; otherwise as few items as the schema allows."""
        items = schema.get("items", {})
        count = int(schema.get("minItems", 0))
        if self._resolved(items).get("type") in ("number", "integer"):
            count = max(count, min(len(self._numbers), int(schema.get("maxItems", len(self._numbers)))))
        return [self.value(items, depth + 1) for _ in range(count)] if depth <= _DEPTH_MAX else []

    def _scalar(self, kind: str, schema: _Schema) -> Any:
        match kind:
            case "integer" | "number":
                return self._number(kind, schema)
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return self._words.pop(0) if self._words else self._text

    def _number(self, kind: str, schema: _Schema) -> int | float:
        text = self._numbers.pop(0) if self._numbers else "0"
        number = int(text.split(".")[0]) if kind == "integer" or "." not in text else float(text)
        fitting: int | float = min(
            max(number, schema.get("minimum", number)), schema.get("maximum", math.inf)
        )
        return fitting

    def _resolved(self, schema: _Schema) -> _Schema:
        """Follows local references and takes the first alternative that is not null."""
        for _ in range(_DEPTH_MAX):
            if "$ref" in schema:
                schema = self._referenced(str(schema["$ref"]))
            elif alternatives := schema.get("anyOf") or schema.get("oneOf"):
                schema = next((one for one in alternatives if one.get("type") != "null"), {"type": "null"})
            else:
                return schema
        return {}

    def _referenced(self, reference: str) -> _Schema:
        node: Any = self._root
        for part in reference.removeprefix("#/").split("/"):
            node = node.get(part, {}) if isinstance(node, Mapping) else {}
        return node if isinstance(node, Mapping) else {}
