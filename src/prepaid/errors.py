"""Every error that ``prepaid`` raises, as one tree.

PrepaidError                    .code  .retryable  .remedy
├─ InvalidRequestError
│  ├─ InvalidAmount
│  │  ├─ AmountNotExact         a float
│  │  ├─ AmountNotFinite        NaN, infinity
│  │  ├─ AmountNotPositive      zero or less
│  │  ├─ AmountTooPrecise       more decimals than the currency has
│  │  ├─ AmountTooLarge
│  │  └─ CurrencyMismatch
│  ├─ ValueTooLarge             names, metadata, keys, prompts
│  ├─ NotJson                   metadata that JSON cannot carry
│  ├─ ModelNotSupported · ModelNotPriced · ApiNotSupported · InsufficientFee · BalanceTooLow
│  ├─ FieldNotSupported         a field that nobody knows, or not with this model
│  ├─ MethodNotAllowed          over HTTP: the path exists, not with that method
│  ├─ CodingNotSupported        over HTTP: a body that is packed in another way than gzip or zstd
│  └─ TransitionRefused         a step outside the session's state diagram
├─ AuthenticationError
├─ PermissionDenied            a key of a kind that may not do this
│  └─ ModelNotAllowed · KeyTooNarrow   of an API key with limits
├─ InsufficientFunds            needed, available
│  └─ KeyCapReached             of an API key with a cap
├─ NotFoundError
│  ├─ SessionNotFound · ChatNotFound · HoldNotFound · LeaseNotFound
│  └─ KeyNotFound · RequestNotFound · RouteNotFound
├─ ConflictError
│  ├─ SessionAlreadyClosed · SessionExpired · SessionPaused
│  ├─ AlreadyPooled · PoolFull · PoolEmpty
│  ├─ IdempotencyConflict · HoldResolved · RequestInProgress
│  └─ VersionConflict · KeyEnded
├─ LimitReached
│  ├─ SessionLimitReached · ChatLimitReached · MessageLimitReached · KeyLimitReached
│  ├─ LeaseCapReached · ModelCallLimitReached
│  └─ ConcurrencyLimitReached · ReportLimitReached · BodiesLimitReached · TooManyFailedKeys
├─ RoutingError
│  └─ NoNodesAvailable · ConsensusTimeout · NodeValidationFailed
├─ ProviderError
│  ├─ ProviderTimeout · ProviderResponseInvalid · ProviderStreamBroken · ProviderUsageInvalid
│  └─ UpstreamUnavailable       it failed too often lately, and is left alone for a while
├─ ChainError
│  ├─ ChainUnreachable          no answer from the RPC endpoint
│  ├─ ChainMismatch             another chain, or no contract of ours there
│  ├─ ContractReverted          a contract refused, with an error that has no class here
│  ├─ TransactionReplaced       another transaction took its number
│  ├─ TransactionReorganised    its block was taken back, and it is in no other
│  ├─ TransactionUnconfirmed    not in time; it may be yet
│  ├─ EtherTooLow               the wallet cannot pay for gas
│  ├─ GasPriceTooHigh           above what the wallet's owner allows
│  ├─ ContentUnavailable        a gateway does not have it, or does not answer
│  ├─ ContentMismatch           what came is not what its content id names
│  └─ WalletUnusable
├─ StoreError
│  ├─ StoreBusy · StoreFull · StoreReadOnly · StoreCorrupted · StoreTooNew
│  ├─ StoreMoved · StoreNotEmpty   of a move to another database
│  └─ SessionDataUnreadable
├─ StatementInvalid
├─ ManagerClosed                it was shut down, before or while this was asked
├─ GatewayStopping              over HTTP: it was asked to end
├─ GatewayFull                  over HTTP: its memory for bodies of requests is taken
└─ ConfigError                  at start only

A message names the value, the limit and the remedy. ``code`` is the class name in
snake_case and stays stable; ``retryable`` says whether the same call can succeed later
without the caller changing anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Self

__all__ = [
    "AlreadyPooled",
    "AmountNotExact",
    "AmountNotFinite",
    "AmountNotPositive",
    "AmountTooLarge",
    "AmountTooPrecise",
    "ApiNotSupported",
    "AuthenticationError",
    "BalanceTooLow",
    "BodiesLimitReached",
    "ChainError",
    "ChainMismatch",
    "ChainUnreachable",
    "ChatLimitReached",
    "ChatNotFound",
    "CodingNotSupported",
    "ConcurrencyLimitReached",
    "ConfigError",
    "ConflictError",
    "ConsensusTimeout",
    "ContentMismatch",
    "ContentUnavailable",
    "ContractReverted",
    "CurrencyMismatch",
    "EtherTooLow",
    "FieldNotSupported",
    "GasPriceTooHigh",
    "GatewayFull",
    "GatewayStopping",
    "HoldNotFound",
    "HoldResolved",
    "IdempotencyConflict",
    "InsufficientFee",
    "InsufficientFunds",
    "InvalidAmount",
    "InvalidRequestError",
    "KeyCapReached",
    "KeyEnded",
    "KeyLimitReached",
    "KeyNotFound",
    "KeyTooNarrow",
    "LeaseCapReached",
    "LeaseNotFound",
    "LimitReached",
    "ManagerClosed",
    "MessageLimitReached",
    "MethodNotAllowed",
    "ModelCallLimitReached",
    "ModelNotAllowed",
    "ModelNotPriced",
    "ModelNotSupported",
    "NoNodesAvailable",
    "NodeValidationFailed",
    "NotFoundError",
    "NotJson",
    "PermissionDenied",
    "PoolEmpty",
    "PoolFull",
    "PrepaidError",
    "ProviderError",
    "ProviderResponseInvalid",
    "ProviderStreamBroken",
    "ProviderTimeout",
    "ProviderUsageInvalid",
    "ReportLimitReached",
    "RequestInProgress",
    "RequestNotFound",
    "RouteNotFound",
    "RoutingError",
    "SessionAlreadyClosed",
    "SessionDataUnreadable",
    "SessionExpired",
    "SessionLimitReached",
    "SessionNotFound",
    "SessionPaused",
    "StatementInvalid",
    "StoreBusy",
    "StoreCorrupted",
    "StoreError",
    "StoreFull",
    "StoreMoved",
    "StoreNotEmpty",
    "StoreReadOnly",
    "StoreTooNew",
    "TooManyFailedKeys",
    "TransactionReorganised",
    "TransactionReplaced",
    "TransactionUnconfirmed",
    "TransitionRefused",
    "UpstreamUnavailable",
    "ValueTooLarge",
    "VersionConflict",
    "WalletUnusable",
]

_PARAM_SHOWN_MAX = 200


class PrepaidError(Exception):
    """Base of every error raised here; ``str(error)`` is the whole message, remedy included."""

    code: ClassVar[str] = "prepaid_error"
    retryable: ClassVar[bool] = False
    remedy: str = ""

    def __init_subclass__(cls) -> None:
        cls.code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(self, what: str, *, remedy: str | None = None) -> None:
        if remedy is not None:
            self.remedy = remedy
        self.what = what
        super().__init__(f"{what} {self.remedy}".strip())

    def reworded(self, what: str, remedy: str) -> Self:
        """The same error, numbers and all, told in the words of the realm in which it arose."""
        self.what, self.remedy = what, remedy
        self.args = (f"{what} {remedy}",)
        return self


class InvalidRequestError(PrepaidError):
    """The request can never succeed as it was written."""

    param: str | None = None
    """The field whose fault it is, where there is one: ``messages[0].content``."""


class InvalidAmount(InvalidRequestError):
    """An amount that is no amount: see the subclasses."""


class AmountNotExact(InvalidAmount):
    """A float, or something that is not a number at all."""

    remedy = 'Pass base units as int, a Decimal, or text such as "10 USD".'


class AmountNotFinite(InvalidAmount):
    """NaN or an infinity."""

    remedy = "Pass a finite amount."


class AmountNotPositive(InvalidAmount):
    """Zero or less where money must move."""

    remedy = "Pass an amount above zero."


class AmountTooPrecise(InvalidAmount):
    """More decimals than the currency has."""

    remedy = "Round it to the currency's decimals before you pass it."


class AmountTooLarge(InvalidAmount):
    """Above what one account can hold."""

    remedy = "Split it over several sessions."


class CurrencyMismatch(InvalidAmount):
    """An amount in one currency for an account in another."""

    remedy = "Convert it first; accounts never mix currencies."


class ValueTooLarge(InvalidRequestError):
    """A name, key, prompt, metadata or body above its size limit; a setting's name is its ``limit_name``."""

    def __init__(
        self,
        name: str,
        size: int,
        limit: int,
        unit: str = "bytes",
        *,
        limit_name: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.name, self.size, self.limit, self.limit_name = name, size, limit, limit_name
        setting = f" ({limit_name})" if limit_name else ""
        super().__init__(
            f"{name} has {size} {unit}; the limit is {limit}{setting}.", remedy=remedy or f"Shorten {name}."
        )


class NotJson(InvalidRequestError):
    """Metadata or preferences that JSON cannot carry."""

    remedy = "Use only str, int, float, bool, None, and lists and dicts of them."


class ModelNotSupported(InvalidRequestError):
    """No configured provider knows the model."""

    def __init__(self, model: str, known: tuple[str, ...] = ()) -> None:
        self.model = model
        listed = ", ".join(known[:8]) or "none"
        super().__init__(
            f"Model {model!r} is not configured; configured here: {listed}.",
            remedy="Name one of these, or add an upstream for it to prepaid.toml.",
        )


class ModelNotPriced(ModelNotSupported):
    """The model is known but has no price, or none for all that is billed; what has no price is not sold.

    ``lacks`` is what the known prices do not cover.
    """

    def __init__(self, model: str, lacks: str = "") -> None:
        self.model = model
        self.lacks = lacks
        fees = ", with per_request or per_search and searches_max" if "search" in lacks else ""
        PrepaidError.__init__(
            self,
            f"Model {model!r} has no price{f' that covers {lacks}' if lacks else ''}.",
            remedy=f'Add [prices."{model}"] to prepaid.toml{fees}.',
        )


class ApiNotSupported(InvalidRequestError):
    """The model lacks what the request needs (tools, images, structured output, embeddings)."""

    def __init__(self, model: str, api: str, supported: tuple[str, ...], *, param: str | None = None) -> None:
        self.model, self.api, self.supported, self.param = model, api, supported, param
        super().__init__(
            f"Model {model!r} does not support {api!r}; it supports {', '.join(supported) or 'nothing'}.",
            remedy="Choose another model or leave that part out.",
        )


class FieldNotSupported(InvalidRequestError):
    """A field of a request that no list knows, or not for this model's upstream (spec P1)."""

    def __init__(self, param: str, twin: str | None = None) -> None:
        self.param = param if len(param) <= _PARAM_SHOWN_MAX else f"{param[:_PARAM_SHOWN_MAX]}…"
        super().__init__(
            f"Unrecognized request argument supplied: {self.param}.",
            remedy=f"Write it as {twin}."
            if twin
            else "Leave it out; the operator can allow more with an upstream's dialect or allow_fields.",
        )


class InsufficientFee(InvalidRequestError):
    """The fee offered is below the model's price (spec A11)."""

    def __init__(self, offered: int, price: int, what: str) -> None:
        self.offered, self.price = offered, price
        super().__init__(
            f"The {what} of {offered} base units is below the model's price of {price}.",
            remedy=f"Offer at least {price}.",
        )


class BalanceTooLow(InvalidRequestError):
    """A session is to be opened with less than the configured minimum (spec B1)."""

    def __init__(self, offered: int, minimum: int) -> None:
        self.offered, self.minimum = offered, minimum
        super().__init__(
            f"A session needs at least {minimum} base units; {offered} were offered.",
            remedy=f"Fund it with {minimum} or more, or lower minimum_balance.",
        )


class MethodNotAllowed(InvalidRequestError):
    """Over HTTP: the path exists, but not with that method."""

    def __init__(self, path: str, allowed: tuple[str, ...]) -> None:
        self.path, self.allowed = path, allowed
        super().__init__(f"{path} does not have that method.", remedy=f"It has {', '.join(allowed)}.")


class CodingNotSupported(InvalidRequestError):
    """Over HTTP: the request's body has a ``Content-Encoding`` that is not read here."""

    def __init__(self, coding: str, allowed: tuple[str, ...]) -> None:
        self.coding, self.allowed = coding, allowed
        super().__init__(
            f"The request's body is in the coding {coding!r}.",
            remedy=f"Send it as it is, or in one of: {', '.join(allowed)}.",
        )


class TransitionRefused(InvalidRequestError):
    """A step that the session's state diagram does not have."""

    def __init__(self, session_id: str, state: str, action: str) -> None:
        self.session_id, self.state, self.action = session_id, state, action
        super().__init__(
            f"Session {session_id} is {state} and cannot {action}.",
            remedy="See the state diagram in docs/sessions.md.",
        )


class AuthenticationError(PrepaidError):
    """An API key that is unknown, revoked or malformed."""

    remedy = "Check the key; a lost key cannot be shown again, only replaced."


class PermissionDenied(PrepaidError):
    """A valid API key of a kind that may not do this (docs/security.md)."""

    def __init__(self, kind: str, required: str) -> None:
        self.kind, self.required = kind, required
        super().__init__(f"A key of {kind} may not do this.", remedy=f"Use a key of {required}.")


class ModelNotAllowed(PermissionDenied):
    """The API key has a list of models, and this is not in it."""

    def __init__(self, model: str, allowed: tuple[str, ...]) -> None:
        self.model, self.allowed = model, allowed
        PrepaidError.__init__(
            self,
            f"This API key may not ask model {model!r}; it may ask: {', '.join(allowed[:8]) or 'none'}.",
            remedy="Name one of these, or ask for a key without such a list.",
        )


class KeyTooNarrow(PermissionDenied):
    """An API key with limits of its own may not give what it does not have (spec M1)."""

    def __init__(self, act: str, limits: str) -> None:
        self.act, self.limits = act, limits
        PrepaidError.__init__(
            self,
            f"This API key may not {act}: it is limited to {limits}.",
            remedy="Stay within its limits, or use a key without them.",
        )


class InsufficientFunds(PrepaidError):
    """The account cannot pay for this, not even with a shorter answer.

    Attributes:
        needed: base units the request needs at least.
        available: base units that were free at that moment.
        held: base units reserved by requests in flight; they may come back.
    """

    def __init__(self, needed: int, available: int, held: int = 0) -> None:
        self.needed, self.available, self.held = needed, available, held
        in_flight = f" ({held} more are held by requests in flight)" if held else ""
        super().__init__(
            f"Insufficient balance: {needed} base units needed, {available} available{in_flight}.",
            remedy=f"Fund the session with at least {max(needed - available, 0)} more, or ask for less.",
        )

    @property
    def is_held(self) -> bool:
        """Whether requests in flight hold what is missing: the same call can succeed once they settle."""
        return self.available + self.held >= self.needed


class KeyCapReached(InsufficientFunds):
    """An API key has no room under its spending cap for this.

    Attributes:
        key_id: the key, without its secret.
        cap: base units that it may spend in all.
        needed, available, held: as for the account; ``available`` is what is left under the cap.
    """

    def __init__(self, key_id: str, cap: int, needed: int, available: int, held: int = 0) -> None:
        self.key_id, self.cap = key_id, cap
        self.needed, self.available, self.held = needed, available, held
        in_flight = f" ({held} more are held by its requests in flight)" if held else ""
        PrepaidError.__init__(
            self,
            f"The API key {key_id} may spend {cap} base units: {needed} needed, {available} left{in_flight}.",
            remedy="Ask for less, or ask the session's owner for a key with a higher cap.",
        )


class NotFoundError(PrepaidError):
    """Something that does not exist, or not for this caller."""


class SessionNotFound(NotFoundError):
    """Unknown, or somebody else's: the two cannot be told apart from outside (spec A5)."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        super().__init__(
            f"Session not found: {session_id!r}.",
            remedy="Check the id and the user, or call get_or_create_session().",
        )


class ChatNotFound(NotFoundError):
    """The session has no such chat."""

    def __init__(self, chat_id: str) -> None:
        self.chat_id = chat_id
        super().__init__(f"Chat not found: {chat_id!r}.", remedy="List the session's chats with get_chats().")


class HoldNotFound(NotFoundError):
    """The account has no hold under that key."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(
            f"Hold not found: {key!r}.", remedy="Place the hold before capturing or releasing it."
        )


