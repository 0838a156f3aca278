"""One way to use sessions in both realms: on the ledger and on a chain. The settings say which.

An app written against ``Realm`` and ``PaidSession`` changes realm by configuration: amounts are given the
same way, errors are the same classes, and the verbs promise the same. What only one realm has (chats,
streaming, pools, callbacks) is on its own surface: ``SessionManager``, and ``prepaid.chain``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Final, Protocol, Self

from prepaid.config import Settings
from prepaid.errors import ConfigError
from prepaid.models.contract import Model
from prepaid.money import Currency
from prepaid.records.realms import RealmAnswer, RealmRefund, RealmStats
from prepaid.routing import Routing
from prepaid.sessions.ai_requests import AIRequest
from prepaid.sessions.manager import SessionManager
from prepaid.sessions.session import Session

__all__ = ["LedgerRealm", "PaidSession", "Realm", "open_realm"]

Amount = int | Decimal | str
_TIMEOUT_SECONDS: Final = 60.0


class PaidSession(Protocol):
    """A session in either realm."""

    @property
    def session_id(self) -> str:
        """Its id; what it looks like is the realm's."""

    async def fund(self, amount: Amount) -> int:
        """Add money; what is free then, in base units.

        Raises:
            SessionNotFound, SessionAlreadyClosed: it takes none.
            InvalidAmount: one of its subclasses.
        """

    async def request(
        self,
        prompt: str | Sequence[str],
        *,
        model: str | None = None,
        routing: Routing | None = None,
        timeout_seconds: float = _TIMEOUT_SECONDS,
    ) -> RealmAnswer:
        """Ask, holding the worst case first; the answer, and what it cost.

        Raises:
            InsufficientFunds: the session does not pay for it; ``needed`` and ``available`` say by how much.
            SessionAlreadyClosed: it was closed.
            ModelNotSupported: nobody offers the model.
            RoutingError: no answer under this routing, or not in time.
        """

    async def close(self) -> RealmRefund:
        """End it, and have what is left paid back.

        Raises:
            SessionAlreadyClosed: a second time.
        """

    async def stats(self) -> RealmStats:
        """The session in numbers, as of now."""


class Realm(Protocol):
    """Where sessions are, in the hands of one user. ``async with`` closes what is open at the end."""

    @property
    def asset(self) -> Currency:
        """What sessions are paid in."""

    async def open(self, amount: Amount) -> PaidSession:
        """Open a session with this much: ``"10 USDT"``, a ``Decimal``, base units; never a float.

        Raises:
            InvalidAmount: one of its subclasses.
        """

    async def find(self, session_id: str) -> PaidSession:
        """A session of this user's.

        Raises:
            SessionNotFound: unknown, or somebody else's.
        """

    async def aclose(self) -> None:
        """Close connections and files; sessions stay open."""

    async def __aenter__(self) -> Self:
        """Nothing more than this."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """``aclose``."""


async def open_realm(
    settings: Settings | None = None, *, user_id: str | None = None, models: Iterable[Model] = ()
) -> Realm:
    """The realm that the settings name.

    ``user_id`` and ``models`` are the ledger's: on a chain the user is the wallet, and nodes have the models.

    Raises:
        ConfigError: a wrong setting; on the ledger no ``user_id``.
        ChainError: the chain, the contract or the wallet cannot be used.
    """
    settings = settings or Settings()
    if settings.realm == "chain":
        try:
            from prepaid.chain.realm import ChainRealm  # noqa: PLC0415 -- web3 takes a second to import
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"Chain sessions need {error.name}.", remedy="Install prepaid[chain]."
            ) from None
        return await ChainRealm.connect(settings.chain, settings.default_model)
    if user_id is None:
        raise ConfigError("Ledger sessions need a user_id.", remedy="Say whose sessions they are.")
    return LedgerRealm(SessionManager(settings=settings, models=models), user_id)


class LedgerSession:
    """A session on the ledger, behind the verbs of both realms; ``session`` has all the others."""

    def __init__(self, manager: SessionManager, session: Session) -> None:
        self.session = session
        self._manager = manager

    @property
    def session_id(self) -> str:
        """Its id."""
        return self.session.session_id

    async def fund(self, amount: Amount) -> int:
        """Add money; what is free then."""
        return (await self.session.fund(amount)).available

    async def request(
        self,
        prompt: str | Sequence[str],
        *,
        model: str | None = None,
        routing: Routing | None = None,
        timeout_seconds: float = _TIMEOUT_SECONDS,
    ) -> RealmAnswer:
        """Ask once, without a chat."""
        asked = AIRequest(prompt, model, routing=routing, timeout_seconds=timeout_seconds)
        answer = await self._manager.ask(self.session, asked)
        return RealmAnswer(answer.request_id, self.session_id, answer.model, answer.text, answer.cost)

    async def close(self) -> RealmRefund:
        """End it; what is free is refunded at once."""
        closed = await self.session.close()
        return RealmRefund(self.session_id, closed.refunded, closed.held)

    async def stats(self) -> RealmStats:
        """The session in numbers."""
        stats = await self.session.get_stats()
        is_open = stats.state in {"active", "paused"}
        return RealmStats(self.session_id, stats.user_id, stats.available, stats.held, is_open)


class LedgerRealm:
    """One user's sessions on the ledger; ``manager`` is closed with it."""

    def __init__(self, manager: SessionManager, user_id: str) -> None:
        self.manager = manager
        self._user_id = user_id

    @property
    def asset(self) -> Currency:
        """The currency that accounts are kept in."""
        return self.manager.settings.asset

    async def open(self, amount: Amount) -> LedgerSession:
        """Open a session with this much."""
        return LedgerSession(self.manager, await self.manager.create_session(self._user_id, amount))

    async def find(self, session_id: str) -> LedgerSession:
        """A session of the user's."""
        return LedgerSession(self.manager, self.manager.get_session(session_id, self._user_id))

    async def aclose(self) -> None:
        """Close the database; sessions stay open in it."""
        await self.manager.shutdown()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
