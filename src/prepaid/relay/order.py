"""What is to be relayed for whom, and what the relay answers with."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from typing import Any, Final, Self

from pydantic_core import from_json, to_json

from prepaid.errors import InvalidRequestError
from prepaid.meter import Payer
from prepaid.records import Usage
from prepaid.relay.heavy import HEAVY_BYTES
from prepaid.relay.wire import Asked, Body, WireApi

__all__ = ["Head", "Order", "Receipt", "Relayed"]

_HEAVY_MESSAGES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Order:
    """One request of a client: its body as it came, who pays, and where the answer is kept."""

    api: WireApi
    payer: Payer
    body: Body
    asked: Asked
    size: int
    """Bytes of the body, without those of images."""
    content: bytes
    """A digest of all that the idempotency key stands for."""
    key: str | None = None
    chat_no: int | None = None
    """The chat of the payer's session in which question and answer are saved."""

    @property
    def is_heavy(self) -> bool:
        """Whether to look through it takes so long that nobody else should wait for it."""
        size = self.size + self.asked.image_bytes
        return size > HEAVY_BYTES or self.asked.messages > _HEAVY_MESSAGES

    @classmethod
    def read(
        cls, api: WireApi, payer: Payer, raw: bytes, *, key: str | None = None, chat_no: int | None = None
    ) -> Self:
        """The order in a request's body.

        Raises:
            InvalidRequestError: it is not JSON, or not a request of this API.
        """
        try:
            body = from_json(raw, allow_inf_nan=False)
        except ValueError as error:
            raise InvalidRequestError(
                f"The body is not JSON: {error}.", remedy="Send a JSON object."
            ) from None
        if type(body) is not dict:
            raise InvalidRequestError("The body is no JSON object.", remedy="Send a JSON object.")
        asked = api.read(body)
        digest = b""
        if key is not None:
            digest = blake2b(b"%s %d\n%s" % (api.path.encode(), chat_no or 0, raw), digest_size=16).digest()
        return cls(api, payer, body, asked, len(raw) - asked.image_bytes, digest, key, chat_no)


@dataclass(frozen=True, slots=True)
class Head:
    """What is known before the first piece of a streamed answer."""

    model: str
    content_type: str
    held: int
    output_limit: int
    """Tokens that one answer may have at most; the balance may have lowered it (``is_lowered``)."""
    is_lowered: bool
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """What it came to, settled and durable. Amounts are base units."""

    model: str
    provider: str
    held: int
    cost: int
    available: int
    usage: Usage
    output_limit: int
    is_lowered: bool
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Relayed:
    """A whole answer: the upstream's body, byte by byte, and the receipt."""

    content: bytes
    content_type: str
    receipt: Receipt

    def settled(self, available: int) -> Relayed:
        """The same, with what is available now that it is paid."""
        return Relayed(self.content, self.content_type, replace(self.receipt, available=available))

    def kept(self) -> str:
        """As it is kept for its idempotency key."""
        kept: dict[str, Any] = {
            "content": self.content.decode(errors="replace"),
            "type": self.content_type,
            "receipt": asdict(self.receipt),
        }
        return to_json(kept).decode()

    @classmethod
    def from_kept(cls, text: str, available: int) -> Self:
        """The answer again, with what is available now."""
        kept = from_json(text)
        told = Receipt(**kept["receipt"])
        receipt = replace(told, usage=Usage(**kept["receipt"]["usage"]), available=available, replayed=True)
        return cls(kept["content"].encode(), kept["type"], receipt)
