"""Relays what OpenAI's clients ask: quote, hold, ask upstream, settle. It keeps the promises of ``turns``.

A request that fails costs nothing; what its provider may bill all the same is booked as exposure. A client
that leaves pays for what was delivered or told. A stream is cut where the hold ends; an upstream that bills
more than the hold does so at the operator's expense, and it is booked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, Self

from prepaid.errors import ChatNotFound, ProviderError, ProviderResponseInvalid
from prepaid.meter import Meter, PaidCall, PlaceQueue, Replay
from prepaid.models.catalogue import Catalogue
from prepaid.models.events import event_json
from prepaid.models.failures import refused_in_stream
from prepaid.records import Message, Usage
from prepaid.relay.attempt import Attempt, is_large, large_json
from prepaid.relay.flow import TAIL, Flow
from prepaid.relay.heavy import heavily
from prepaid.relay.order import Head, Order, Receipt, Relayed
from prepaid.relay.targets import Target, Targets
from prepaid.relay.wire import Body
from prepaid.store.operations import Place, PlaceTaken, Turn

__all__ = ["AnswerStream", "Relay"]


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
        targets = await self.targets(order)
        call = await self.reserve(order, targets)
        if isinstance(call, Replay):
            return await self.replayed(order, call)
        failure: ProviderError | None = None
        for target in _affordable(targets, call):
            attempt = Attempt(order, target, call)
            try:
                return await _answered(attempt)
            except ProviderError as error:
                attempt.delivered = attempt.delivered or attempt.input_cost()
                call.exposure += attempt.exposure(error)
                failure = error
            except BaseException as error:
                await _give_up(call, error, attempt.exposure(error))
                raise
        assert failure is not None, "a hold pays for one of its targets at least"
        await _give_up(call, failure, 0)
        raise failure

    def stream(self, order: Order) -> AnswerStream:
        """The answer as it comes. Raises what ``answer`` does, while it is read."""
        return AnswerStream(self, order)

    async def targets(self, order: Order) -> list[Target]:
        """Who may answer, and for how much; every quote reads all of an order.

        Raises what ``Targets.of`` does.
        """
        if order.is_heavy:
            return await heavily(lambda: self._targets.of(order))
        return self._targets.of(order)

    async def reserve(self, order: Order, targets: list[Target]) -> PaidCall | Replay:
        """The hold: the dearest quote of all that may answer, or what there is of it."""
        queue = PlaceQueue(self.meter, order.payer.session_id)
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

    async def replayed(self, order: Order, replay: Replay) -> Relayed:
        """What the order's key was answered before."""
        return Relayed.from_kept(replay.response, await self.meter.available(order.payer))

    def _place(self, order: Order) -> Place | None:
        if order.chat_no is None:
            return None
        payer = order.payer
        record = self.meter.ledger.store.reads.chat(payer.session_id, order.chat_no)
        if record is None or (payer.lease_id is not None and record.taker != payer.owner):
            raise ChatNotFound(f"{payer.session_id}.{order.chat_no}")
        return Place(order.chat_no, record.turn_count, messages=1 + len(order.api.question(order.body)))


class AnswerStream:
    """One order's answer as it comes: a head, the upstream's events, and at last the receipt.

    Iterate over it once; close it to stop early. The upstream's last event comes once all is settled and
    durable.
    """

    def __init__(self, relay: Relay, order: Order) -> None:
        self._relay = relay
        self._order = order
        self._flow: Flow | None = None
        self._pieces = self._paid()
        self.left_with: Receipt | None = None
        """What it came to for a client that left, and paid for a part."""

    def __aiter__(self) -> Self:
        """The stream itself."""
        return self

    async def __anext__(self) -> Head | bytes | Receipt:
        """The next piece."""
        return await anext(self._pieces)

    async def aclose(self) -> None:
        """Stop, and settle what was told or delivered."""
        await self._pieces.aclose()

    def leave(self) -> bool:
        """Say that nobody listens any more; whether the answer should be read to its end all the same.

        Where output is visible, who leaves pays for what was delivered: close it. Where it is hidden, or has
        not begun, only the end of the answer tells what it cost (spec P3). Nobody else is asked then.
        """
        if self._flow is None or not self._flow.is_hidden:
            return False
        self._flow.is_left = True
        return True

    async def _paid(self) -> AsyncGenerator[Head | bytes | Receipt]:
        order, relay = self._order, self._relay
        targets = await relay.targets(order)
        call = await relay.reserve(order, targets)
        if isinstance(call, Replay):
            kept = await relay.replayed(order, call)
            told = kept.receipt
            yield Head(
                told.model, kept.content_type, told.held, told.output_limit, told.is_lowered, told.replayed
            )
            yield kept.content
            yield told
            return
        try:
            async with aclosing(self._first_flow(targets, call)) as pieces:
                async for piece in pieces:
                    yield piece
        except BaseException as error:
            await self._finish_early(call, error)
            raise

    async def _first_flow(
        self, targets: list[Target], call: PaidCall
    ) -> AsyncGenerator[Head | bytes | Receipt]:
        failure: ProviderError | None = None
        for target in _affordable(targets, call):
            self._flow = flow = Flow(self._order, target, call)
            try:
                async with aclosing(_settled_flow(flow)) as pieces:
                    async for piece in pieces:
                        yield piece
            except ProviderError as error:
                flow.delivered = flow.failed_with()
                call.exposure += flow.exposure(error)
                # Where the client has seen a part, another model cannot go on from there.
                if flow.has_begun or flow.is_left:
                    raise
                failure = error
            else:
                return
        assert failure is not None, "a hold pays for one of its targets at least"
        raise failure

    async def _finish_early(self, call: PaidCall, reason: BaseException) -> None:
        """The client is gone, or the request failed: what becomes of its hold.

        A client that is gone pays for what it was given, and that is saved; a failure costs nothing.
        """
        flow = self._flow
        if call.is_resolved or flow is None or isinstance(reason, ProviderError):
            await _give_up(call, reason, 0)
            return
        usage = flow.usage_delivered()
        if isinstance(reason, Exception) or usage == Usage():
            await _give_up(call, reason, flow.exposure(reason))
            return
        turn = _turn(self._order, flow.message, flow.answering_ms) if flow.has_spoken else None
        charged, unpaid = flow.settled_charge(usage)
        known = flow.target.cost(charged) + unpaid
        exposure = 0 if flow.is_ended_by_leaving else flow.exposure(reason, charged=known)
        try:
            settled = await call.settle(
                charged, quoted=flow.target.quoted, turn=turn, unpaid=unpaid, exposure=exposure
            )
            self.left_with = replace(flow.receipt(charged), available=settled.available)
        except Exception as failure:  # noqa: BLE001 -- a cancellation must stay one
            reason.add_note(f"Its hold is left to the sweep: {failure!r}")


