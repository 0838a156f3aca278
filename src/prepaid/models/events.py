"""Server-sent events in the bytes of a stream, each kept exactly as it came. Source: WHATWG HTML, 9.2."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from prepaid.errors import ProviderResponseInvalid

__all__ = ["EVENT_BYTES_MAX", "EventBytes", "check_event_stream"]

EVENT_BYTES_MAX: Final = 1_048_576

_LINE_END: Final = rb"(?:\r\n|\n|\r(?=[^\n]))"
"""A carriage return at the very end may be half of a line end."""
_BLANK_LINE: Final = re.compile(_LINE_END + _LINE_END)


class EventBytes:
    """Cuts a stream into events."""

    def __init__(self, upstream: str, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._upstream = upstream
        self._event_bytes_max = event_bytes_max
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The events that are whole now: their bytes with the blank line, and their data.

        Raises:
            ProviderResponseInvalid: one is longer than the limit.
        """
        text = self._rest + piece if self._rest else piece
        start = 0
        while (blank := _BLANK_LINE.search(text, start)) is not None:
            event = text[start : blank.end()]
            start = blank.end()
            self._rest = b""
            self._check(event)
            yield event, _data(event)
        self._rest = text[start:]
        self._check(self._rest)

    def end(self) -> Iterator[tuple[bytes, bytes]]:
        """What is left at the end of the stream: some providers leave out the last blank line."""
        if self._rest.strip():
            yield self._rest, _data(self._rest)
        self._rest = b""

    def _check(self, event: bytes) -> None:
        if len(event) > self._event_bytes_max:
            raise ProviderResponseInvalid(
                f"Upstream {self._upstream!r} sent more than {self._event_bytes_max} bytes"
                " without a whole event."
            )


def check_event_stream(upstream: str, content_type: str) -> None:
    """Refuse an answer that is something else.

    Raises:
        ProviderResponseInvalid: by its content type, it is.
    """
    if content_type.partition(";")[0].strip().lower() != "text/event-stream":
        raise ProviderResponseInvalid(f"Upstream {upstream!r} did not answer with an event stream.")


def _data(event: bytes) -> bytes:
    lines = event.splitlines()
    if lines[0].startswith(b"data:") and len(lines) == 2:  # noqa: PLR2004 -- the data and the blank line
        return lines[0][5:].removeprefix(b" ")
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
