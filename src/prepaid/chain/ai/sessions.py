"""Sessions on the AI contract: started, funded, closed, looked at (spec A1, A2, A5 to A9)."""

from __future__ import annotations

from dataclasses import dataclass

from prepaid.chain.ai.part import Part
from prepaid.chain.connection import as_address
from prepaid.chain.tokens import Amount, Authorization
from prepaid.errors import SessionNotFound

__all__ = ["Claimable", "ClosedSession", "SessionBooks", "Sessions"]

_IDS_MAX = 2**256


@dataclass(frozen=True, slots=True)
class SessionBooks:
    """What a session has, in base units: free, and held by requests in flight."""

    session_id: int
    owner: str
    available: int
    held: int
    is_open: bool


@dataclass(frozen=True, slots=True)
class ClosedSession:
    """What a close paid back at once, and what is held and follows as requests settle; base units."""

    session_id: int
    refund: int
    held: int


@dataclass(frozen=True, slots=True)
class Claimable:
    """Refunds that could not be paid: base units of the token, and wei of callbacks' gas."""

    tokens: int
    ether_wei: int


class Sessions(Part):
    """The part of ``AiContract`` that has to do with money going in and coming out."""

    async def fee_token(self) -> str:
        """The ERC-20 that sessions are paid in."""
        return str(await self.contract.call("feeToken"))

    async def fee_target(self) -> str:
        """The wallet's own deposit address: what is sent there can only become a session of the wallet's."""
        return await self.fee_target_of(self.contract.caller)

    async def fee_target_of(self, owner: str) -> str:
        """The deposit address of ``owner``."""
        return str(await self.contract.call("feeTargetOf", as_address(owner)))

    async def deposit(self, amount: Amount) -> str:
        """Send tokens to the wallet's deposit address; returns the address (spec A2).

        Raises:
            InsufficientFunds: the wallet has less.
        """
        target = await self.fee_target()
        await self.token.transfer(target, amount)
        return target

    async def start_user_session(self, amount: Amount | None = None) -> int:
        """Start a session with what was deposited, or with ``amount`` by allowance; its id (spec A2).

        The allowance is given on the way, where it is not large enough.

        Raises:
            InsufficientFunds: nothing was deposited, or the wallet has less.
        """
        if amount is None:
            return await self._started("startUserSession()")
        units = self.token.units(amount)
        await self.token.allow(self.address, units)
        return await self._started("startUserSession(uint256)", units)

    async def start_user_session_with_permit(self, amount: Amount) -> int:
        """Start a session with an allowance that is signed, not sent (EIP-2612); its id.

        Raises:
            ChainMismatch: the token knows no permits.
        """
        signed = await self.token.permit(self.address, amount)
        terms = (signed.value, signed.deadline, signed.v, signed.r, signed.s)
        return await self._started("startUserSessionWithPermit", *terms)

    async def authorize(self, amount: Amount) -> Authorization:
        """Sign a payment into a session of the wallet's own (EIP-3009); anybody may start it.

        Raises:
            ChainMismatch: the token knows no such payments.
        """
        return await self.token.authorize(self.address, amount)

    async def start_user_session_with_authorization(self, signed: Authorization) -> int:
        """Start a session of whoever signed; its id. This wallet only pays the gas."""
        return await self._started(
            "startUserSessionWithAuthorization",
            signed.owner,
            signed.value,
            signed.valid_after,
            signed.valid_before,
            signed.nonce,
            signed.signature,
        )

    async def fund_session(self, session_id: int, amount: Amount | None = None) -> int:
        """Add ``amount`` by allowance, or all that was deposited; what was added, in base units.

        Raises:
            SessionNotFound, SessionAlreadyClosed: it takes no money.
            InsufficientFunds: nothing was deposited, or the wallet has less.
        """
        if amount is None:
            receipt = await self.contract.send("fundSession(uint256)", checked_id(session_id))
        else:
            units = self.token.units(amount)
            await self.token.allow(self.address, units)
            receipt = await self.contract.send("fundSession(uint256,uint256)", checked_id(session_id), units)
        return int(self.contract.events(receipt, "SessionFunded")[0]["amount"])

    async def close_user_session(self, session_id: int) -> ClosedSession:
        """Close the wallet's session for good; what is free is paid back in the same transaction (spec A6).

        Raises:
            SessionNotFound, SessionAlreadyClosed: see these.
        """
        receipt = await self.contract.send("closeUserSession", checked_id(session_id))
        told = self.contract.events(receipt, "SessionClosed")[0]
        return ClosedSession(session_id, told["refund"], told["held"])

    async def session_of(self, session_id: int) -> SessionBooks:
        """What a session has now (spec A7).

        Raises:
            SessionNotFound: there is none.
        """
        owner, available, held, is_open = await self.contract.call("sessionOf", checked_id(session_id))
        if int(owner, 16) == 0:
            raise SessionNotFound(str(session_id))
        return SessionBooks(session_id, owner, available, held, is_open)

    async def claimable(self, account: str | None = None) -> Claimable:
        """Refunds that wait for somebody, by default for the wallet."""
        whose = self.contract.caller if account is None else as_address(account)
        return Claimable(*await self.contract.call("claimable", whose))

    async def claim_refund(self, to: str | None = None) -> Claimable:
        """Have the wallet's refunds that wait paid, to ``to`` or to the wallet; what was paid.

        Raises:
            ContractReverted: nothing waits, or it cannot be paid there.
        """
        receipt = await self.contract.send("claimRefund", as_address(to or self.contract.caller))
        told = self.contract.events(receipt, "RefundClaimed")[0]
        return Claimable(told["tokens"], told["etherWei"])

    async def _started(self, function: str, *arguments: object) -> int:
        receipt = await self.contract.send(function, *arguments)
        return int(self.contract.events(receipt, "SessionStarted")[0]["sessionId"])


def checked_id(session_id: int) -> int:
    """A session id that the contract can be asked about.

    Raises:
        SessionNotFound: it is none at all.
    """
    if not isinstance(session_id, int) or isinstance(session_id, bool) or not 0 <= session_id < _IDS_MAX:
        raise SessionNotFound(str(session_id)[:80])
    return session_id
