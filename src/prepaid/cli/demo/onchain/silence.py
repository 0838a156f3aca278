"""A node that says nothing: the deadline passes, anybody ends the request, and nothing was paid."""

from __future__ import annotations

from typing import Final

from prepaid.chain.local.stage import MODEL
from prepaid.chain.values import ResponseStatus, as_id
from prepaid.cli.demo.onchain.cast import SLEEPER, Cast
from prepaid.errors import ContractReverted

__all__ = ["ask_a_silent_node"]

_QUESTION: Final = "Are you there?"
_AN_HOUR: Final = 3_600


async def ask_a_silent_node(cast: Cast) -> None:
    """Held, expired, free again; the contract is told."""
    story, consumer = cast.story, cast.consumer
    story.chapter("A node that says nothing costs nothing")
    story.code(f'consumer.send("ask", "{MODEL}", "{_QUESTION}", ["{SLEEPER}"])')
    ai, anybody = await cast.ai_of(cast.ann), await cast.ai_of(cast.bob)
    (request,) = ai.requests_in(await consumer.send("ask", MODEL, _QUESTION, [as_id(SLEEPER)]))
    story.question("Contract", _QUESTION)
    story.note(f"{cast.told(request.hold)} held; only {SLEEPER} may answer, for an hour")
    try:
        await anybody.expire(request.encoded_terms)
    except ContractReverted as error:
        story.refused(f"{error.reason}: nobody ends it before its hour is over.")
    await cast.stage.local.later(_AN_HOUR + 1)
    story.say("An hour passes on our chain. Then anybody may end it, and Bob does:")
    story.code("ai.expire(request.encoded_terms)")
    await anybody.expire(request.encoded_terms)
    status, text = await consumer.call("outcomes", as_id(request.request_id))
    books = await ai.session_of(request.session_id)
    story.good(f"In the contract's storage now: {ResponseStatus(status).name}, “{text}”")
    story.good(f"Nothing was paid: {cast.told(books.held)} held, {cast.told(books.available)} available.")
