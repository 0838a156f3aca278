"""A request's answer: the prompt read, the model asked and paid from the node's ledger session, once.

The ledger keeps the model's answer under a key made of chain, contract and request: whoever asks again, after
a crash or not, gets the same, and pays nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from eth_abi.abi import encode

from prepaid.chain.ai import Request
from prepaid.chain.content import content_id_of, encode_content_id
from prepaid.chain.node.content import Contents
from prepaid.chain.prompts import read_prompt
from prepaid.chain.values import Answer, CallType, ResponseStatus, encode_text
from prepaid.config import NodeSettings
from prepaid.errors import ConfigError, CurrencyMismatch, InvalidRequestError
from prepaid.meter import Payer
from prepaid.models.catalogue import model_id
from prepaid.pricing import BYTES_PER_TOKEN
from prepaid.records import ChatRequest, Message, Quote, Role
from prepaid.runtime import Runtime
from prepaid.turns import Answer as Spoken
from prepaid.turns import Question

__all__ = ["ANSWER_BYTES_MAX", "Answering", "failed", "fee_max", "response_limit"]

ANSWER_BYTES_MAX: Final = 24_000
"""The contract's limit on message and response together."""

_MESSAGE_BYTES_MAX: Final = 256
_WORD: Final = 32
_EMPTY_TEXT: Final = len(encode(["string"], [""]))
_CONTENT_ID_BYTES: Final = len(encode_content_id(content_id_of(b"")))
_NO_CONTENT: Final = "IPFS is not configured on this node"


