"""One chain, as seen through one endpoint: which chain it is, what its head is, and how to ask it.

Keep one ``Chain`` for each chain and process: wallets count their transactions here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from eth_typing import ChecksumAddress
from eth_utils.address import is_address, to_checksum_address
from web3 import AsyncWeb3
from web3.contract import AsyncContract
from web3.providers.async_base import AsyncBaseProvider
from web3.types import BlockIdentifier, RPCEndpoint

from prepaid.chain.artefacts import Artefact
from prepaid.chain.nonces import Lane
from prepaid.chain.rpc import HttpRpc, Patience, Rpc
from prepaid.chain.socket import SocketRpc
from prepaid.chain.wire import Block, Receipt, read_block, read_receipt
from prepaid.errors import ChainError, ChainMismatch, ConfigError, InvalidRequestError

__all__ = ["Chain", "as_address"]

T = TypeVar("T")

_POLL_SECONDS: Final = 0.5
_NOTHING: Final = b""


class Chain:
    """A connection; ``async with await Chain.connect(url) as chain:``."""

    def __init__(self, provider: AsyncBaseProvider, chain_id: int, poll_seconds: float) -> None:
        self.provider = provider
        self.chain_id = chain_id
        self.w3: AsyncWeb3[Any] = AsyncWeb3(provider)
        self.w3.provider.global_ccip_read_enabled = (
            False  # a contract cannot make us call a URL of its choice
        )
        self._poll_seconds = poll_seconds
        self._polling: asyncio.Task[Block] | None = None
        self._shared: dict[str, tuple[float, asyncio.Future[Any]]] = {}
        self._stirred_at = 0.0
        self._last: Block | None = None
        self._for_another: set[asyncio.Future[Block]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._lanes: dict[str, Lane] = {}

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        chain_id: int | None = None,
        patience: Patience | None = None,
        poll_seconds: float = _POLL_SECONDS,
    ) -> Self:
        """Connect over HTTP or WebSocket, and see that it is the chain with ``chain_id``, where given.

        Raises:
            ChainUnreachable: no answer.
            ChainMismatch: it is another chain.
        """
        patience = patience or Patience()
        provider: Rpc
        if url.startswith(("http://", "https://")):
            provider = HttpRpc(url, patience)
        elif url.startswith(("ws://", "wss://")):
            provider = SocketRpc(url, patience)
        else:
            raise ConfigError(
                f"An RPC endpoint cannot begin with {url.partition(':')[0][:16]!r}.",
                remedy="Name one with http://, https://, ws:// or wss://.",
            )
        try:
            return await cls.over(provider, chain_id=chain_id, poll_seconds=poll_seconds)
        except BaseException:
            await provider.disconnect()
            raise

    @classmethod
    async def over(
        cls,
        provider: AsyncBaseProvider,
        *,
        chain_id: int | None = None,
        poll_seconds: float = _POLL_SECONDS,
    ) -> Self:
        """Use any provider of web3, such as one within this process.

        Raises:
            ChainMismatch: it is another chain.
        """
        found = await AsyncWeb3(provider).eth.chain_id
        if chain_id is not None and found != chain_id:
            raise ChainMismatch("The chain's id", str(chain_id), str(found))
        return cls(provider, found, poll_seconds)

    async def head(self) -> int:
        """The newest block's number, asked for now."""
        return int(await self.w3.eth.block_number)

    async def time(self) -> int:
        """The newest block's time, by which contracts judge; Unix seconds."""
        return (await self.newest()).timestamp

    async def newest(self) -> Block:
        """The newest block, asked for now.

        Raises:
            ChainError: the endpoint does not say.
        """
        method = RPCEndpoint("eth_getBlockByNumber")
        answer = await self.provider.make_request(method, ["latest", False])
        said = answer.get("result")
        if said is None:
            raise ChainError(
                f"The endpoint does not tell its newest block: {str(answer.get('error'))[:200]}.",
                remedy="Use another endpoint.",
            )
        block = read_block(said)
        if self._last is None or self._last.hash != block.hash:
            self._last = block
            self.stir()
            for waiter in self._for_another:
                if not waiter.done():
                    waiter.set_result(block)
        return block

    def stir(self) -> None:
        """Something changed: what was said before is not ``fresh`` any more."""
        self._stirred_at = time.monotonic()

    async def block_after(self, known: str, seconds: float) -> Block | None:
        """The newest block once it is another than ``known``, by its hash; ``None`` if none comes in time.

        All who wait share one question, and are woken only by a block.

        Raises:
            ChainError: the endpoint does not say.
        """
        if self._last is not None and self._last.hash != known:
            return self._last
        waiter: asyncio.Future[Block] = asyncio.get_running_loop().create_future()
        self._for_another.add(waiter)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_out())
        try:
            async with asyncio.timeout(seconds):
                return await waiter
        except TimeoutError:
            return None
        finally:
            self._for_another.discard(waiter)

    async def next_head(self) -> int:
        """The newest block's number after a while; all who wait share one question."""
        return (await self.next_block()).number

    async def next_block(self) -> Block:
        """The newest block after a while; all who wait share one question."""
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())
        return await asyncio.shield(self._polling)

    async def recent_block(self) -> Block:
        """The newest block, asked for not longer ago than we wait between two polls."""
        return await self.shared("block", self.newest)

    async def fresh(self, what: str, ask: Callable[[], Awaitable[T]]) -> T:
        """As ``shared``, but nothing that was said before the newest block or our newest transaction."""
        return await self.shared(what, ask, self._stirred_at)

    async def shared(self, what: str, ask: Callable[[], Awaitable[T]], since: float = 0.0) -> T:
        """What ``ask`` says, or said to another task not longer ago than we wait between two polls.

        What was asked before ``since``, by the monotonic clock, is asked again.
        """
        now = time.monotonic()
        asked_at, asked = self._shared.get(what, (0.0, None))
        is_void = asked is None or (asked.done() and (asked.cancelled() or asked.exception() is not None))
        if asked is None or is_void or asked_at < since or now - asked_at > self._poll_seconds:
            asked = asyncio.ensure_future(ask())
            self._shared[what] = (now, asked)
        answer: T = await asyncio.shield(asked)
        return answer

    async def quantity(self, method: str, *params: Any) -> int | None:
        """The number that a method answers with, quicker than through web3; ``None`` if it answered an error.

        Ask web3 again then: it has the words for it.

        Raises:
            ChainUnreachable: no answer.
        """
        told = (await self.provider.make_request(RPCEndpoint(method), list(params))).get("result")
        if isinstance(told, str):
            return int(told, 16)
        return told if isinstance(told, int) else None

    async def transactions_of(self, address: str, block: BlockIdentifier) -> int:
        """How many transactions the account has sent; with those that wait, where ``block`` is "pending"."""
        told = await self.quantity("eth_getTransactionCount", address, block)
        if told is None:
            return int(await self.w3.eth.get_transaction_count(as_address(address), block))
        return told

    async def receipt(self, tx_hash: str) -> Receipt | None:
        """The receipt of a transaction that is in a block."""
        method = RPCEndpoint("eth_getTransactionReceipt")
        said = (await self.provider.make_request(method, [tx_hash])).get("result")
        return None if said is None else read_receipt(said)  # an error: geth has not indexed it yet

    async def code_at(self, address: str, block: BlockIdentifier = "latest") -> bytes:
        """The contract's code; empty where there is none."""
        return bytes(await self.w3.eth.get_code(as_address(address), block))

    async def require_code(self, address: str, what: str) -> None:
        """See that there is a contract.

        Raises:
            ChainMismatch: there is none.
        """
        if await self.code_at(address) == _NOTHING:
            raise ChainMismatch(f"What is at {address} on chain {self.chain_id}", what, "no contract")

    def contract(self, made: Artefact, address: str) -> AsyncContract:
        """The contract at an address, as web3 has it."""
        return self.w3.eth.contract(address=as_address(address), abi=made.abi)

    def lane(self, address: str) -> Lane:
        """Where the transactions of one wallet are numbered."""
        return self._lanes.setdefault(address, Lane())

    async def aclose(self) -> None:
        """Close what is open."""
        polling: list[asyncio.Task[Any]] = [
            each for each in (self._polling, self._looking) if each is not None
        ]
        asked: list[asyncio.Future[Any]] = [*polling, *(each for _, each in self._shared.values())]
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        if isinstance(self.provider, Rpc):
            await self.provider.disconnect()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _look_out(self) -> None:
        """Ask for the newest block as long as somebody waits for another."""
        while self._for_another:
            try:
                await self._poll()
            except ChainError as error:
                for waiter in self._for_another:
                    if not waiter.done():
                        waiter.set_exception(error)

    async def _poll(self) -> Block:
        await asyncio.sleep(self._poll_seconds)
        return await self.newest()


def as_address(text: str) -> ChecksumAddress:
    """The address with its checksum.

    Raises:
        InvalidRequestError: it is none, or its checksum is wrong.
    """
    if not isinstance(text, str) or not is_address(text):
        raise InvalidRequestError(
            f"{str(text)[:48]!r} is no address.",
            remedy="Pass 0x and 40 hexadecimal digits, checksum and all.",
        )
    return to_checksum_address(text)