async def _answered(attempt: Attempt) -> Relayed:
    """One target's whole answer, paid."""
    order, target, call = attempt.order, attempt.target, attempt.call
    body = attempt.body()

    async def ask() -> bytes:
        async with target.host.ask(order, body) as reply:
            return await reply.content()

    content = attempt.masked(await attempt.with_retries(ask))
    read = partial(_read, attempt, content)
    reply, texts, usage = await heavily(read) if is_large(content) else read()
    told = reply.get("usage")
    if told is not None:
        attempt.note_hidden_output(usage, texts, told)
    charged = attempt.charged(usage, texts)
    relayed = Relayed(content, "application/json", attempt.receipt(charged))
    turn = None  # without a chat nothing is kept: a long reply is not put together for it
    if order.chat_no is not None:
        turn = _turn(order, order.api.reply_message(reply), attempt.answering_ms)
    settled = await call.settle(
        charged,
        quoted=target.quoted,
        turn=turn,
        response=relayed.kept() if call.is_keyed else None,
        unpaid=attempt.unpaid(usage, charged, (reply.get("model"),), told),
    )
    return relayed.settled(settled.available)


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
    usage = flow.settled_usage()
    charged, unpaid = flow.settled_charge(usage)
    response = None
    if call.is_keyed:
        kept = Relayed(b"".join([*seen, TAIL]), head.content_type, flow.receipt(charged))
        response = kept.kept()
    settled = await call.settle(
        charged,
        quoted=flow.target.quoted,
        turn=_turn(flow.order, flow.message, flow.answering_ms),
        response=response,
        unpaid=unpaid,
        exposure=flow.cut_exposure(),
    )
    call.measure = None
    yield TAIL
    yield replace(flow.receipt(charged), available=settled.available)


def _affordable(targets: list[Target], call: PaidCall) -> Iterator[Target]:
    return (target for target in targets if call.granted >= target.quoted.minimum)


def _read(attempt: Attempt, content: bytes) -> tuple[Body, list[str], Usage]:
    """A whole reply, all output in it, and what it came to.

    Raises:
        ProviderError: it is the upstream's own error, or no reply of this API.
    """
    api, host = attempt.order.api, attempt.target.host
    if is_large(content):
        reply = large_json(host.name, content, api.reply_values_max)
    else:
        reply = event_json(host.name, content)
    error, told = _error_in(reply), reply.get("usage")
    parts = reply.get(api.reply_field)
    if not error and (type(parts) is not list or not (parts or told)):
        raise ProviderResponseInvalid(f"Upstream {host.name!r} did not answer with {api.reply_field!r}.")
    texts = list(api.reply_texts(reply))
    usage = attempt.usage(told, texts, api.reply_least(reply))
    if error:  # some say so with status 200
        attempt.delivered = attempt.target.cost(usage) + attempt.dearer_by((reply.get("model"),), usage)
        raise refused_in_stream(host.name, error)
    return reply, texts, usage


def _error_in(reply: Body) -> Any:
    """The provider's own error, in a whole reply or in one of its choices."""
    choices = reply.get("choices")
    parts = [reply, *(choices if type(choices) is list else ())]
    return next((part["error"] for part in parts if type(part) is dict and part.get("error")), None)


def _turn(order: Order, said: Message, answering_ms: int) -> Turn | None:
    if order.chat_no is None:
        return None
    return Turn((*order.api.question(order.body), said), answering_ms)


async def _give_up(call: PaidCall, reason: BaseException, exposure: int) -> None:
    try:
        await call.abandon(exposure)
    except Exception as failure:  # noqa: BLE001 -- the reason matters more, and a cancellation must stay one
        reason.add_note(f"Its hold is left to the sweep: {failure!r}")
