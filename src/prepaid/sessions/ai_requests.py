"""Single requests, the session managed: fee, routing, several nodes, batches (spec A3-A12, B3, B13)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

from prepaid.errors import InvalidRequestError, ModelNotSupported, PrepaidError, SessionNotFound
from prepaid.ledger import fingerprint, new_id
from prepaid.meter import Payer, Replay, begin_once
from prepaid.models.contract import Model
from prepaid.money import AMOUNT_MAX
from prepaid.records import Api, ApiKeyRecord, ChatRequest, Message, Price, Role, Usage
from prepaid.routing import SYSTEM_NAMESPACE, Node, Routing, select_nodes, system_validated_any
from prepaid.sessions.events import AIRequestFailed, AIResponseReceived
from prepaid.sessions.opening import Opening
from prepaid.sessions.session import Session
from prepaid.sessions.values import check_name, check_text, check_user
from prepaid.turns import PanelAnswer, Question, ask_panel

__all__ = ["AIRequest", "AIResponse", "Asking", "Fee"]

_TIMEOUT_SECONDS: Final = 60.0
_BATCH_MAX: Final = 1_000
_APIS: Final[tuple[Api, ...]] = ("chat",)


@dataclass(frozen=True, slots=True)
class Fee:
    """What a request offers, in base units per byte, and for the response in all (spec A10).

    Held is ``request bytes * fee_per_byte_req + total_fee_per_res``, captured at most that.
    """

    fee_per_byte_req: int
    fee_per_byte_res: int
    total_fee_per_res: int

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= AMOUNT_MAX:
                raise InvalidRequestError(
                    f"{name} {str(value)[:40]} is not between 0 and {AMOUNT_MAX} base units.",
                    remedy="Pass an int of base units.",
                )

    def as_price(self, asset: str) -> Price:
        """The same as a price."""
        million = 1_000_000
        return Price.fee(
            asset, self.fee_per_byte_req * million, self.fee_per_byte_res * million, self.total_fee_per_res
        )


@dataclass(frozen=True, slots=True)
class AIRequest:
    """One request of a batch; the fields are ``make_ai_request``'s."""

    prompt: str | Sequence[str]
    model: str | None = None
    session_id: str | Literal[0] | None = None
    routing: Routing | None = None
    fee: Fee | None = None
    max_output_tokens: int | None = None
    timeout_seconds: float = _TIMEOUT_SECONDS
    key: str | None = None

    @property
    def content(self) -> tuple[object, ...]:
        """What ``key`` stands for."""
        return (self.prompt, self.model, self.routing, self.fee, self.max_output_tokens)


@dataclass(frozen=True, slots=True)
class AIResponse:
    """The answer, by whom, and what it cost in base units.

    ``nodes`` are those chosen, best first; ``answers`` the text of every node that was paid.
    """

    request_id: str
    session_id: str
    model: str
    text: str
    nodes: tuple[str, ...]
    answers: Mapping[str, str] = field(default_factory=dict)
    cost: int = 0
    available: int = 0
    replayed: bool = False


Keep = Callable[[AIResponse], Awaitable[None]]
"""Queues what a retry is to find. What is available is not known yet."""


