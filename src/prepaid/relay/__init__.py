"""Requests of OpenAI's clients, passed on to whoever answers for the model, and paid.

Bodies go through as they came: only what money depends on is read, and only what the hold demands is changed.
``relay`` keeps the promises of ``turns``; ``chat``, ``responses`` and ``embeddings`` know one API each;
``own`` makes a model of ours answer in OpenAI's words. What clients speak HTTP with is the gateway.
"""

from prepaid.relay.chat import CHAT
from prepaid.relay.embeddings import EMBEDDINGS
from prepaid.relay.heavy import HEAVY_BYTES, check_structure, heavily
from prepaid.relay.order import Head, Order, Receipt, Relayed
from prepaid.relay.relay import AnswerStream, Relay
from prepaid.relay.responses import RESPONSES
from prepaid.relay.wire import WireApi

__all__ = [
    "CHAT",
    "EMBEDDINGS",
    "HEAVY_BYTES",
    "RESPONSES",
    "AnswerStream",
    "Head",
    "Order",
    "Receipt",
    "Relay",
    "Relayed",
    "WireApi",
    "check_structure",
    "heavily",
]
