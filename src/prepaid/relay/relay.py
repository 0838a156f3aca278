"""Relays what OpenAI's clients ask: quote, hold, ask upstream, settle. It keeps the promises of ``turns``.

A request that fails costs nothing. A client that vanishes pays for what was produced. A stream is cut where
the hold ends; an upstream that bills more than the hold does so at our expense, and it is booked.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace

from pydantic_core import from_json

from prepaid.errors import ChatNotFound, ProviderError, ProviderResponseInvalid
from prepaid.meter import Meter, PaidCall, PlaceQueue, Replay
from prepaid.models.catalogue import Catalogue
from prepaid.models.failures import refused_in_stream
from prepaid.models.retrying import with_retries
from prepaid.models.usage import told_usage
from prepaid.records import Message, Usage
from prepaid.relay.flow import Flow
from prepaid.relay.heavy import heavily
from prepaid.relay.order import Head, Order, Receipt, Relayed
from prepaid.relay.targets import Target, Targets
from prepaid.relay.wire import Body
from prepaid.store.operations import Place, PlaceTaken, Turn

__all__ = ["Relay"]


class Relay:
    """Relays orders, and has them paid.

    A request that names no limit is quoted ``default_output_tokens`` for each answer, and sent with that.
    """

    def __init__(self, meter: Meter, catalogue: Catalogue, default_output_tokens: int) -> None:
        self.meter = meter
        self._targets = Targets(catalogue, default_output_tokens)

    async def answer(self, order: Order) -> Relayed:
        """The whole answer, settled and durable.

        Raises:
            InvalidRequestError: the request can never succeed as it is (``Targets.of`` says why).
            ChatNotFound: the session has no such chat.
            InsufficientFunds: not even the input and one token of output can be paid.
            ProviderError: every target failed; it cost nothing.
            PrepaidError: as ``Meter.open``.
        """
        targets = await self._found(order)
        call = await self._reserve(order, targets)
        if isinstance(call, Replay):
            return Relayed.from_kept(call.response, await self.meter.available(order.payer))
        try:
            return await self._first_answer(order, targets, call)
        except BaseException as error:
            await _give_up(call, error)
            raise

    async def stream(self, order: Order) -> AsyncGenerator[Head | bytes | Receipt]:
        """The answer as it comes: a head, the upstream's events, and at last the receipt.

        The upstream's last event comes once all is settled and durable. Raises what ``answer`` does; close
        the generator to stop early, and what was delivered is paid for.
        """
        targets = await self._found(order)
        call = await self._reserve(order, targets)
        if isinstance(call, Replay):
            kept = Relayed.from_kept(call.response, await self.meter.available(order.payer))
            told = kept.receipt
            yield Head(told.model, kept.content_type, told.held, told.output_limit, told.is_lowered)
            yield kept.content
            yield told
            return
        flows: list[Flow] = []
        try:
            async with aclosing(_first_flow(order, targets, call, flows)) as pieces:
                async for piece in pieces:
                    yield piece
        except BaseException as error:
            await _finish_early(order, call, flows, error)
            raise

    async def _found(self, order: Order) -> list[Target]:
        """Who may answer, and for how much; a quote reads all of an order."""
        if order.is_heavy:
            return await heavily(lambda: self._targets.of(order))
        return self._targets.of(order)

    async def _reserve(self, order: Order, targets: list[Target]) -> PaidCall | Replay:
        """The hold: the dearest quote of all that may answer, or what there is of it."""
        queue = PlaceQueue(self.meter.ledger.store, order.payer.session_id)
        while True:
            reserved = await self.meter.open(
                order.payer,
                targets[0].quoted,
                others=tuple(target.quoted for target in targets[1:]),
                key=order.key,
                content=order.content or None,
                place=self._place(order),
            )
            if not isinstance(reserved, PlaceTaken):
                return reserved
            await queue.wait(reserved)

    def _place(self, order: Order) -> Place | None:
        if order.chat_no is None:
            return None
        payer = order.payer
        record = self.meter.ledger.store.reads.chat(payer.session_id, order.chat_no)
        if record is None:
            raise ChatNotFound(f"{payer.session_id}.{order.chat_no}")
        return Place(order.chat_no, record.turn_count, messages=1 + len(order.api.question(order.body)))

    async def _first_answer(self, order: Order, targets: list[Target], call: PaidCall) -> Relayed:
        failure: ProviderError | None = None
        for target in _affordable(targets, call):
            call.quoted = target.quoted
            try:
                return await _answered(order, target, call)
            except ProviderError as error:
                failure = error
        assert failure is not None, "a hold pays for one of its targets at least"
        raise failure


async def _answered(order: Order, target: Target, call: PaidCall) -> Relayed:
    """One target's whole answer, paid."""
    started, limit = time.monotonic(), target.limit(order, call.granted)
    body = order.api.sent(order.body, target.host.model, limit, target.host.limit_field)

    async def ask() -> tuple[str, bytes]:
        async with target.host.ask(order.api, body) as reply:
            return reply.content_type, await reply.content()

    content_type, content = await with_retries(ask, target.host.retries_max)
    reply = _parsed(target, content)
    usage = _usage(order, target, reply, call.granted)
    turn = None
    if order.chat_no is not None:
        turn = _turn(order, order.api.reply_message(reply), int((time.monotonic() - started) * 1000))
    receipt = target.receipt(usage, limit, call.granted)
    relayed = Relayed(content, content_type, receipt)
    response = relayed.kept() if call.is_keyed else None
    settled = await call.settle(usage, quoted=target.quoted, turn=turn, response=response)
    return relayed.settled(settled.available)


