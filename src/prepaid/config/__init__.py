"""Settings: read once, frozen, and refused at start with the place where they are wrong.

What is passed as an argument wins over ``PREPAID_*`` in the environment (tables are joined by two
underscores: ``PREPAID_SESSIONS__POOL_SIZE``), which wins over ``prepaid.toml`` in the working
directory (or the file that ``PREPAID_CONFIG`` names), which wins over the defaults.

This module imports pydantic-settings, so import it where settings are made, not at the top.
"""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from prepaid.config.problems import ENV_PREFIX, explain, read_toml, where
from prepaid.config.sections import (
    BaseUnits,
    ChainSettings,
    Count,
    GatewaySettings,
    NodeSettings,
    PriceSettings,
    Seconds,
    SessionSettings,
    TelemetrySettings,
    UpstreamSettings,
)
from prepaid.errors import ConfigError, CurrencyMismatch
from prepaid.money import AMOUNT_MAX, Currency, currency

__all__ = [
    "ChainSettings",
    "GatewaySettings",
    "NodeSettings",
    "PriceSettings",
    "SessionSettings",
    "Settings",
    "TelemetrySettings",
    "UpstreamSettings",
]

FILE_NAME: Final = "prepaid.toml"
OFFLINE: Final = "offline"
_SERVERS: Final = ("postgresql://", "postgres://")


class Settings(BaseSettings):
    """Everything that can be configured; see ``docs/configuration.md``.

    Raises:
        ConfigError: naming the file and line (or variable, or argument), the value, the limit and the remedy.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        validate_default=True,
    )

    database: str = Field(default="prepaid.db", min_length=1)
    currency: str = "USD"
    default_model: str = OFFLINE
    default_output_tokens: Count = 1024
    context_messages: Count = 50
    hold_seconds: Count = 30
    sweep_seconds: Seconds = 1.0
    minimum_balance: BaseUnits = 0
    realm: Literal["ledger", "chain"] = "ledger"
    sessions: SessionSettings = SessionSettings()
    chain: ChainSettings = ChainSettings()
    node: NodeSettings = NodeSettings()
    gateway: GatewaySettings = GatewaySettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    upstreams: dict[str, UpstreamSettings] = {}
    prices: dict[str, PriceSettings] = {}
    fallbacks: dict[str, tuple[str, ...]] = {}
    _arguments: frozenset[str] = PrivateAttr(frozenset())

    def __init__(self, **arguments: Any) -> None:
        path = _config_path()
        try:
            super().__init__(**arguments)
            self._arguments = frozenset(arguments)
        except ValidationError as error:
            raise explain(error, path, arguments, _KNOWN) from None
        except SettingsError as error:
            raise ConfigError(f"environment: {error}.", remedy="Write lists and tables as JSON.") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- pydantic-settings calls by name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the file."""
        path = _config_path()
        content = read_toml(path) if path is not None else {}
        return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=content)

    @property
    def asset(self) -> Currency:
        """The currency that accounts are kept in."""
        return currency(self.currency)

    @property
    def database_file(self) -> Path | None:
        """The file behind ``database``: ``sqlite:///a.db`` is relative, ``sqlite:////a.db`` absolute.

        ``None`` where it is on a server.
        """
        if self.database.startswith(_SERVERS):
            return None
        return Path(self.database.removeprefix("sqlite:///"))

    def where(self, *location: str) -> str:
        """A setting and where it was made, for errors that only others can find in it."""
        place = where(location, _config_path(), dict.fromkeys(self._arguments))
        return f"{place}: {'.'.join(location)}"

    def upstream_of(self, model: str) -> str | None:
        """The upstream that serves ``model``: the first that lists it, else the longest prefix."""
        for name, upstream in self.upstreams.items():
            if model in upstream.models:
                return name
        serving = [
            name for name, upstream in self.upstreams.items() if upstream.upstream_name(model) is not None
        ]
        return max(serving, key=lambda name: len(self.upstreams[name].prefix or ""), default=None)

    def fallbacks_of(self, model: str) -> tuple[str, ...]:
        """The models to try, in order, when ``model`` fails (spec C12)."""
        if model in self.fallbacks:
            return self.fallbacks[model]
        name = self.upstream_of(model)
        fallbacks = self.upstreams[name].fallbacks if name is not None else ()
        return tuple(fallback for fallback in fallbacks if fallback != model)

    @field_validator("currency")
    @classmethod
    def _known_currency(cls, code: str) -> str:
        try:
            return currency(code).code
        except CurrencyMismatch as error:
            raise ValueError(error.what) from None

    @field_validator("database")
    @classmethod
    def _known_database(cls, database: str) -> str:
        if database.startswith(_SERVERS):
            return database
        if "://" in database and not database.startswith("sqlite:///"):
            raise ValueError("it must be a path, a sqlite:/// URL or a postgresql:// URL")
        if not database.removeprefix("sqlite:///"):
            raise ValueError("it names no file")
        return database

    @model_validator(mode="after")
    def _prices_are_exact(self) -> Self:
        asset = self.asset
        for model, price in self.prices.items():
            for key, amount in price.amounts().items():
                units = (
                    amount.scaleb(asset.decimals)
                    if amount.adjusted() < _DIGITS_MAX
                    else Decimal(AMOUNT_MAX + 1)
                )
                if units > AMOUNT_MAX:
                    raise _wrong(
                        ("prices", model, key), str(amount), "it is above the largest amount there is"
                    )
                if units != units.to_integral_value():
                    reason = f"it has more than the {asset.decimals} decimals of {asset.code}"
                    raise _wrong(("prices", model, key), str(amount), reason)
        return self


_DIGITS_MAX: Final = 20
_KNOWN: Final = {
    "": tuple(Settings.model_fields),
    "sessions": tuple(SessionSettings.model_fields),
    "chain": tuple(ChainSettings.model_fields),
    "node": tuple(NodeSettings.model_fields),
    "gateway": tuple(GatewaySettings.model_fields),
    "telemetry": tuple(TelemetrySettings.model_fields),
    "upstreams": tuple(UpstreamSettings.model_fields),
    "prices": tuple(PriceSettings.model_fields),
}


def _wrong(location: tuple[str, ...], value: str, reason: str) -> PydanticCustomError:
    """An error that keeps the place of the key, which a check over the whole would lose."""
    return PydanticCustomError(
        "wrong_setting", "{reason}", {"location": location, "value": value, "reason": reason}
    )


def _config_path() -> Path | None:
    named = os.environ.get("PREPAID_CONFIG")
    if named:
        return Path(named)
    default = Path(FILE_NAME)
    return default if default.is_file() else None
