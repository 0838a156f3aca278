"""Server-sent events in the bytes of a stream, each kept exactly as it came. Source: WHATWG HTML, 9.2."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from pydantic_core import from_json

from prepaid.errors import ProviderResponseInvalid

__all__ = ["EVENT_BYTES_MAX", "EventBytes", "EventTooLong", "check_event_stream", "event_json"]

EVENT_BYTES_MAX: Final = 1_048_576

_BOM: Final = b"\xef\xbb\xbf"
_LINE_END: Final = rb"(?:\r\n|\n|\r(?=[^\n]))"
"""A carriage return at the very end may be half of a line end."""
_BLANK_LINE: Final = re.compile(_LINE_END + _LINE_END)
_BLANK_LINE_BYTES_MAX: Final = 4


class EventTooLong(ProviderResponseInvalid):
    """An event that nobody can hold in memory to read it."""


class EventBytes:
    """Cuts a stream into events, in time linear in its length however it is split."""

    def __init__(self, upstream: str, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._upstream = upstream
        self._event_bytes_max = event_bytes_max
        self._rest = bytearray()
        self._searched = 0
        """So many bytes of the rest hold no end of an event."""
        self._is_first = True

    def feed(self, piece: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The events that are whole now: their bytes with the blank line, and their data.

        Raises:
            ProviderResponseInvalid: one is longer than the limit.
        """
        rest = self._rest
        rest += piece
        start, search = 0, self._searched
        try:
            while (blank := _BLANK_LINE.search(rest, search)) is not None:
                event = bytes(rest[start : blank.end()])
                start = search = blank.end()
                self._check(len(event))
                yield event, self._data(event)
        finally:
            del rest[:start]
            self._searched = max(len(rest) - _BLANK_LINE_BYTES_MAX, 0)
        self._check(len(rest))

    def end(self) -> Iterator[tuple[bytes, bytes]]:
        """What is left at the end of the stream: some providers leave out the last blank line."""
        event = bytes(self._rest)
        self._rest.clear()
        self._searched = 0
        if event.strip():
            yield event, self._data(event)

    def _check(self, size: int) -> None:
        if size > self._event_bytes_max:
            raise EventTooLong(
                f"Upstream {self._upstream!r} sent more than {self._event_bytes_max} bytes"
                " without a whole event."
            )

    def _data(self, event: bytes) -> bytes:
        if self._is_first:
            self._is_first = False
            event = event.removeprefix(_BOM)
        lines = event.splitlines()
        if lines[0].startswith(b"data:") and len(lines) == 2:  # noqa: PLR2004 -- the data and the blank line
            return lines[0][5:].removeprefix(b" ")
        return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))


def check_event_stream(upstream: str, content_type: str) -> None:
    """Refuse an answer that is something else.

    Raises:
        ProviderResponseInvalid: by its content type, it is.
    """
    if content_type.partition(";")[0].strip().lower() != "text/event-stream":
        raise ProviderResponseInvalid(f"Upstream {upstream!r} did not answer with an event stream.")


def event_json(upstream: str, data: bytes) -> dict[str, Any]:
    """The JSON object in an event's data, or in a whole reply.

    Read as tolerantly as clients do: half a surrogate pair and bytes that are not UTF-8 pass.

    Raises:
        ProviderResponseInvalid: it is no JSON object all the same.
    """
    try:
        value = from_json(data)
    except ValueError:
        value = _tolerantly(upstream, data)
    if type(value) is not dict:
        raise ProviderResponseInvalid(f"Upstream {upstream!r} did not send a JSON object.")
    return value


def _tolerantly(upstream: str, data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8", "replace").removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise ProviderResponseInvalid(f"Upstream {upstream!r} sent malformed JSON: {reason}.") from None