class LeaseNotFound(NotFoundError):
    """No such lease of a pooled session, or not this taker's, or past its deadline."""

    def __init__(self, lease_id: str) -> None:
        self.lease_id = lease_id
        super().__init__(
            f"Lease not found or run out: {lease_id!r}.",
            remedy="Take a session again with get_from_pool().",
        )


class RouteNotFound(NotFoundError):
    """Over HTTP: no such path."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"There is nothing at {path}.", remedy="See docs/gateway.md for what there is.")


class KeyNotFound(NotFoundError):
    """No such API key, or somebody else's."""

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        super().__init__(f"API key not found: {key_id!r}.", remedy="List the keys that there are.")


class RequestNotFound(NotFoundError):
    """No such stored request, or somebody else's."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        super().__init__(f"Request not found: {request_id!r}.", remedy="Check the id and the user.")


class ConflictError(PrepaidError):
    """The state of things forbids this now."""


class SessionAlreadyClosed(ConflictError):
    """Used or closed again after it was closed."""

    def __init__(self, session_id: str, refunded: int = 0) -> None:
        self.session_id, self.refunded = session_id, refunded
        super().__init__(
            f"Session {session_id} is already closed ({refunded} base units were refunded).",
            remedy="Open another with create_session().",
        )


class SessionExpired(ConflictError):
    """Past its expires_at, or idle beyond session_timeout."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        super().__init__(
            f"Session expired: {session_id}.",
            remedy="Run cleanup_old_sessions() to refund it and create a new one.",
        )