class Asking(Opening):
    """The part of ``SessionManager`` that makes single requests."""

    def register_node(self, node_id: str, model: Model, *, namespace: str = "") -> None:
        """Let a model of yours answer as a node, under a namespace or only by its own name (spec A12).

        Trust ``routing.SYSTEM_NAMESPACE`` is the operator's to give: name it to vouch for the node.
        """
        check_name(node_id, "node_id")
        self._workspace.own_nodes[node_id] = (check_name(namespace, "namespace") or node_id, model)

    async def make_ai_request(
        self,
        user_id: str,
        prompt: str | Sequence[str],
        *,
        model: str | None = None,
        session_id: str | Literal[0] | None = None,
        routing: Routing | None = None,
        fee: Fee | None = None,
        max_output_tokens: int | None = None,
        timeout_seconds: float = _TIMEOUT_SECONDS,
        key: str | None = None,
    ) -> AIResponse:
        """Ask once, without a chat (spec B3).

        Args:
            user_id: who asks and pays.
            prompt: text, or lines of it.
            model: a name, or the keccak256 of one (spec A11); the configured default if left out.
            session_id: the session that pays; ``None`` for ``get_or_create_session``'s; ``0`` for a new one
                from the user's deposit (spec A4).
            routing: who may answer, how many, and how they agree; one of the operator's nodes by default.
            fee: what is offered by the byte, instead of the model's own price (spec A10).
            max_output_tokens: for each node.
            timeout_seconds: until the nodes have decided.
            key: makes a retry safe (spec D3).

        Raises:
            InsufficientFunds: the balance does not pay all nodes, or there is nothing to open a session from.
            ModelNotSupported, InsufficientFee, ApiNotSupported: not with this model, or not for this fee.
            NoNodesAvailable, ConsensusTimeout, NodeValidationFailed: no answer under this routing.
            ProviderError: the model failed. Whatever failed costs nothing.
            ManagerClosed: the manager is shut down; it costs nothing either.
        """
        asked = AIRequest(prompt, model, session_id, routing, fee, max_output_tokens, timeout_seconds, key)
        return await self.ask(await self.paying_session(check_user(user_id), session_id, asked=asked), asked)

    async def ask(
        self, session: Session, asked: AIRequest, request_id: str | None = None, keep: Keep | None = None
    ) -> AIResponse:
        """``make_ai_request`` paid by a session at hand, within the cap and models of its API key.

        ``request_id`` is given where the request has one already; ``asked.session_id`` is not looked at.
        ``keep`` queues what a retry is to find, together with the payment; then ``asked`` has no key.
        """
        request_id = request_id or new_id("req")
        payer = session.payer
        try:
            with self._workspace.meter.underway.step():
                response = await self._once(session, asked, request_id, keep)
        except PrepaidError as error:
            failed = AIRequestFailed(payer.session_id, payer.owner, request_id, error.code)
            self._workspace.events.emit(failed)
            raise
        cost, answered = response.cost, response.request_id
        received = AIResponseReceived(payer.session_id, payer.owner, answered, response.model, cost)
        self._workspace.events.emit(received)
        return response

    async def make_ai_requests(
        self, user_id: str, requests: Iterable[AIRequest]
    ) -> list[AIResponse | PrepaidError]:
        """A batch, all at once; each succeeds, or stands in the result with its own error (spec B13)."""
        batch = list(requests)
        if len(batch) > _BATCH_MAX:
            raise InvalidRequestError(
                f"A batch of {len(batch)} requests is above the limit of {_BATCH_MAX}.", remedy="Split it."
            )
        outcomes = await asyncio.gather(
            *(self.make_ai_request(user_id, **_arguments(each)) for each in batch), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, PrepaidError):
                raise outcome
        return [outcome for outcome in outcomes if isinstance(outcome, AIResponse | PrepaidError)]

    async def paying_session(
        self,
        user_id: str,
        session_id: str | Literal[0] | None = None,
        *,
        asked: AIRequest | None = None,
        issuer: ApiKeyRecord | None = None,
    ) -> Session:
        """The session that pays for a single request: see ``make_ai_request``.

        Where none is named, the key of what is ``asked`` is the user's, and stays with the session that is
        chosen first. ``issuer`` is the API key that asks, if one does.
        """
        if session_id is None or session_id == 0:
            key = None if asked is None else asked.key
            content = fingerprint("choose", session_id, *(() if asked is None else asked.content))
            return await self.choose_session(
                user_id, key, content, is_new=session_id is not None, issuer=issuer
            )
        if not isinstance(session_id, str):
            raise SessionNotFound(str(session_id))
        return self.get_session(session_id, user_id)

    async def _once(
        self, session: Session, asked: AIRequest, request_id: str, keep: Keep | None
    ) -> AIResponse:
        payer = session.payer
        if asked.key is None:
            return await self._ask(payer, asked, request_id, keep)
        begun = await begin_once(self._workspace.meter, payer, asked.key, *asked.content)
        if isinstance(begun, Replay):
            kept = json.loads(begun.response)
            kept["nodes"] = tuple(kept["nodes"])
            return AIResponse(**{**kept, "available": session.available, "replayed": True})

        async def keep_for_key(response: AIResponse) -> None:
            await begun.settle(Usage(), response=json.dumps(asdict(response), ensure_ascii=False))

        try:
            return await self._ask(payer, asked, request_id, keep_for_key)
        finally:
            await begun.abandon()

    async def _ask(
        self, payer: Payer, asked: AIRequest, request_id: str, keep: Keep | None = None
    ) -> AIResponse:
        try:
            models = self._workspace.models(asked.model or self.settings.default_model)
        except ModelNotSupported as error:
            if payer.models is None:
                raise
            raise ModelNotSupported(error.model, payer.models) from None  # others are not the key's to know
        name = models[0].info.name
        candidates = self._nodes(name, models)
        routing = asked.routing or system_validated_any()
        known = [node for node, _ in candidates.values()]
        nodes = select_nodes(known, routing, name, _APIS, seed=request_id)
        price = None if asked.fee is None else asked.fee.as_price(payer.asset)
        request = ChatRequest(name, _messages(asked.prompt), asked.max_output_tokens)
        questions = {
            node.node_id: Question(payer, request, candidates[node.node_id][1], price=price) for node in nodes
        }

        def response_of(decided: PanelAnswer) -> AIResponse:
            return AIResponse(
                request_id=request_id,
                session_id=payer.session_id,
                model=name,
                text=decided.text,
                nodes=decided.chosen,
                answers={node_id: answer.text for node_id, answer in decided.answers.items()},
                cost=decided.cost,
            )

        decided = await ask_panel(
            self._workspace.turns,
            questions,
            routing,
            asked.timeout_seconds,
            None if keep is None else lambda decided: keep(response_of(decided)),
        )
        available = await self._workspace.meter.available(payer)
        return replace(response_of(decided), available=available)

    def _nodes(self, name: str, models: tuple[Model, ...]) -> dict[str, tuple[Node, tuple[Model, ...]]]:
        """Who serves this model: every upstream, the first with fallbacks, and the nodes registered here."""
        info, serves = models[0].info, frozenset({name})
        found = {info.provider: (Node(info.provider, SYSTEM_NAMESPACE, serves, info.apis), models)}
        for other in self._workspace.catalogue.everywhere(name)[1:]:
            at = other.info
            found[at.provider] = (Node(at.provider, SYSTEM_NAMESPACE, serves, at.apis), (other,))
        for node_id, (namespace, own) in self._workspace.own_nodes.items():
            if own.info.name == name:
                found[node_id] = (Node(node_id, namespace, serves, own.info.apis), (own,))
        return found


def _messages(prompt: str | Sequence[str]) -> tuple[Message, ...]:
    if not isinstance(prompt, str | Sequence):
        raise InvalidRequestError(f"{str(prompt)[:40]!r} is no prompt.", remedy="Pass text, or lines of it.")
    lines = (prompt,) if isinstance(prompt, str) else tuple(prompt)
    text = "\n".join(check_text(line, "prompt") for line in lines)
    return (Message(Role.USER, check_text(text, "prompt")),)


def _arguments(request: AIRequest) -> dict[str, Any]:
    return {name: getattr(request, name) for name in AIRequest.__slots__}
