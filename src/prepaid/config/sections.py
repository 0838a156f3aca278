"""The tables of ``prepaid.toml``, each frozen and checked by itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)

from prepaid.config.problems import masked_url
from prepaid.money import AMOUNT_MAX
from prepaid.records import Api, Unit

__all__ = [
    "BaseUnits",
    "ChainSettings",
    "Count",
    "GatewaySettings",
    "NodeSettings",
    "PriceSettings",
    "Seconds",
    "SessionSettings",
    "TelemetrySettings",
    "UpstreamSettings",
]

_TOKENS_MAX = 100_000_000


def _not_a_float(value: Any) -> Any:
    if isinstance(value, float):
        raise ValueError("a float is never exact; write the amount as text in quotes")  # noqa: TRY004 -- pydantic's way
    return value


def _exact_decimal(value: Any) -> Any:
    _not_a_float(value)
    try:
        number = Decimal(value) if isinstance(value, int | str) and not isinstance(value, bool) else value
    except InvalidOperation:
        raise ValueError('it is not an amount; write it as text, such as "0.15"') from None
    return number


def _seconds_as_number(value: Any) -> Any:
    """The environment has only text: ``"300"`` means seconds there, as ``300`` does in the file."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _above_zero(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("it must be greater than 0 seconds")
    return value


def _http_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("it must start with http:// or https://")
    try:
        parts = urlsplit(value)
        is_reachable = bool(parts.hostname) and parts.port != 0
    except ValueError:  # its words quote the URL, which may have a password in it
        is_reachable = False
    if not is_reachable:
        raise ValueError("it names no host and port that can be reached")
    if "#" in value:
        raise ValueError("it has a fragment (#…), which is never sent")
    return value.rstrip("/")