async def _first_flow(
    order: Order, targets: list[Target], call: PaidCall, flows: list[Flow]
) -> AsyncGenerator[Head | bytes | Receipt]:
    failure: ProviderError | None = None
    for target in _affordable(targets, call):
        flow = Flow(order, target, call)
        flows.append(flow)
        try:
            async with aclosing(_settled_flow(flow)) as pieces:
                async for piece in pieces:
                    yield piece
        except ProviderError as error:
            # Where the client has seen a part, another model cannot go on from there.
            if flow.has_begun:
                raise
            failure = error
        else:
            return
    assert failure is not None, "a hold pays for one of its targets at least"
    raise failure


async def _settled_flow(flow: Flow) -> AsyncGenerator[Head | bytes | Receipt]:
    """One target's streamed answer, paid before its last event."""
    call, head = flow.call, None
    seen: list[bytes] = []
    async with aclosing(flow.pieces()) as pieces:
        async for piece in pieces:
            if isinstance(piece, Head):
                head = piece
            elif call.is_keyed:
                seen.append(piece)
            yield piece
    assert head is not None, "a flow begins with its head, or raises"
    usage = flow.usage()
    response = None
    if call.is_keyed:
        kept = Relayed(b"".join([*seen, flow.tail]), head.content_type, flow.receipt(usage))
        response = kept.kept()
    turn = None if flow.order.chat_no is None else _turn(flow.order, flow.message, flow.answering_ms)
    settled = await call.settle(usage, quoted=flow.target.quoted, turn=turn, response=response)
    call.measure = None
    yield flow.tail
    yield replace(flow.receipt(usage), available=settled.available)


def _affordable(targets: list[Target], call: PaidCall) -> Iterator[Target]:
    return (target for target in targets if call.granted >= target.quoted.minimum)


def _parsed(target: Target, content: bytes) -> Body:
    name = target.host.name
    try:
        reply = from_json(content)
    except ValueError as error:
        raise ProviderResponseInvalid(f"Upstream {name!r} did not answer with JSON: {error}.") from None
    if type(reply) is not dict:
        raise ProviderResponseInvalid(f"Upstream {name!r} did not answer with a JSON object.")
    if reply.get("error"):  # some say so with status 200
        raise refused_in_stream(name, reply["error"], target.host.secret)
    return reply


def _usage(order: Order, target: Target, reply: Body, granted: int) -> Usage:
    told = reply.get("usage")
    if told is None:
        return target.counted(order, list(order.api.reply_texts(reply)), granted)
    usage = told_usage(target.host.name, told, order.api.usage)
    if target.counts_tokens:
        return usage
    return target.with_bytes(usage, list(order.api.reply_texts(reply)))


def _turn(order: Order, said: Message, answering_ms: int) -> Turn:
    return Turn((*order.api.question(order.body), said), answering_ms)


async def _finish_early(order: Order, call: PaidCall, flows: list[Flow], reason: BaseException) -> None:
    """The client is gone, or the request failed: what becomes of its hold.

    A client that is gone pays for what it was given, and that is saved; a failure costs nothing.
    """
    flow = flows[-1] if flows else None
    if call.is_resolved or flow is None or not flow.has_spoken or isinstance(reason, Exception):
        await _give_up(call, reason)
        return
    turn = None if order.chat_no is None else _turn(order, flow.message, flow.answering_ms)
    try:
        await call.settle(flow.usage_so_far(), quoted=flow.target.quoted, turn=turn)
    except Exception as failure:  # noqa: BLE001 -- a cancellation must stay one
        reason.add_note(f"Its hold is left to the sweep: {failure!r}")


async def _give_up(call: PaidCall, reason: BaseException) -> None:
    try:
        await call.abandon()
    except Exception as failure:  # noqa: BLE001 -- the reason matters more, and a cancellation must stay one
        reason.add_note(f"Its hold is left to the sweep: {failure!r}")
