"""Chain sessions behind the verbs that ledger sessions have too: see ``prepaid.realms``."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from prepaid.chain.ai import AiContract, Settled
from prepaid.chain.connection import Chain
from prepaid.chain.external_signer import ExternalSigner
from prepaid.chain.opening import open_ai_contract, open_chain, open_wallet
from prepaid.chain.tokens import Amount
from prepaid.chain.values import DtnRequest, ResponseStatus, decode_text, encode_prompt
from prepaid.chain.wallets import Wallet
from prepaid.config import ChainSettings
from prepaid.errors import ConsensusTimeout, NodeValidationFailed, SessionNotFound
from prepaid.money import Currency
from prepaid.records.realms import RealmAnswer, RealmRefund, RealmStats
from prepaid.routing import Routing, system_validated_any

__all__ = ["ChainRealm", "ChainSession", "answered_text"]

_TIMEOUT_SECONDS: Final = 60.0


class ChainSession:
    """A session on the AI contract. It is the wallet's, and nobody else can use it."""

    def __init__(self, ai: AiContract, number: int, model: str) -> None:
        self._ai = ai
        self._number = number
        self._model = model

    @property
    def session_id(self) -> str:
        """Its id, as text."""
        return str(self._number)

    async def fund(self, amount: Amount) -> int:
        """Add money; what is free then."""
        await self._ai.fund_session(self._number, amount)
        return (await self._ai.session_of(self._number)).available

    async def request(
        self,
        prompt: str | Sequence[str],
        *,
        model: str | None = None,
        routing: Routing | None = None,
        timeout_seconds: float = _TIMEOUT_SECONDS,
    ) -> RealmAnswer:
        """Ask at the model's price, and wait for the answer.

        A request that is not answered in time stays held until its deadline; then anyone may ``expire`` it.
        """
        name, lines = model or self._model, (prompt,) if isinstance(prompt, str) else tuple(prompt)
        price = await self._ai.model_of(name)
        asked = DtnRequest(
            encode_prompt(*lines), price.fee_per_byte_req, price.fee_per_byte_res, price.total_fee_per_res
        )
        made = await self._ai.request(self._number, name, routing or system_validated_any(), asked)
        settled = await self._ai.settled(made, timeout_seconds=timeout_seconds)
        text = answered_text(settled)
        return RealmAnswer(made.request_id, self.session_id, name, text, settled.cost)

    async def close(self) -> RealmRefund:
        """End it; what is free is paid to the wallet at once."""
        closed = await self._ai.close_user_session(self._number)
        return RealmRefund(self.session_id, closed.refund, closed.held)

    async def stats(self) -> RealmStats:
        """The session in numbers, as the chain has it now."""
        books = await self._ai.session_of(self._number)
        return RealmStats(self.session_id, books.owner, books.available, books.held, books.is_open)


def answered_text(settled: Settled) -> str:
    """The text that a request was answered with.

    Raises:
        ConsensusTimeout: it expired.
        NodeValidationFailed: nodes could not answer it.
        InvalidRequestError: the answer is no text.
    """
    response = settled.response
    if response.status is ResponseStatus.TIMEOUT:
        raise ConsensusTimeout(f"Request {settled.request_id} expired unanswered; it cost nothing.")
    if response.status is ResponseStatus.FAILED:
        raise NodeValidationFailed(
            f"No node could answer request {settled.request_id}: {response.message[:200]}.",
            remedy="Change the request; reading it is what it cost.",
        )
    return decode_text(response.response)


class ChainRealm:
    """Sessions of one wallet on one AI contract; ``ChainRealm.connect`` opens what the settings name."""

    def __init__(self, chain: Chain, ai: AiContract, wallet: Wallet, model: str) -> None:
        self.ai = ai
        self._chain = chain
        self._wallet = wallet
        self._model = model

    @classmethod
    async def connect(cls, settings: ChainSettings, model: str) -> Self:
        """The configured contract, in the hands of the configured wallet; ``model`` is asked by default.

        Raises:
            ConfigError, WalletUnusable, ChainUnreachable, ChainMismatch: as they say.
        """
        chain = await open_chain(settings)
        try:
            wallet = await open_wallet(settings)
            return cls(chain, await open_ai_contract(settings, chain, wallet), wallet, model)
        except BaseException:
            await chain.aclose()
            raise

    @property
    def asset(self) -> Currency:
        """The token, and its decimals."""
        return self.ai.token.currency

    async def open(self, amount: Amount) -> ChainSession:
        """Start a session with ``amount`` of the wallet's tokens."""
        return self._session(await self.ai.start_user_session(amount))

    async def find(self, session_id: str) -> ChainSession:
        """A session of the wallet's, closed ones too.

        Raises:
            SessionNotFound: unknown, or somebody else's.
        """
        number = int(session_id) if session_id.isascii() and session_id.isdigit() else -1
        if number < 0 or (await self.ai.session_of(number)).owner != self._wallet.address:
            raise SessionNotFound(session_id)
        return self._session(number)

    async def aclose(self) -> None:
        """Close the connections; sessions stay open on the chain."""
        await self._chain.aclose()
        if isinstance(self._wallet, ExternalSigner):
            await self._wallet.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _session(self, number: int) -> ChainSession:
        return ChainSession(self.ai, number, self._model)
