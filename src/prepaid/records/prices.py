"""The nouns of prices, and of the catalogue that lists them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Literal

__all__ = [
    "ALL_CHAT_APIS",
    "Api",
    "ModelInfo",
    "Price",
    "PriceTier",
    "Quote",
    "Unit",
]


class Unit(StrEnum):
    """What a price counts."""

    TOKEN = "token"  # noqa: S105 -- a model token, not a credential
    BYTE = "byte"


@dataclass(frozen=True, slots=True)
class PriceTier:
    """Prices that hold for the whole request once its input exceeds ``input_above`` units."""

    input_above: int
    input_per_million: int
    output_per_million: int
    cache_read_per_million: int
    cache_write_per_million: int
    """What a provider keeps for minutes."""
    cache_write_1h_per_million: int | None = None
    """What it keeps for an hour, at the client's wish; ``None``: at the price of minutes."""

    @property
    def hour_write_per_million(self) -> int:
        """The price of what is kept for an hour."""
        if self.cache_write_1h_per_million is None:
            return self.cache_write_per_million
        return self.cache_write_1h_per_million


@dataclass(frozen=True, slots=True)
class Price:
    """Base units of ``asset`` per million tokens or bytes, plus ``per_request`` once and its searches."""

    asset: str
    unit: Unit
    tiers: tuple[PriceTier, ...]
    """Ascending by ``input_above``; the first is 0."""
    per_request: int = 0
    output_max: int | None = None
    """What the whole output costs at most, where a caller named it: a quote reserves exactly this for it."""
    per_search: int = 0
    """For each search that the provider made for a request."""
    searches_max: int = 0
    """How many searches one request makes at most: a quote pays for so many."""

    @property
    def fees_max(self) -> int:
        """What one request costs at most before its first unit: its own fee, and its searches."""
        return self.per_request + self.per_search * self.searches_max

    @classmethod
    def flat(cls, asset: str, unit: Unit, input_per_million: int, output_per_million: int) -> Price:
        """A price without tiers, where cached input costs as much as other input."""
        tier = PriceTier(0, input_per_million, output_per_million, input_per_million, input_per_million)
        return cls(asset, unit, (tier,))

    @classmethod
    def fee(cls, asset: str, request_per_million: int, response_per_million: int, response_max: int) -> Price:
        """A fee as a caller names it: by the byte, and ``response_max`` for the response at most.

        Source: spec A10, where ``feePerByteReq`` and ``feePerByteRes`` are per byte and ``response_max`` is
        ``totalFeePerRes``.
        """
        return replace(
            cls.flat(asset, Unit.BYTE, request_per_million, response_per_million), output_max=response_max
        )


@dataclass(frozen=True, slots=True)
class Quote:
    """The worst case of one request, at a pinned price.

    ``amount`` pays for the whole ``output_units`` limit; ``minimum`` for the input and one unit of output.
    """

    model: str
    price: Price
    input_units: int
    output_units: int
    amount: int
    minimum: int


Api = Literal["chat", "tools", "images", "structured_output", "embeddings"]
ALL_CHAT_APIS: Final[frozenset[Api]] = frozenset({"chat", "tools", "images", "structured_output"})


IMAGE_TOKENS_DEFAULT: Final = 50_000
"""Above what any model of the price book counts for one image, at its finest."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model as the catalogue lists it."""

    name: str
    price: Price
    context_tokens_max: int
    output_tokens_max: int
    apis: frozenset[Api]
    provider: str
    image_tokens_max: int = IMAGE_TOKENS_DEFAULT
    """What is held for each image of a request, in tokens; only some models can be sent any."""
    dialect: str = "openai"
    """What the server behind it is: which fields beside OpenAI's it may be sent."""
    allow_fields: tuple[str, ...] = ()
    """More fields that it may be sent, at its operator's risk."""
    is_billed: bool = False
    """Whether a provider bills the operator for what it answers, also where nobody pays for it."""
    stops_when_left: bool = False
    """Whether the provider generates and bills nothing more once its connection is closed."""
    image_formula: str = ""
    """By which of ``models.images`` the provider computes an image's tokens; empty where none is known."""