BaseUnits = Annotated[int, BeforeValidator(_not_a_float), Field(ge=0, le=AMOUNT_MAX)]
Count = Annotated[int, Field(ge=1)]
Amount = Annotated[Decimal, BeforeValidator(_exact_decimal), Field(ge=0, allow_inf_nan=False)]
Duration = Annotated[timedelta, BeforeValidator(_seconds_as_number), AfterValidator(_above_zero)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Tokens = Annotated[int, Field(ge=1, le=_TOKENS_MAX)]
Url = Annotated[str, AfterValidator(_http_url)]


class Section(BaseModel):
    """A table: frozen, and unknown keys are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class SessionSettings(Section):
    """``[sessions]``: the limits of the session manager (spec C1)."""

    max_active_sessions: Count | None = None
    max_sessions_per_user: Count = 100
    max_chats_per_session: Count = 100
    auto_cleanup: bool = True
    cleanup_interval: Duration = timedelta(seconds=300)
    session_timeout: Duration = timedelta(days=1)
    pool_size: Count = 5
    lease_seconds: Count = 300


class GatewaySettings(Section):
    """``[gateway]``: where ``prepaid serve`` listens, and what one client may ask of it.

    Counts are for each worker process. ``metrics`` says who may read ``/metrics``: who has the operator's
    key, who connects from this machine, anyone, or nobody. ``drain_seconds`` is how long an answer is read on
    whose client has left before anything of it could be seen.
    """

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8000, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=256)
    grace_seconds: Seconds = 30.0
    body_bytes_max: Count = 32 * 1024 * 1024
    body_values_max: int = Field(default=400_000, ge=1_000)
    bodies_bytes_max: Count = 256 * 1024 * 1024
    rest_body_bytes_max: Count = 4_608 * 1024
    rest_body_values_max: int = Field(default=20_000, ge=1_000)
    system_prompt_bytes_max: Count = 256 * 1024
    head_bytes_max: int = Field(default=32 * 1024, ge=1024)
    headers_max: int = Field(default=100, ge=10)
    head_seconds: Seconds = 10.0
    body_seconds: Seconds = 30.0
    write_seconds: Seconds = 30.0
    keep_alive_seconds: Seconds = 75.0
    connections_max: Count = 4096
    requests_per_key_max: Count = 1024
    drain_seconds: Seconds = 600.0
    failed_keys_per_minute: int = Field(default=60, ge=0)
    metrics: Literal["operator", "loopback", "anyone", "nobody"] = "operator"
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class TelemetrySettings(Section):
    """``[telemetry]``: where traces go. Nowhere, unless an endpoint is named."""

    endpoint: Url | None = None
    service_name: str = Field(default="prepaid", min_length=1)

    @property
    def is_wanted(self) -> bool:
        """Whether an endpoint is configured, here or in ``OTEL_EXPORTER_OTLP_(TRACES_)ENDPOINT``."""
        variables = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        return self.endpoint is not None or any(os.environ.get(name) for name in variables)


class ChainSettings(Section):
    """``[chain]``: which chain, where the contracts are, who signs, and how transactions are seen through.

    The wallet is the keystore, else the signer at ``signer_url``, else the key in ``PREPAID_CHAIN_KEY``. The
    keystore's password is in ``password_file``, else in ``PREPAID_KEYSTORE_PASSWORD``, else typed.
    """

    rpc_url: SecretStr | None = None
    chain_id: Count | None = None
    ai_contract: str | None = None
    session_manager: str | None = None
    keystore: str | None = None
    password_file: str | None = None
    signer_url: SecretStr | None = None
    signer_address: str | None = None
    confirmations: Count = 1
    timeout_seconds: Seconds = 600.0
    bump_after_seconds: Seconds = 30.0
    gas_price_max_wei: Count | None = None
    poll_seconds: Seconds = 0.5


class NodeSettings(Section):
    """``[node]``: what ``prepaid node`` answers as, with, and for how much.

    ``models`` maps names of models on chain to names of ours. ``chains`` are served besides ``[chain]``.
    Amounts are base units of the fee token, which is taken to be worth as much as the ledger's currency.
    Prompts that requests name by content id are fetched from ``content_gateway``; without it, from nowhere.
    """

    name: str | None = Field(default=None, min_length=1)
    models: dict[str, str] = {}
    session_id: str | None = Field(default=None, min_length=1)
    journal: str = Field(default="prepaid-node.db", min_length=1)
    chains: dict[str, ChainSettings] = {}
    lookback_blocks: int = Field(default=1_000, ge=0)
    concurrency: int = Field(default=16, ge=1, le=1_024)
    deadline_margin_seconds: Seconds = 10.0
    turn_seconds: Seconds = 10.0
    ether_price: BaseUnits = 0
    minimum_profit: BaseUnits = 0
    withdraw_above: BaseUnits | None = None
    withdraw_to: str | None = None
    peers: tuple[Url, ...] = ()
    serve_host: str = Field(default="127.0.0.1", min_length=1)
    serve_port: int | None = Field(default=None, ge=0, le=65535)
    content_store: str | None = Field(default=None, min_length=1)
    content_store_bytes_max: Count = 10 * 2**30
    content_keep_days: Count | None = None
    content_tokens_max: Tokens = 4_096
    content_gateway: Url | None = None
    kubo_rpc_url: SecretStr | None = None
    expires_others: bool = False
    upkeep_seconds: Seconds = 60.0


class UpstreamSettings(Section):
    """``[upstreams.NAME]``: an OpenAI-compatible API and the models it answers for.

    ``models`` are served under their own names. A name that starts with ``prefix`` is sent there
    without it. ``base_url`` may have a query, which stays after the path, and credentials; neither is shown.
    ``fallbacks`` are tried, in order, for models without an entry in ``[fallbacks]``.
    ``bytes_per_token`` divides the request's UTF-8 bytes into the input bound that is held for;
    1 is provable for any byte-level tokenizer, more is your promise. ``image_tokens_max`` is yours, too: no
    image sent there costs more tokens. ``dialect`` says which fields beside OpenAI's may be sent there, and
    ``allow_fields`` names others, of which nobody checks what they cost.
    """

    base_url: Url
    api_key: SecretStr | None = None
    api_key_env: str | None = None
    models: tuple[str, ...] = ()
    prefix: str | None = Field(default=None, min_length=1)
    provider: str | None = None
    """Whose prices in the price book hold; by default the one that ``base_url`` or NAME belongs to."""
    timeout_seconds: Seconds = 600.0
    """Until it answers, and between two pieces: models think long, and a plain answer comes all at once."""
    connect_timeout_seconds: Seconds = 10.0
    retries_max: int = Field(default=2, ge=0, le=20)
    circuit_failures: Count = 10
    circuit_seconds: Seconds = 5.0
    circuit_payers: Count = 3
    """From so many payers the failures must come, before more are left alone than those who had them."""
    fallbacks: tuple[str, ...] = ()
    bytes_per_token: Count = 1
    image_tokens_max: Tokens | None = None
    output_limit_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """The one field in which the limit of a chat completion is sent, whichever its client has used. By
    default ``max_tokens``; OpenAI and Azure, which know both, are sent the client's own."""
    dialect: Literal["openai", "azure", "gemini", "litellm", "ollama", "openrouter", "vllm"] = "openai"
    allow_fields: tuple[str, ...] = ()
    stops_when_left: bool = False
    """Whether the provider stops to generate, and to bill, when its connection is closed: your promise, too.
    Else the rest of the hold is booked as exposure where a stream is left."""

    @model_validator(mode="after")
    def _reachable_and_keyed(self) -> Self:
        if not self.models and self.prefix is None:
            raise ValueError("it has neither models nor a prefix, so nothing would ever be sent there")
        if self.api_key is not None and self.api_key_env is not None:
            raise ValueError("it has both api_key and api_key_env; keep one")
        if self.api_key_env is not None and not os.environ.get(self.api_key_env):
            raise ValueError(f"its api_key_env names {self.api_key_env}, which is not set in the environment")
        secret = self.secret()
        if secret is not None and not (secret.isascii() and secret.isprintable()):
            raise ValueError("its API key has characters that no HTTP header can carry")
        if secret is not None and "@" in urlsplit(self.base_url).netloc:
            raise ValueError("it has both an API key and credentials in its base_url; keep one")
        return self

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """All settings but the credentials in ``base_url``."""
        for name, value in super().__repr_args__():
            yield name, masked_url(value) if name == "base_url" else value

    def secret(self) -> str | None:
        """The API key in clear, for the request header only; ``None`` where none is configured."""
        if self.api_key_env is not None:
            return os.environ[self.api_key_env]
        return self.api_key.get_secret_value() if self.api_key is not None else None

    def upstream_name(self, model: str) -> str | None:
        """What ``model`` is called there; ``None`` if it is not served there."""
        if model in self.models:
            return model
        if self.prefix is not None and model.startswith(self.prefix) and len(model) > len(self.prefix):
            return model.removeprefix(self.prefix)
        return None


class PriceSettings(Section):
    """``[prices."MODEL"]``: in whole currency as text, such as "0.15" per million units.

    A request is held for as if it made ``searches_max`` searches, and pays for those that the provider tells.
    """

    unit: Unit = Unit.TOKEN
    input_per_million: Amount
    output_per_million: Amount
    cache_read_per_million: Amount | None = None
    cache_write_per_million: Amount | None = None
    cache_write_1h_per_million: Amount | None = None
    per_request: Amount = Decimal(0)
    per_search: Amount = Decimal(0)
    searches_max: int = Field(default=1, ge=1, le=1_000)
    context_tokens_max: Tokens | None = None
    output_tokens_max: Tokens | None = None
    image_tokens_max: Tokens | None = None
    apis: frozenset[Api] | None = None

    @model_validator(mode="after")
    def _searches_are_priced(self) -> Self:
        if "searches_max" in self.model_fields_set and "per_search" not in self.model_fields_set:
            raise ValueError("it has searches_max without per_search, so searches would cost nothing")
        return self

    def amounts(self) -> dict[str, Decimal]:
        """Every amount that is set, by its key."""
        named = {
            "input_per_million": self.input_per_million,
            "output_per_million": self.output_per_million,
            "cache_read_per_million": self.cache_read_per_million,
            "cache_write_per_million": self.cache_write_per_million,
            "cache_write_1h_per_million": self.cache_write_1h_per_million,
            "per_request": self.per_request,
            "per_search": self.per_search,
        }
        return {key: amount for key, amount in named.items() if amount is not None}
