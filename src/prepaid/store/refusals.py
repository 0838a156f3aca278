"""How a refusal is kept under its key: the error's name and its own numbers, as JSON."""

from __future__ import annotations

import inspect
import json

from prepaid import errors
from prepaid.errors import PrepaidError

__all__ = ["kept_form", "refusal_of"]


def kept_form(error: PrepaidError) -> str | None:
    """The refusal as it is kept; ``None`` for one that is not.

    What does not exist keeps nothing, and a conflict is no refusal. Nor is what is kept back for money that
    is only held: whoever is told to wait must be able to come back with the same key.
    """
    if isinstance(error, errors.NotFoundError | errors.IdempotencyConflict):
        return None
    if isinstance(error, errors.InsufficientFunds) and error.is_held:
        return None
    taken = inspect.signature(type(error)).parameters
    fields = {name: value for name, value in vars(error).items() if name in taken}
    return json.dumps({"error": type(error).__name__, "fields": fields})


def refusal_of(kept: str) -> PrepaidError:
    """The error again, from its own fields: they are named as its constructor's parameters."""
    stored = json.loads(kept)
    kind: type[PrepaidError] = getattr(errors, stored["error"])
    return kind(**stored["fields"])