class SessionPaused(ConflictError):
    """Asked to spend while paused."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        super().__init__(f"Session {session_id} is paused.", remedy="Call resume() first.")


class AlreadyPooled(ConflictError):
    """The session is in the pool already (spec B7)."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        super().__init__(f"Session {session_id} is already pooled.", remedy="Take it out first.")


class PoolFull(ConflictError):
    """The pool has reached its size (spec B7)."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(
            f"The pool is full: it holds {size} sessions, which is its limit.",
            remedy="Wait for room, or raise pool_size with update_config().",
        )


class PoolEmpty(ConflictError):
    """No session in the pool is free (spec B8)."""

    retryable = True

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(
            f"The pool has no free session ({size} pooled, all on lease).",
            remedy="Add one with add_to_pool(), or wait until a lease ends.",
        )


class IdempotencyConflict(ConflictError):
    """The key was used before, for something else (guarantee 5)."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(
            f"Idempotency key {key!r} was used before with different content.",
            remedy="Use a new key for a new request.",
        )


class HoldResolved(ConflictError):
    """The hold was captured or released before, differently (guarantee 4)."""

    def __init__(self, key: str, state: str, captured: int) -> None:
        self.key, self.state, self.captured = key, state, captured
        super().__init__(
            f"Hold {key!r} is already {state} ({captured} base units captured).",
            remedy="A hold resolves once; place another.",
        )


