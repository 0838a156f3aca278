"""Requests on the AI contract: asked, awaited, fetched, expired (spec A3, A4, A10 to A17, B13)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from prepaid.chain.ai.sessions import Sessions, checked_id
from prepaid.chain.connection import as_address
from prepaid.chain.logs import Logs
from prepaid.chain.refusals import refusal
from prepaid.chain.terms import Terms
from prepaid.chain.values import (
    BatchRequest,
    CallBack,
    CallType,
    ChainModel,
    DtnRequest,
    RequestOptions,
    Response,
    ResponseStatus,
    as_id,
    routing_words,
)
from prepaid.errors import (
    ApiNotSupported,
    ConsensusTimeout,
    InvalidRequestError,
    ModelNotSupported,
    PrepaidError,
    RequestNotFound,
)
from prepaid.models.catalogue import model_id
from prepaid.routing import Routing

__all__ = ["Request", "Requests", "Settled"]

_ASKED: Final = "(bytes,bytes,uint8,uint256,uint256,uint256),(bytes4,bytes4,address),address,uint256"
_BY_IDS: Final = f"request(uint256,bytes32,bytes32[],{_ASKED})"
_BY_ROUTING: Final = (
    f"request(uint256,bytes32,(bytes32[],bytes32[],uint32,uint8,uint8),{_ASKED},(uint32,bool))"
)
_BLOCKS_BACK: Final = 1_000
"""How far back a request is looked for, where nothing is known but its id: what every endpoint allows."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was made. ``encoded_terms`` is what answers and ``expire`` hand back."""

    request_id: str
    model_id: str
    terms: Terms
    encoded_terms: bytes
    asked: DtnRequest
    block_number: int
    tx_hash: str

    @property
    def hold(self) -> int:
        """What is held for it until it ends, in base units."""
        return self.terms.redundancy * (self.terms.request_fee + self.terms.total_fee_per_res)

    @property
    def session_id(self) -> int:
        """The session that pays."""
        return self.terms.session_id


@dataclass(frozen=True, slots=True)
class Settled:
    """How a request ended: its response, and what the session paid for it in base units."""

    request_id: str
    response: Response
    cost: int


_NO_CALLBACK: Final = CallBack()
_NO_OPTIONS: Final = RequestOptions()


