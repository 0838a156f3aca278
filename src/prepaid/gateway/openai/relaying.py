"""``POST`` to chat completions, responses and embeddings: from a session's key to its answer."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext

from prepaid.errors import GatewayStopping, PrepaidError
from prepaid.gateway.asgi import ClientGone, Request
from prepaid.gateway.callers import SessionCaller
from prepaid.gateway.failures import openai_failure
from prepaid.gateway.limits import Slot
from prepaid.gateway.openai.headers import head_headers, receipt_event, receipt_headers, wants_receipt
from prepaid.gateway.parts import Handler, Parts
from prepaid.relay import AnswerStream, Head, Order, Receipt, WireApi
from prepaid.sessions.chat import chat_number
from prepaid.sessions.events import AIRequestFailed, AIResponseReceived

__all__ = ["relaying"]


def relaying(api: WireApi) -> Handler:
    """The handler of one API.

    Raises:
        PrepaidError: whatever the gateway tells as a reply; ``relay`` and ``callers`` say which.
    """

    async def handle(request: Request, parts: Parts) -> None:
        caller = await parts.callers.payer(request)
        with parts.slots.taken(caller.key_id) as slot:
            order = await _order(request, parts, api, caller, slot)
            async with _turn(parts, order):
                try:
                    await (_stream if order.asked.is_stream else _answer)(request, parts, order)
                except PrepaidError as error:
                    _note_failure(request, parts, order, error)
                    raise

    return handle


async def _order(request: Request, parts: Parts, api: WireApi, caller: SessionCaller, slot: Slot) -> Order:
    chat, key = request.header(b"x-prepaid-chat"), request.header(b"idempotency-key")
    chat_no = None if chat is None else chat_number(caller.session_id, chat.decode("latin-1"))
    named = None if key is None else key.decode("latin-1")
    await parts.heavy.admit(request, caller.payer, named, slot)
    raw = await parts.heavy.body(request, slot)
    order = await parts.heavy.read(
        slot, raw, lambda: Order.read(api, caller.payer, raw, key=named, chat_no=chat_no)
    )
    if order.asked.model in parts.workspace.catalogue:  # what is no model's name is not logged as one
        request.model = order.asked.model
    caller.check_model(order.asked.model)
    return order


def _turn(parts: Parts, order: Order) -> AbstractAsyncContextManager[None]:
    """The queue of the chat in which the exchange is kept: first come, first served."""
    if order.chat_no is None:
        return nullcontext()
    return parts.workspace.turn_lock(order.payer.session_id, order.chat_no)


async def _answer(request: Request, parts: Parts, order: Order) -> None:
    """A client that hangs up meanwhile changes nothing: what was asked for is being made, and is paid for."""
    relayed = await parts.workspace.relay.answer(order)
    _note(request, parts, order, relayed.receipt)
    headers = [(b"content-type", relayed.content_type.encode("latin-1"))]
    headers += receipt_headers(order.payer, relayed.receipt)
    await request.reply(200, headers, relayed.content)


async def _stream(request: Request, parts: Parts, order: Order) -> None:
    """A client that leaves ends its stream, where all that the provider bills was delivered.

    Else the answer is read to its end without it, in the client's own slot, for so long as is configured.
    """
    task = asyncio.current_task()
    assert task is not None
    stream = parts.workspace.relay.stream(order)
    loop = asyncio.get_running_loop()
    limit: asyncio.TimerHandle | None = None
    has_left = False

    def leave(_: asyncio.Task[None]) -> None:
        nonlocal has_left, limit
        if request.is_ended:
            return
        has_left = True
        if stream.leave():
            limit = loop.call_later(parts.settings.gateway.drain_seconds, task.cancel)
        else:
            task.cancel()

    gone = asyncio.ensure_future(request.gone())
    gone.add_done_callback(leave)
    try:
        await _send_stream(request, order, stream, parts)
    except asyncio.CancelledError:
        if stream.left_with is not None:
            _note(request, parts, order, stream.left_with)
        if not has_left:
            await _tell_of_stop(request, order)
            raise
        task.uncancel()
    finally:
        gone.remove_done_callback(leave)
        gone.cancel()
        if limit is not None:
            limit.cancel()
    if has_left:
        raise ClientGone


async def _tell_of_stop(request: Request, order: Order) -> None:
    """The server stops: a stream that has begun ends with an error, what has not is told so elsewhere."""
    if request.status:
        stopping = GatewayStopping()
        request.error = stopping.code
        await request.chunk(order.api.failure(openai_failure(stopping)))
        await request.end()


async def _send_stream(request: Request, order: Order, stream: AnswerStream, parts: Parts) -> None:
    """The reply begins with the first piece: until then, an error is a reply of its own."""
    head: Head | None = None
    tells = wants_receipt(request)
    try:
        async with aclosing(stream):
            async for piece in stream:
                if isinstance(piece, Head):
                    head = piece
                elif isinstance(piece, Receipt):
                    _note(request, parts, order, piece)
                    if tells:
                        await request.chunk(receipt_event(order.payer, piece))
                else:
                    if not request.status:
                        assert head is not None, "a stream begins with its head"
                        await request.start(200, head_headers(order.payer, head))
                    await request.chunk(piece)
    except PrepaidError as error:
        if not request.status:
            raise
        _note_failure(request, parts, order, error)
        await request.chunk(order.api.failure(openai_failure(error)))
    await request.end()


def _note(request: Request, parts: Parts, order: Order, receipt: Receipt) -> None:
    """For logs and traces, and for whoever listens to the session (spec B12)."""
    request.cost = receipt.cost
    request.usage = receipt.usage
    request.provider = receipt.provider
    if not receipt.replayed:
        payer = order.payer
        name = _name(request, order)
        parts.workspace.events.emit(
            AIResponseReceived(payer.session_id, payer.owner, name, receipt.model, receipt.cost)
        )


def _note_failure(request: Request, parts: Parts, order: Order, error: PrepaidError) -> None:
    request.error = error.code
    payer = order.payer
    failed = AIRequestFailed(payer.session_id, payer.owner, _name(request, order), error.code)
    parts.workspace.events.emit(failed)


def _name(request: Request, order: Order) -> str:
    """What events call the request: its chat, or its own id."""
    return request.id if order.chat_no is None else f"{order.payer.session_id}.{order.chat_no}"
