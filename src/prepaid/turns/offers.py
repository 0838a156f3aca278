"""Which of a question's models can answer it, and at what price: decided before any money moves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from prepaid import pricing
from prepaid.errors import CurrencyMismatch, InvalidRequestError, ValueTooLarge
from prepaid.models.apis import check_apis
from prepaid.models.contract import Model
from prepaid.models.measure import request_bytes, text_bytes
from prepaid.records import ChatRequest, Message, ModelInfo, Quote, Unit
from prepaid.turns.question import Question

__all__ = ["OUTPUT_TOKENS_MAX", "REQUEST_BYTES_MAX", "Offer", "Offers"]

REQUEST_BYTES_MAX: Final = 10_000_000
"""The texts of one request, its history included."""

OUTPUT_TOKENS_MAX: Final = 100_000_000
"""No model comes near; a limit above its model's own is lowered to that."""

_CHARACTERS_PER_TOKEN_MAX: Final = 6
"""Natural language has four or five. A request is refused as too long for its model only beyond this, so
that no estimate keeps one back that would fit; what lies between, the provider refuses, at no cost."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One model that may answer: its quote, and the limit in tokens that it is told at most."""

    model: Model
    quoted: Quote
    output_tokens_max: int


class Offers:
    """Makes offers, within what is configured."""

    def __init__(self, default_output_tokens: int, request_bytes_max: int) -> None:
        self._default_output_tokens = default_output_tokens
        self._request_bytes_max = request_bytes_max

    def first(self, question: Question) -> Offer:
        """The first model's.

        Raises:
            ValueTooLarge: the request is beyond our limit or the model's context.
            InvalidRequestError: a limit or text that cannot be.
            ApiNotSupported, InsufficientFee, CurrencyMismatch: the model does not do this, or not for this.
        """
        self._check(question.request)
        return self.of(question, question.models[0])

    def others(self, question: Question) -> Iterator[Offer]:
        """The fallbacks' that could answer: nobody asked for them by name, so the rest is left out.

        So are those that the payer's key is not for.
        """
        allowed = question.payer.models
        for model in question.models[1:]:
            if allowed is not None and model.info.name not in allowed:
                continue
            try:
                offer = self.of(question, model)
            except InvalidRequestError:
                continue
            yield offer

    def held(self, question: Question, quoted: Quote) -> Offer:
        """The first model's again, as it was quoted when the hold was placed."""
        model = question.models[0]
        is_paid = pricing.output_paid(quoted.price, quoted.input_units) is not None
        return Offer(model, quoted, self._output_tokens(question.request, model.info, is_paid=is_paid))

    def of(self, question: Question, model: Model) -> Offer:
        """One model's; raises what ``first`` does."""
        request, info = question.request, model.info
        check_apis(info, request)
        _check_context(model, request)
        price = question.price or info.price
        if price.asset != question.payer.asset:
            raise CurrencyMismatch(
                f"The price of {info.name} is in {price.asset}, the account in {question.payer.asset}."
            )
        input_units = _input_units(model, request, price.unit)
        if question.price is not None:
            asked = info.price
            needed = input_units if asked.unit is price.unit else _input_units(model, request, asked.unit)
            pricing.check_offer(price, asked, needed)
        paid = pricing.output_paid(price, input_units)
        tokens = self._output_tokens(request, info, is_paid=paid is not None)
        # A caller who names what the output may cost has said how long it may be.
        limit = tokens if price.unit is Unit.TOKEN else tokens * pricing.BYTES_PER_TOKEN
        if paid is not None:
            limit = paid if price.unit is Unit.BYTE else min(limit, paid)
        return Offer(model, pricing.quote(info.name, price, input_units, limit), tokens)

    def _output_tokens(self, request: ChatRequest, info: ModelInfo, *, is_paid: bool) -> int:
        default = info.output_tokens_max if is_paid else self._default_output_tokens
        return min(request.output_tokens_max or default, info.output_tokens_max)

    def _check(self, request: ChatRequest) -> None:
        size = request_bytes(request)
        if request.extra:
            size += text_bytes(json.dumps(dict(request.extra), ensure_ascii=False, default=repr))
        if size > self._request_bytes_max:
            raise ValueTooLarge("the request", size, self._request_bytes_max)
        for message in request.messages:
            _check_unicode(message)
        asked = request.output_tokens_max
        if asked is None:
            return
        if not isinstance(asked, int) or isinstance(asked, bool) or not 0 < asked <= OUTPUT_TOKENS_MAX:
            raise InvalidRequestError(
                f"An output limit of {str(asked)[:40]} tokens cannot be.",
                remedy=f"Ask for 1 to {OUTPUT_TOKENS_MAX} tokens, or leave the limit out.",
            )


def _input_units(model: Model, request: ChatRequest, unit: Unit) -> int:
    return request_bytes(request) if unit is Unit.BYTE else model.input_tokens_max(request)


def _check_unicode(message: Message) -> None:
    """Half a surrogate pair passes JSON, but no database."""
    if message.text.isascii() and not message.tool_calls and message.tool_call_id is None:
        return
    calls = (text for call in message.tool_calls for text in (call.id, call.name, call.arguments))
    for text in (message.text, message.tool_call_id or "", *calls):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequestError(
                f"A message has half a surrogate pair at character {error.start}.",
                remedy="Send valid Unicode.",
            ) from None


def _check_context(model: Model, request: ChatRequest) -> None:
    size, limit = sum(len(message.text) for message in request.messages), model.info.context_tokens_max
    if size <= limit * _CHARACTERS_PER_TOKEN_MAX:
        return
    tokens = sum(model.estimate_tokens(message.text) for message in request.messages)
    if tokens > limit:
        raise ValueTooLarge(f"the request to {model.info.name}", tokens, limit, "tokens")