class Requests(Sessions):
    """The part of ``AiContract`` that asks."""

    def model_id(self, name: str) -> str:
        """The id of a model: keccak256 of its name (spec A11)."""
        return model_id(name)

    async def model_of(self, name: str) -> ChainModel:
        """A model's price.

        Raises:
            ModelNotSupported: it is not offered.
        """
        offered = ChainModel.of(await self.contract.call("modelOf", as_id(name)))
        if not offered.apis:
            raise _not_offered(name)
        return offered

    async def request(
        self,
        session_id: int,
        model: str,
        routing: Routing | Sequence[str],
        request: DtnRequest,
        callback: CallBack = _NO_CALLBACK,
        *,
        user: str | None = None,
        callback_gas: int = 0,
        value_wei: int = 0,
        options: RequestOptions = _NO_OPTIONS,
    ) -> Request:
        """Ask (spec A3).

        Args:
            session_id: the wallet's session; 0 starts one from the wallet's deposit (spec A4).
            model: its name, or its id.
            routing: who may answer (spec A12): a ``Routing``; or ids or names of namespaces and nodes, of
                which any one may.
            request: the question, and what it may cost.
            callback: who is told (spec A13); nobody by default.
            user: who gets back what is left of ``value_wei``; the wallet by default.
            callback_gas: for the callback; 0 for the contract's default.
            value_wei: ETH that pays for the callback's gas.
            options: how long nodes have, and whether the response is kept on chain.

        Raises:
            InsufficientFunds, SessionNotFound, SessionAlreadyClosed: the session cannot pay.
            ModelNotSupported, ApiNotSupported, InsufficientFee: not this model, or not for this fee.
            NoNodesAvailable, InvalidRequestError: not under this routing.
        """
        asked = (checked_id(session_id), as_id(model))
        told = (request.words(), callback.words(), as_address(user or self.contract.caller), callback_gas)
        try:
            if isinstance(routing, Routing):
                receipt = await self.contract.send(
                    _BY_ROUTING, *asked, routing_words(routing), *told, options.words(), value_wei=value_wei
                )
            elif options == _NO_OPTIONS:
                ids = [as_id(name) for name in routing]
                receipt = await self.contract.send(_BY_IDS, *asked, ids, *told, value_wei=value_wei)
            else:
                raise InvalidRequestError("A list of ids takes no options.", remedy="Pass a Routing.")
        except ModelNotSupported:
            raise _not_offered(model) from None
        except ApiNotSupported:
            raise ApiNotSupported(model, request.call_type.name, ()) from None
        return self.requests_in(receipt)[0]

    async def request_batch(
        self, session_id: int, batch: Iterable[BatchRequest]
    ) -> list[Request | PrepaidError]:
        """Ask several questions in one transaction; each is made, or stands in the result with its error.

        Raises:
            SessionNotFound, SessionAlreadyClosed: the session is not the wallet's, or closed.
        """
        listed = list(batch)
        words = (checked_id(session_id), [each.words() for each in listed])
        value_wei = sum(each.callback_wei for each in listed)
        foreseen = await self.contract.call("requestBatch", *words, value_wei=value_wei)
        receipt = await self.contract.send("requestBatch", *words, value_wei=value_wei)
        return matched(listed, self.requests_in(receipt), [reason for _, reason in foreseen])

    def requests_in(self, receipt: Mapping[str, Any]) -> list[Request]:
        """The requests that a transaction made, in order."""
        made = self.contract.events(receipt, "RequestMade")
        tx_hash = receipt["transactionHash"]
        return [request_of(told, receipt["blockNumber"], tx_hash) for told in made]

    async def find_request(self, request_id: str, *, blocks_back: int = _BLOCKS_BACK) -> Request:
        """A request of the last ``blocks_back`` blocks, from the contract's log.

        Raises:
            RequestNotFound: it is not there.
        """
        chain, topics = self.contract.chain, [self.contract.topic("RequestMade"), as_id(request_id)]
        head = await chain.head()
        first = max(head - blocks_back, 0)
        async with aclosing(Logs(chain).between(self.address, topics, first, head)) as pieces:
            async for logs, _ in pieces:
                for log in logs:
                    told = self.contract.decode("RequestMade", log)
                    return request_of(told, log["blockNumber"], log["transactionHash"])
        raise RequestNotFound(request_id)

    async def fetch_response(self, request_id: str) -> Response:
        """What became of a request, as the contract keeps it (spec A14); ``settled`` has what it published.

        Raises:
            RequestNotFound: unknown, or its place in the session's storage is in use again.
        """
        status, message, response = await self.contract.call("fetchResponse", as_id(request_id))
        return Response(ResponseStatus(status), message, response)

    async def settled(self, request: Request, *, timeout_seconds: float = 600.0) -> Settled:
        """How a request ended, once it did.

        Raises:
            ConsensusTimeout: not within this time. After its deadline, ``expire`` ends it.
        """
        waited_until = asyncio.get_running_loop().time() + timeout_seconds
        while True:
            for event in ("ResponseDelivered", "RequestExpired"):
                for log in await self._logs(event, request.request_id, request.block_number):
                    return _settled(request, self.contract.decode(event, log))
            if asyncio.get_running_loop().time() >= waited_until:
                raise ConsensusTimeout(
                    f"Request {request.request_id} was not answered within {timeout_seconds:g} seconds.",
                    remedy="Wait longer, or call expire() after its deadline: that gives back what is held.",
                )
            await self.contract.chain.next_head()

    async def expire(self, encoded_terms: bytes) -> None:
        """End a request whose deadline has passed, whoever made it (spec A17).

        Raises:
            ContractReverted: its deadline has not passed, or it has ended.
            RequestNotFound: it never was, on these terms.
        """
        await self.contract.send("expire", encoded_terms)

    async def _logs(self, event: str, request_id: str, first: int) -> list[Any]:
        query: Any = {
            "address": self.address,
            "topics": [self.contract.topic(event), as_id(request_id)],
            "fromBlock": first,
            "toBlock": "latest",
        }
        return list(await self.contract.chain.w3.eth.get_logs(query))


def request_of(told: Mapping[str, Any], block_number: int, tx_hash: str) -> Request:
    """The request that an event ``RequestMade`` tells of."""
    terms = Terms.read(told["terms"])
    asked = DtnRequest(
        call=told["call"],
        fee_per_byte_req=told["feePerByteReq"],
        fee_per_byte_res=terms.fee_per_byte_res,
        total_fee_per_res=terms.total_fee_per_res,
        extra_params=told["extraParams"],
        call_type=CallType(told["calltype"]),
    )
    return Request(
        request_id=f"0x{told['requestId'].hex()}",
        model_id=f"0x{told['modelId'].hex()}",
        terms=terms,
        encoded_terms=told["terms"],
        asked=asked,
        block_number=block_number,
        tx_hash=tx_hash,
    )


def matched(
    batch: Sequence[BatchRequest], made: Sequence[Request], reasons: Sequence[bytes]
) -> list[Request | PrepaidError]:
    """Each request of a batch as it was made, by its content; or the error that was foreseen for it."""
    left = list(made)
    outcomes: list[Request | PrepaidError] = []
    for asked, reason in zip(batch, reasons, strict=True):
        if left and left[0].terms.content == _content(asked):
            outcomes.append(left.pop(0))
        else:
            outcomes.append(refusal(reason))
    return outcomes


def _content(asked: BatchRequest) -> str:
    kinds = ["bytes32", "(bytes,bytes,uint8,uint256,uint256,uint256)"]
    return f"0x{keccak(encode(kinds, [bytes.fromhex(as_id(asked.model)[2:]), asked.request.words()])).hex()}"


def _settled(request: Request, told: Mapping[str, Any]) -> Settled:
    if "status" not in told:
        message = "consensus timeout" if request.terms.redundancy > 1 else "timeout"
        return Settled(request.request_id, Response(ResponseStatus.TIMEOUT, message, b""), 0)
    response = Response(ResponseStatus(told["status"]), told["message"], told["response"])
    return Settled(request.request_id, response, told["cost"])


def _not_offered(model: str) -> ModelNotSupported:
    return ModelNotSupported(model).reworded(
        f"Model {model!r} is not offered by the contract.",
        "Check the name, or ask the contract's administrator to offer it.",
    )
