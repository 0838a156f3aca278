"""The pool on the chain: Bob, who has no USDT at all, spends within Ann's cap."""

from __future__ import annotations

from typing import Final

from prepaid.chain.local.stage import MODEL, NODE
from prepaid.chain.values import BatchRequest
from prepaid.cli.demo.onchain.cast import Cast, question
from prepaid.errors import LeaseCapReached
from prepaid.routing import custom_nodes_validated_any

__all__ = ["share_in_the_pool"]

_QUESTION: Final = "Count to 10, please."
_LONG_BYTES: Final = 10_000


async def share_in_the_pool(cast: Cast) -> None:
    """What he spends is hers, what he cannot is refused by the contract."""
    story = cast.story
    story.chapter("Ann shares a session; Bob, who has no USDT, leases it")
    hers, his = await cast.manager_of(cast.ann), await cast.manager_of(cast.bob)
    story.code('manager.create_session("20 USDT")')
    session_id = await hers.create_session("20 USDT")
    cast.names[session_id] = "Ann's, in the pool"
    story.code('manager.add_to_pool(session_id, cap="0.05 USDT")')
    await hers.add_to_pool(session_id, cap="0.05 USDT")
    story.code("manager.get_from_pool()   # Bob")
    lease = await his.get_from_pool()
    routing = custom_nodes_validated_any((NODE,))
    request = await his.ask(lease.session_id, BatchRequest(MODEL, question(_QUESTION), routing))
    story.question("Bob", _QUESTION)
    await cast.answered(his.ai, request)
    long = BatchRequest(MODEL, question("word " * (_LONG_BYTES // 5)), routing)
    story.question("Bob", f"Summarise this … ({_LONG_BYTES:,} bytes)")
    try:
        await his.ask(lease.session_id, long)
    except LeaseCapReached as error:
        story.refused(
            f"LeaseCapReached: his lease is good for {cast.told(error.limit)} in all. Nothing was sent."
        )
    spent = await his.return_to_pool(lease.session_id)
    status = await hers.get_pool_status()
    story.good(f"Given back: Bob spent {cast.told(spent)}; {status.pooled} session in the pool.")
    await hers.remove_from_pool(session_id)