class RequestInProgress(ConflictError):
    """The same idempotency key is being worked on right now."""

    retryable = True

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"The request with key {key!r} is still in progress.", remedy="Retry in a moment.")


class VersionConflict(ConflictError):
    """What is to be changed has changed since it was read."""

    def __init__(self, what: str, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(
            f"{what} is at version {found}, not {expected}.",
            remedy="Read it again, and change what is there now.",
        )


class KeyEnded(ConflictError):
    """An API key that was revoked or has expired cannot get another secret."""

    def __init__(self, key_id: str, ended: str) -> None:
        self.key_id, self.ended = key_id, ended
        super().__init__(f"The API key {key_id} is {ended}.", remedy="Create another.")


class LimitReached(PrepaidError):
    """A configured limit on how many there may be."""

    noun: ClassVar[str] = "items"
    advice: ClassVar[str] = "Close some first or raise {limit_name}."

    def __init__(self, limit_name: str, limit: int) -> None:
        self.limit_name, self.limit = limit_name, limit
        super().__init__(
            f"The limit of {limit} {self.noun} ({limit_name}) is reached.",
            remedy=self.advice.format(limit_name=limit_name),
        )


class SessionLimitReached(LimitReached):
    """``max_active_sessions`` or ``max_sessions_per_user`` (spec C1, C11)."""

    noun = "sessions"


class ChatLimitReached(LimitReached):
    """``max_chats_per_session`` (spec C3)."""

    noun = "chats"


class MessageLimitReached(LimitReached):
    """A chat's ``max_messages`` (spec C3)."""

    noun = "messages"
    advice = "Open another chat or raise {limit_name}."


class KeyLimitReached(LimitReached):
    """A session, a user or the operator has as many API keys that work as it may."""

    noun = "API keys"
    advice = "Revoke some first: {limit_name} counts those that work."


class LeaseCapReached(LimitReached):
    """A taker has spent what the pooled session's owner allows (spec B8)."""

    noun = "base units"
    advice = "Give the session back and take another, or ask its owner for a higher {limit_name}."


class ModelCallLimitReached(LimitReached):
    """A turn with tools took more model calls than allowed; those that were answered are paid (spec C16)."""

    noun = "model calls"
    advice = "Ask for less at once, or check whether a tool makes the model repeat itself."


class ConcurrencyLimitReached(LimitReached):
    """Over HTTP: one key has as many requests in flight as it may."""

    retryable = True
    noun = "requests at once"
    advice = "Wait for one to end, or ask the operator to raise {limit_name}."


class TooManyFailedKeys(LimitReached):
    """Over HTTP: too many invalid API keys from one address; another may be tried in ``after_seconds``."""

    retryable = True
    noun = "failed API keys a minute from one address"

    def __init__(self, limit_name: str, limit: int, after_seconds: float) -> None:
        self.after_seconds = after_seconds
        super().__init__(limit_name, limit)
        self.reworded(self.what, f"Check the key, and try again in {after_seconds:.1f} seconds.")


class ReportLimitReached(LimitReached):
    """Over HTTP: one owner's keys have as many reports being made as they may."""

    retryable = True
    noun = "reports at once"
    advice = "Wait for one of them to be answered."


class BodiesLimitReached(LimitReached):
    """Over HTTP: the long bodies of one owner's requests together take as much memory as they may."""

    retryable = True
    noun = "bytes of request bodies at once"
    advice = "Wait for one of your requests to be answered, or send less."


class RoutingError(PrepaidError):
    """No answer could be had under the routing asked for."""


class NoNodesAvailable(RoutingError):
    """Nobody eligible answers (spec A12)."""

    remedy = "Loosen the routing or register more nodes."


class ConsensusTimeout(RoutingError):
    """Not all, or not enough, answers came in time (spec A12)."""

    retryable = True
    remedy = "Retry, ask for a lower redundancy, or allow more time."


class NodeValidationFailed(RoutingError):
    """The nodes' answers do not agree as the aggregation requires."""

    remedy = "Retry, or ask for a lower confidence."


class MayBill(StrEnum):
    """What a provider may bill for an attempt that failed."""

    NOTHING = "nothing"
    """No connection was made, or it refused before there was an answer."""
    DELIVERED = "delivered"
    """It told of its failure inside an answer: the input, and what it had delivered by then."""
    UNKNOWN = "unknown"
    """The request was sent, and how far it got nobody knows: up to all that was held for it."""


class ProviderFault(StrEnum):
    """Who can do something about a provider's failure."""

    REQUEST = "request"
    """Whoever wrote the request: the provider says what is wrong with it."""
    RATE = "rate"
    """Whoever waits: the provider allows no more requests for now."""
    QUOTA = "quota"
    """The operator: the account at the provider is empty, or at its limit."""
    ACCESS = "access"
    """The operator: the credentials, the address or the model's name there are wrong."""
    PROVIDER = "provider"
    """The provider, or the way to it."""


class ProviderError(PrepaidError):
    """The provider refused or failed; the request cost its payer nothing.

    The message is in our words, also where it says what to correct in a request (``fault`` is ``REQUEST``):
    what the provider said stands in ``detail`` alone, without secrets and what it repeats of the request.

    Attributes:
        status: the provider's HTTP status, where it answered with one.
        may_bill: what the provider may bill for it.
        fault: who can do something about it.
        can_resend: whether the same request may be sent there again, because the provider cannot have begun.
        after_seconds: how long the provider asks to wait; ``None`` where it does not.
        told: ``type``, ``param`` and ``code`` of the provider's own error, where clients may have them.
        detail: what happened in full, secrets masked: for logs and operators, never for clients.
    """

    retryable = True
    remedy = "Retry later or configure a fallback model."
    may_bill: MayBill = MayBill.UNKNOWN
    fault: ProviderFault = ProviderFault.PROVIDER
    can_resend: bool = False
    after_seconds: float | None = None
    detail: str = ""

    def __init__(self, what: str, *, status: int | None = None, remedy: str | None = None) -> None:
        self.status = status
        self.told: dict[str, str] = {}
        super().__init__(what, remedy=remedy)


class ProviderTimeout(ProviderError):
    """No answer within the upstream's timeout."""


class ProviderResponseInvalid(ProviderError):
    """An answer that is not what the protocol says."""


class ProviderStreamBroken(ProviderError):
    """The stream ended before the answer did."""


class ProviderUsageInvalid(ProviderError):
    """An app's own model told token counts that cannot be (negative, absurd)."""


class UpstreamUnavailable(ProviderError):
    """The upstream failed too often in a row; it is not asked again before ``after_seconds`` have passed."""

    may_bill = MayBill.NOTHING
    after_seconds: float

    def __init__(self, upstream: str, failures: int, after_seconds: float) -> None:
        self.after_seconds = after_seconds
        super().__init__(
            f"Upstream {upstream!r} failed {failures} times in a row; it is asked again in"
            f" {after_seconds:.1f} seconds."
        )


class ChainError(PrepaidError):
    """Something between us and the chain; what a contract refused for a reason of ours has that class."""


class ChainUnreachable(ChainError):
    """The RPC endpoint does not answer. What was sent may have arrived."""

    retryable = True

    def __init__(self, place: str, why: str, attempts: int) -> None:
        self.place, self.why, self.attempts = place, why, attempts
        super().__init__(
            f"The chain cannot be reached at {place}: {why} (attempt {attempts}).",
            remedy="Check the endpoint, or name another.",
        )


class ChainMismatch(ChainError):
    """Not the chain, or not the contract, that was configured."""

    def __init__(self, what: str, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(
            f"{what} is {found}, not {expected}.",
            remedy="Check the endpoint and the addresses; nothing was sent.",
        )


class ContractReverted(ChainError):
    """A contract refused, and nothing was changed.

    Attributes:
        reason: the contract's error by its name, or what else is known.
        arguments: its values by their names.
    """

    def __init__(self, reason: str, arguments: Mapping[str, Any] | None = None) -> None:
        self.reason, self.arguments = reason, dict(arguments or {})
        told = ", ".join(f"{name}={value}" for name, value in self.arguments.items())
        super().__init__(
            f"The contract refused: {reason}({told})." if told else f"The contract refused: {reason}.",
            remedy="See the error's meaning in contracts/README.md.",
        )


class TransactionReplaced(ChainError):
    """Another transaction of the same wallet took its nonce; it can never be mined."""

    def __init__(self, tx_hash: str, nonce: int) -> None:
        self.tx_hash, self.nonce = tx_hash, nonce
        super().__init__(
            f"Transaction {tx_hash} was replaced: another one has nonce {nonce}.",
            remedy="Look at what the other did before you repeat it; use a wallet in one program only.",
        )


class TransactionReorganised(ChainError):
    """The block it was in is no longer part of the chain, and no other has taken it up in time."""

    def __init__(self, tx_hash: str, block: int) -> None:
        self.tx_hash, self.block = tx_hash, block
        super().__init__(
            f"Transaction {tx_hash} was in block {block}, which the chain took back.",
            remedy="It may be mined again: look for it before you repeat it.",
        )


class TransactionUnconfirmed(ChainError):
    """Not confirmed within the time allowed, whatever was paid for it."""

    def __init__(self, tx_hash: str, seconds: float) -> None:
        self.tx_hash, self.seconds = tx_hash, seconds
        super().__init__(
            f"Transaction {tx_hash} is not confirmed after {seconds:g} seconds.",
            remedy="It may be mined yet: look for it before you repeat it.",
        )


class EtherTooLow(ChainError):
    """The wallet cannot pay for the transaction's gas and value."""

    def __init__(self, address: str, needed_wei: int, available_wei: int) -> None:
        self.address, self.needed_wei, self.available_wei = address, needed_wei, available_wei
        super().__init__(
            f"{address} has {available_wei} wei; the transaction may take {needed_wei}.",
            remedy="Send it some of the chain's own coin.",
        )


class GasPriceTooHigh(ChainError):
    """The chain asks more for gas than the limit that was set."""

    retryable = True

    def __init__(self, price_wei: int, limit_wei: int) -> None:
        self.price_wei, self.limit_wei = price_wei, limit_wei
        super().__init__(
            f"Gas costs {price_wei} wei now; the limit is {limit_wei}.",
            remedy="Wait, or raise gas_price_max_wei.",
        )


class ContentUnavailable(ChainError):
    """Content that an answer names by its id could not be fetched (spec A15)."""

    retryable = True

    def __init__(self, content_id: str, place: str, why: str) -> None:
        self.content_id, self.place, self.why = content_id, place, why
        super().__init__(
            f"Content {content_id} cannot be fetched from {place}: {why}.",
            remedy="Retry, or name another gateway: whoever has it can serve it.",
        )


class ContentMismatch(ChainError):
    """Bytes that are not what their content id names: damaged, or forged (spec A15)."""

    def __init__(self, content_id: str) -> None:
        self.content_id = content_id
        super().__init__(
            f"What came for content {content_id} is something else.",
            remedy="Fetch it from another gateway; do not use what this one served.",
        )


class WalletUnusable(ChainError):
    """A keystore, a key or a signer with which nothing can be signed."""

    remedy = "Check the wallet's file, password, address or signer."


class StoreError(PrepaidError):
    """The database could not do it. Retry with the same key: nothing is ever done twice or in part."""

    retryable = True
    public: str = "The database could not be read or written."
    """What others than the operator may know: the message names files, hosts and users."""


class StoreBusy(StoreError):
    """The queue of writes is full, or another process holds the database too long."""

    public = "The database is busy."
    remedy = "Retry in a moment."


class StoreFull(StoreError):
    """The disk is full."""

    public = "The database's disk is full."
    remedy = "Free some space and retry; nothing was lost or half done."


class StoreReadOnly(StoreError):
    """The file or its directory cannot be written."""

    retryable = False
    public = "The database cannot be written."
    remedy = "Give this user write permission on the file and its directory, or choose another --database."


class StoreCorrupted(StoreError):
    """The file is not a database, or is damaged."""

    retryable = False
    public = "The database is damaged."
    remedy = "Restore a backup; do not delete the file before you have one."


class StoreTooNew(StoreError):
    """The database was written by a newer prepaid."""

    retryable = False
    public = "The database was written by a newer prepaid."

    def __init__(self, found: int, supported: int) -> None:
        self.found, self.supported = found, supported
        super().__init__(
            f"The database has schema version {found}; this prepaid knows up to {supported}.",
            remedy="Upgrade prepaid; downgrading a database is not possible.",
        )


class StoreMoved(StoreError):
    """The database takes no changes: it was moved to another, or is being moved or filled."""

    retryable = False
    public = "The database takes no changes."

    def __init__(self, place: str, why: str) -> None:
        self.place, self.why = place, why
        super().__init__(
            f"The database {place} takes no changes: {why}.",
            remedy="Use the other one once all has arrived; prepaid migrate goes on where it was cut off.",
        )


class StoreNotEmpty(StoreError):
    """A database is to be moved or restored into one that has something in it."""

    retryable = False

    def __init__(self, place: str) -> None:
        self.place = place
        super().__init__(
            f"The database {place} is not empty, and nothing is ever written over.",
            remedy="Name a new file, or an empty database.",
        )


class SessionDataUnreadable(StoreError):
    """A saved session that cannot be read back (spec C10)."""

    retryable = False
    public = "A saved session cannot be read."

    def __init__(self, session_id: str, reason: str) -> None:
        self.session_id = session_id
        super().__init__(
            f"The saved data of session {session_id!r} cannot be read: {reason}.",
            remedy="Delete or restore it; the other sessions are not affected.",
        )


class StatementInvalid(PrepaidError):
    """A statement that does not verify; ``line`` is the first wrong line, counted from 1 (spec D4)."""

    def __init__(self, line: int | None, what: str) -> None:
        self.line = line
        super().__init__(what, remedy="Fetch it again from the operator and compare.")


class ManagerClosed(PrepaidError):
    """The manager was shut down, before this was asked or while it was; what was delivered is paid."""

    def __init__(self) -> None:
        super().__init__("The session manager is shut down.", remedy="Ask through a new SessionManager.")


class GatewayStopping(PrepaidError):
    """Over HTTP: the gateway was told to stop, and this request did not end in time."""

    retryable = True

    def __init__(self) -> None:
        super().__init__("The gateway is stopping.", remedy="Retry in a moment.")


class GatewayFull(PrepaidError):
    """Over HTTP: the long bodies of all requests together take as much memory as they may."""

    retryable = True

    def __init__(self, limit_name: str, limit: int) -> None:
        self.limit_name, self.limit = limit_name, limit
        super().__init__(
            f"The gateway holds {limit} bytes of request bodies ({limit_name}), and takes no more just now.",
            remedy="Retry in a moment.",
        )


class ConfigError(PrepaidError):
    """Wrong configuration, found at start."""