class Answering:
    """Answers with the models and the money that ``[node]`` names.

    Raises:
        ConfigError: no such session, or a model that nobody serves, in the settings.
    """

    def __init__(self, runtime: Runtime, settings: NodeSettings, contents: Contents | None = None) -> None:
        self.asset = runtime.settings.asset
        self._runtime = runtime
        self._session_id = _session_of(settings)
        self._models = _by_id(settings.models)
        self._content_tokens_max = settings.content_tokens_max
        self._contents = contents
        for name in self._models.values():
            _check_model(runtime, name)
        self._payer()

    def serves(self, request: Request) -> bool:
        """Whether the request's model is one of ours."""
        return request.model_id in self._models

    async def has_room(self, request: Request) -> bool:
        """Whether an answer could be kept, where it has to be."""
        if request.asked.call_type is not CallType.IPFS or self._contents is None:
            return True
        return await self._contents.has_room(self._content_tokens_max * BYTES_PER_TOKEN)

    async def question(self, request: Request, key: str | None = None) -> Question:
        """What the model is asked.

        Raises:
            InvalidRequestError: the request is not readable, or its values do not fit (spec A16).
            ContentUnavailable, ContentMismatch: the prompt cannot be fetched now.
        """
        asked, call = request.asked, request.asked.call
        limit = max(_text_limit(request) // BYTES_PER_TOKEN, 1)
        if asked.call_type is CallType.IPFS:
            call = await self._contents_of(request).prompt(call)
            limit = self._content_tokens_max
        prompt = read_prompt(call, asked.extra_params)
        models = self._runtime.models(self._models[request.model_id])
        told = ChatRequest(models[0].info.name, (Message(Role.USER, prompt),), limit)
        return Question(self._payer(), told, models, key=key)

    def quote(self, question: Question) -> Quote:
        """The most that the answer may cost us.

        Raises:
            InvalidRequestError: the model cannot answer it at all.
        """
        return self._runtime.turns.quote(question, question.models[0])

    async def answer(self, request: Request, key: str) -> Answer:
        """The answer, paid for and durable under ``key``; FAILED where there can be none.

        Raises:
            PrepaidError: not now: the provider failed, the session has too little, the key is in use.
        """
        try:
            spoken = await self._runtime.turns.answer(await self.question(request, key))
            if request.asked.call_type is CallType.IPFS:
                return await self._kept(spoken, request)
        except InvalidRequestError as error:
            return failed(str(error))
        return _as_answer(spoken, request)

    async def _kept(self, spoken: Spoken, request: Request) -> Answer:
        """The answer's content id; what it names is durable when this returns (spec A15)."""
        content_id = await self._contents_of(request).keep(spoken.text)
        is_cut = spoken.finish_reason == "length"
        message = f"cut: the node allows {self._content_tokens_max} tokens" if is_cut else ""
        return Answer(ResponseStatus.SUCCESS, message, encode_content_id(content_id))

    def _contents_of(self, request: Request) -> Contents:
        """Where its answer is kept.

        Raises:
            InvalidRequestError: nowhere, or the fee does not pay for the id.
        """
        if self._contents is None:
            raise InvalidRequestError(f"{_NO_CONTENT}.", remedy="Ask for the answer itself (DIRECT).")
        if response_limit(request) < _CONTENT_ID_BYTES:
            raise InvalidRequestError(
                f"A content id has {_CONTENT_ID_BYTES} bytes; the fee pays for {response_limit(request)}.",
                remedy="Raise totalFeePerRes.",
            )
        return self._contents

    def _payer(self) -> Payer:
        account = self._runtime.store.reads.account(self._session_id)
        if account is None:
            raise ConfigError(
                f"There is no session {self._session_id} in {self._runtime.settings.database}.",
                remedy='Open one for the node, prepaid session create NODE --fund "10 USD", and name it.',
            )
        return Payer(account.session_id, account.owner, account.asset)


def failed(why: str) -> Answer:
    """That a request cannot be answered, which takes no response fee."""
    return Answer(ResponseStatus.FAILED, _cut(why, _MESSAGE_BYTES_MAX))


def response_limit(request: Request) -> int:
    """How many bytes a response may have: what is paid for, and what the contract takes."""
    is_named = request.asked.call_type is CallType.IPFS
    most = _CONTENT_ID_BYTES if is_named else ANSWER_BYTES_MAX - _MESSAGE_BYTES_MAX
    per_byte = request.terms.fee_per_byte_res
    return min(most, request.terms.total_fee_per_res // per_byte) if per_byte else most


def fee_max(request: Request) -> int:
    """The most that one node earns with its answer, in base units; as the contract counts it."""
    terms = request.terms
    for_response = response_limit(request) * terms.fee_per_byte_res
    return terms.request_fee + min(for_response, terms.total_fee_per_res)


def _text_limit(request: Request) -> int:
    """How many bytes of text fit into the response, ABI-encoded."""
    return max(response_limit(request) - _EMPTY_TEXT, 0) // _WORD * _WORD


def _as_answer(spoken: Spoken, request: Request) -> Answer:
    limit = _text_limit(request)
    text = _cut(spoken.text, limit)
    is_cut = text != spoken.text or spoken.finish_reason == "length"
    message = f"cut: the fee pays for {limit} bytes of text" if is_cut else ""
    return Answer(ResponseStatus.SUCCESS, message, encode_text(text))


def _cut(text: str, bytes_max: int) -> str:
    """As much of ``text`` as fits, in whole characters."""
    return text.encode(errors="replace")[:bytes_max].decode(errors="ignore")


def _session_of(settings: NodeSettings) -> str:
    if settings.session_id is None:
        raise ConfigError(
            "node.session_id is missing.",
            remedy='Open a session that pays for the models, prepaid session create NODE --fund "10 USD".',
        )
    return settings.session_id


def _by_id(models: Mapping[str, str]) -> dict[str, str]:
    if not models:
        raise ConfigError(
            "node.models is missing.", remedy="Name the models to answer with: --models offline."
        )
    return {model_id(on_chain): ours for on_chain, ours in models.items()}


def _check_model(runtime: Runtime, name: str) -> None:
    try:
        asset = runtime.models(name)[0].info.price.asset
        if asset != runtime.settings.currency:
            raise CurrencyMismatch(f"Model {name} is priced in {asset}.")
    except InvalidRequestError as error:
        raise ConfigError(f"node.models names {name!r}: {error.what}", remedy=error.remedy) from None
