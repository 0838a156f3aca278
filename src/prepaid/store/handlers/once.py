"""Any operation, once per key: its result is kept beside it, in the same unit."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Final

from prepaid.errors import PrepaidError
from prepaid.store.handlers.replay import earlier, remember, remember_refusal
from prepaid.store.operations import Close, Closed, Done, Lease, Once, TakeFromPool
from prepaid.store.unit import Unit, apply, handles

_RESULTS: Final[dict[type, type]] = {Close: Closed, TakeFromPool: Lease}
"""What those operations result in that give more than JSON has a form for."""


@handles(Once)
def once(unit: Unit, wanted: Once) -> Done | PrepaidError:
    """What the key was answered before, or else the work itself."""
    kind = type(wanted.work).__name__
    answered = earlier(unit, wanted.session_id, wanted.key, kind, wanted.fingerprint)
    if isinstance(answered, PrepaidError):
        return answered
    if answered is not None:
        return Done(_decoded(wanted, json.loads(answered)), replayed=True)
    result = apply(unit, wanted.work)
    if isinstance(result, PrepaidError):
        if not result.retryable:
            remember_refusal(unit, wanted.session_id, wanted.key, kind, wanted.fingerprint, result)
        return result
    remember(unit, wanted.session_id, wanted.key, kind, wanted.fingerprint, _encoded(result))
    return Done(result)


def _encoded(result: Any) -> str:
    is_record = dataclasses.is_dataclass(result) and not isinstance(result, type)
    return json.dumps(dataclasses.asdict(result) if is_record else result)


def _decoded(wanted: Once, kept: Any) -> Any:
    kind = _RESULTS.get(type(wanted.work))
    return kept if kind is None else kind(**kept)
