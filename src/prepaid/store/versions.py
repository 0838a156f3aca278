"""Versions of what may be changed, so that nobody overwrites what they never saw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256

from prepaid.errors import VersionConflict

__all__ = ["settings_version", "text_version", "why_not_version"]


def text_version(kept: str) -> str:
    """The version of a text as it is kept."""
    return sha256(kept.encode()).hexdigest()[:16]


def settings_version(kept: Mapping[str, str]) -> str:
    """The version of what ``update_config`` set."""
    return text_version(json.dumps(kept, sort_keys=True))


def why_not_version(what: str, expected: str | None, found: str) -> VersionConflict | None:
    """The refusal of a change to another version than the one there is; ``None`` expects nothing."""
    return None if expected is None or expected == found else VersionConflict(what, expected, found)
