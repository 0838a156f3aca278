"""Opens what ``[chain]`` names, does a command's work on it, and tells what the chain refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from prepaid import errors
from prepaid.cli.failures import Failure
from prepaid.errors import ConfigError, PrepaidError

if TYPE_CHECKING:
    from prepaid.chain.ai import AiContract
    from prepaid.config import ChainSettings

__all__ = ["BLOCKS_BACK", "BlocksBack", "SinceBlock", "on_chain", "require_extra"]

T = TypeVar("T")

BLOCKS_BACK: Final = 50_000

BlocksBack = Annotated[
    int,
    typer.Option("--blocks-back", min=0, metavar="BLOCKS", help="How far back to look for the request."),
]
SinceBlock = Annotated[
    int,
    typer.Option(
        "--since-block", min=0, metavar="BLOCK", help="Look no further back: quicker on long chains."
    ),
]

_REMEDIES: Final[dict[type[PrepaidError], str]] = {
    errors.ConsensusTimeout: "Look again: prepaid chain response REQUEST_ID --wait SECONDS. Once its deadline"
    " is past, prepaid chain expire REQUEST_ID gives back what it holds.",
    errors.RequestNotFound: "Check the id and the contract, or look further back with --blocks-back.",
    errors.SessionAlreadyClosed: 'Start another: prepaid chain session start "10 USDT"',
    errors.SessionNotFound: "See which there are: prepaid chain session list",
}
"""The command that helps, where the error's own words are of the ledger or of Python."""


def require_extra(name: str, module: str | None) -> ConfigError:
    """What to tell where an extra is not installed."""
    return ConfigError(f"{module} is not installed.", remedy=f'pip install "prepaid[{name}]"')


def on_chain(work: Callable[[AiContract], Awaitable[T]], *, is_signing: bool = True) -> T:
    """``work`` with the configured AI contract, in the configured wallet's hands unless it only looks.

    Raises:
        ConfigError, ChainError: it cannot be opened.
        Failure: the work was refused; amounts in it are the token's.
    """
    from prepaid.config import Settings

    try:
        return asyncio.run(_connected(Settings().chain, work, is_signing=is_signing))
    except ModuleNotFoundError as error:
        raise require_extra("chain", error.name) from None


async def _connected(
    settings: ChainSettings, work: Callable[[AiContract], Awaitable[T]], *, is_signing: bool
) -> T:
    from prepaid.chain.external_signer import ExternalSigner
    from prepaid.chain.opening import open_ai_contract, open_chain, open_wallet

    async with await open_chain(settings) as chain:
        wallet = await open_wallet(settings) if is_signing else None
        try:
            ai = await open_ai_contract(settings, chain, wallet)
            try:
                return await work(ai)
            except PrepaidError as error:
                raise Failure(error, ai.token.currency, _REMEDIES) from error
        finally:
            if isinstance(wallet, ExternalSigner):
                await wallet.aclose()
