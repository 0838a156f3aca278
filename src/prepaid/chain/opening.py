"""What ``[chain]`` in the settings says, opened: the connection, the wallet, the contracts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from prepaid.chain.ai import AiContract
from prepaid.chain.connection import Chain
from prepaid.chain.external_signer import ExternalSigner
from prepaid.chain.sending import Policy
from prepaid.chain.wallets import (
    PASSWORD_VARIABLE,
    KeyWallet,
    Password,
    Wallet,
    password_from_environment,
    password_from_file,
    password_from_prompt,
)
from prepaid.config import ChainSettings
from prepaid.errors import ConfigError

__all__ = ["open_ai_contract", "open_chain", "open_wallet", "policy_of"]


async def open_chain(settings: ChainSettings) -> Chain:
    """The configured chain.

    Raises:
        ConfigError: no ``rpc_url``.
        ChainUnreachable, ChainMismatch: it does not answer, or is another.
    """
    if settings.rpc_url is None:
        raise ConfigError("chain.rpc_url is missing.", remedy="Name the chain's endpoint.")
    url = settings.rpc_url.get_secret_value()
    return await Chain.connect(url, chain_id=settings.chain_id, poll_seconds=settings.poll_seconds)


async def open_wallet(settings: ChainSettings) -> Wallet:
    """The configured wallet: a keystore, an external signer, or the key in the environment.

    Raises:
        WalletUnusable: it cannot be opened.
        ConfigError: a signer without an address.
    """
    if settings.keystore is not None:
        return await KeyWallet.from_keystore(Path(settings.keystore), _password(settings))
    if settings.signer_url is not None:
        if settings.signer_address is None:
            raise ConfigError("chain.signer_address is missing.", remedy="Say whose transactions it signs.")
        return ExternalSigner(settings.signer_url.get_secret_value(), settings.signer_address)
    return KeyWallet.from_environment()


async def open_ai_contract(settings: ChainSettings, chain: Chain, wallet: Wallet | None = None) -> AiContract:
    """The configured AI contract.

    Raises:
        ConfigError: no ``ai_contract``.
        ChainMismatch: something else is there.
    """
    if settings.ai_contract is None:
        raise ConfigError("chain.ai_contract is missing.", remedy="Name the AI contract's address.")
    return await AiContract.at(chain, settings.ai_contract, wallet, policy_of(settings))


def policy_of(settings: ChainSettings) -> Policy:
    """How the settings want transactions seen through."""
    return Policy(
        confirmations=settings.confirmations,
        timeout_seconds=settings.timeout_seconds,
        bump_after_seconds=settings.bump_after_seconds,
        gas_price_max_wei=settings.gas_price_max_wei,
    )


def _password(settings: ChainSettings) -> Password:
    if settings.password_file is not None:
        return password_from_file(Path(settings.password_file))
    if PASSWORD_VARIABLE in os.environ or not sys.stdin.isatty():
        return password_from_environment()
    return password_from_prompt()
