"""Moving to another database, with processes at work on the old one.

In this order, each step durable before the next, so that the same call goes on wherever it was cut off:

1. the source is audited while it is in use, and the target must be empty and able to keep all of it;
2. the source is closed: no process can change it from here on;
3. all rows are carried, and compared;
4. the source says that it was left, for good;
5. the target is opened for use.
"""

from __future__ import annotations

import secrets

from prepaid.errors import ConflictError, StoreNotEmpty
from prepaid.moving.carrying import Carried, carry, refuse_contradictions, refuse_unkept
from prepaid.moving.places import Watch, unwatched
from prepaid.store.moves import Mark, Stage, moved
from prepaid.store.tables import Place

__all__ = ["abandon", "migrate"]

_GONE: tuple[Stage, ...] = (Stage.LEAVING, Stage.LEFT)


def migrate(source: Place, target: Place, watch: Watch = unwatched) -> Carried | None:
    """Move everything, open holds included; after a crash, the same again goes on.

    ``None`` says that this very move had arrived before.

    Raises:
        StoreMoved: the source is part of another move.
        StoreNotEmpty: the target has something in it that this move did not bring.
        StoreCorrupted: the source contradicts itself, or has what the target cannot keep, and stays open;
            or the two sides differ, and the target stays closed.
    """
    mark = _begun(source, target, watch)
    arriving = target.mark()
    if arriving is None or arriving.move_id != mark.move_id:
        _refuse_content(target)
        target.receive(Mark(mark.move_id, Stage.ARRIVING, source.name))
    elif arriving.stage is Stage.ARRIVED:
        return None
    carried = carry(source, target, mark.move_id, watch)
    source.advance(mark.move_id, Stage.LEFT)
    target.advance(mark.move_id, Stage.ARRIVED)
    return carried


def abandon(source: Place) -> Mark:
    """Give a move up that has not arrived: the source takes changes again, and the target never will.

    Raises:
        ConflictError: there is none, or it has arrived.
    """
    mark = source.mark()
    if mark is None or mark.stage is not Stage.LEAVING:
        raise ConflictError(
            f"No move from {source.name} is under way.", remedy="A move that has arrived cannot be given up."
        )
    source.reopen()
    return mark


def _begun(source: Place, target: Place, watch: Watch) -> Mark:
    """The move that the source is part of, begun where it is not."""
    mark = source.mark()
    if mark is not None and mark.stage in _GONE and mark.peer == target.name:
        return mark
    if mark is not None and mark.stage is not Stage.ARRIVED:
        raise moved(source.name, mark.stage, mark.peer)
    _refuse_content(target)
    refuse_contradictions(source, watch)
    refuse_unkept(source, target, watch)
    mark = Mark(secrets.token_hex(8), Stage.LEAVING, target.name)
    source.leave(mark)
    return mark


def _refuse_content(target: Place) -> None:
    if not target.is_empty():
        raise StoreNotEmpty(target.name)
