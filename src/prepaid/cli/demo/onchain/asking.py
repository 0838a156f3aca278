"""A contract asks and is called back; and session 0, which opens a session on the way."""

from __future__ import annotations

from prepaid.chain.local.stage import MODEL, NODE
from prepaid.chain.values import ResponseStatus, as_id
from prepaid.cli.demo.onchain.cast import Cast, question

__all__ = ["ask_by_contract", "ask_session_zero"]

_WEATHER = "What is the weather like?"
_HAIKU = "Write a haiku about prepaid sessions."


async def ask_by_contract(cast: Cast) -> None:
    """The circle: contract, event, node, model, transaction, callback, storage."""
    story, consumer = cast.story, cast.consumer
    story.chapter("The contract asks, a node answers, the callback stores it")
    story.code(f'consumer.send("ask", "{MODEL}", "{_WEATHER}", ["{NODE}"])')
    ai = await cast.ai_of(cast.ann)
    (request,) = ai.requests_in(await consumer.send("ask", MODEL, _WEATHER, [as_id(NODE)]))
    cast.names[request.session_id] = "TextConsumer's"
    story.question("Contract", _WEATHER)
    await cast.answered(ai, request)
    status, text = await consumer.call("outcomes", as_id(request.request_id))
    story.good(f"In the contract's storage now: {ResponseStatus(status).name}, “{text}”")


async def ask_session_zero(cast: Cast) -> None:
    """No session named: the deposit becomes one."""
    story = cast.story
    story.chapter("Session 0: Ann asks herself, and opens no session first")
    ai = await cast.ai_of(cast.ann)
    story.code('ai.deposit("5 USDT")')
    await ai.deposit("5 USDT")
    story.code(f'ai.request(0, "{MODEL}", ["{NODE}"], question)')
    request = await ai.request(0, MODEL, [NODE], question(_HAIKU))
    cast.names[request.session_id] = "Ann's, by session 0"
    story.question("Ann", _HAIKU)
    await cast.answered(ai, request)
    books = await ai.session_of(request.session_id)
    story.good(f"Her deposit became a session on the way; {cast.told(books.available)} is left in it.")
