"""What goes into the REST API: bodies, strictly checked. What no type can say, the manager checks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

__all__ = [
    "BatchWanted",
    "ChatConfig",
    "ConfigChange",
    "FeeOffered",
    "Funding",
    "LeaseWanted",
    "NewChat",
    "NewKey",
    "NewSession",
    "OwnerFunding",
    "PoolOffer",
    "Question",
    "RequestWanted",
    "Rotation",
    "RoutingWanted",
    "StartedSession",
]

Amount = Annotated[
    Annotated[StrictStr, Field(max_length=64)] | StrictInt,
    Field(description='Text such as "10 USD", or base units; never a float.', examples=["10 USD"]),
]
UserId = Annotated[str, Field(min_length=1, max_length=256, examples=["ann"])]
Tags = Annotated[list[str], Field(max_length=32, examples=[["work"]])]
Json = dict[str, Any]
Seconds = Annotated[float, Field(gt=0, le=2_592_000, allow_inf_nan=False, examples=[60])]
Tokens = Annotated[int, Field(ge=1, le=2**31 - 1, examples=[256])]
Prompt = Annotated[str, Field(min_length=1, examples=["What is a ledger?"])]
Ids = Annotated[list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=64)]


class Body(BaseModel):
    """A JSON object: unknown fields are mistakes, and no value is made of another type."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, frozen=True)


class NewSession(Body):
    """A session to open with money from outside, which only the operator can say has come."""

    user_id: UserId | None = None
    fund: Amount | None = None
    name: str = Field(default="", max_length=256, examples=["Research"])
    metadata: Json = Field(default={}, examples=[{"plan": "pro"}])
    preferences: Json = Field(default={}, examples=[{"language": "en"}])
    tags: Tags = []
    expires_at: datetime | None = Field(default=None, strict=False, examples=["2031-01-01T00:00:00Z"])
    auto_save: bool = True


class StartedSession(Body):
    """A session to open with the user's deposit, or ``amount`` of it."""

    user_id: UserId | None = None
    amount: Amount | None = None


class Funding(Body):
    """Money for a session."""

    amount: Amount


class OwnerFunding(Body):
    """Money for, or from, a user's deposit."""

    user_id: UserId
    amount: Amount


class ChatConfig(Body):
    """How a chat answers."""

    model: str | None = Field(default=None, min_length=1, max_length=256, examples=["offline"])
    system_prompt: str = Field(default="", examples=["Be brief."])
    fallback_models: Ids | None = Field(default=None, examples=[["offline"]])
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False, examples=[0.7])
    max_output_tokens: Tokens | None = None


class NewChat(Body):
    """A chat to open; it becomes the current one. Under a lease only name and config are taken."""

    name: str = Field(default="", max_length=256, examples=["Ideas"])
    config: ChatConfig = ChatConfig()
    metadata: Json = Field(default={}, examples=[{"topic": "ledgers"}])
    tags: Tags = []
    max_messages: Annotated[int, Field(ge=2, le=2**31 - 1)] | None = None


class Question(Body):
    """A question in a chat. With ``stream``, the answer comes as server-sent events."""

    text: Prompt
    max_output_tokens: Tokens | None = None
    stream: bool = False


class PoolOffer(Body):
    """A session to share; each taker spends up to ``cap``."""

    cap: Amount | None = None


class LeaseWanted(Body):
    """A pooled session to use for a while."""

    lasts_seconds: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False, examples=[300])] | None = None


class FeeOffered(Body):
    """What is offered by the byte, in base units, instead of the model's own price (spec A10)."""

    per_request_byte: int = Field(ge=0, le=2**62, examples=[1])
    per_response_byte: int = Field(ge=0, le=2**62, examples=[2])
    response_max: int = Field(ge=0, le=2**62, examples=[4000])


class RoutingWanted(Body):
    """Who may answer, how many are asked, and how they agree (spec A12)."""

    trust_namespaces: Ids = Field(default=[], examples=[["trust.system.authored"]])
    trusted_nodes: Ids = Field(default=[], examples=[[]])
    redundancy: int = Field(default=1, ge=1, le=7)
    confidence: int = Field(default=51, ge=0, le=100)
    aggregation: Literal["ANY", "ALL", "SELECT_BEST", "VOTE", "RANK"] = "ANY"


class RequestWanted(Body):
    """A single request, without a chat."""

    prompt: Prompt
    model: str | None = Field(default=None, min_length=1, max_length=256, examples=["offline"])
    routing: RoutingWanted | None = None
    fee: FeeOffered | None = None
    max_output_tokens: Tokens | None = None
    timeout_seconds: Annotated[float, Field(gt=0, le=3_600, allow_inf_nan=False)] = 60.0


class BatchWanted(Body):
    """Several requests at once; each succeeds or fails on its own (spec B13)."""

    requests: list[RequestWanted] = Field(min_length=1, max_length=100)


class NewKey(Body):
    """A key: of a session, of a user, or (for the operator, with neither) of the operator."""

    session_id: str | None = Field(default=None, max_length=256, examples=["ses_01m7y6qkv88hxy3a7ak1pr"])
    user_id: UserId | None = None
    name: str = Field(default="", max_length=256, examples=["notebook"])
    cap: Amount | None = None
    models: Ids | None = Field(default=None, examples=[["offline"]])
    expires_at: datetime | None = Field(default=None, strict=False, examples=["2031-01-01T00:00:00Z"])


class Rotation(Body):
    """How long the secret before still works; not at all, by default."""

    grace_seconds: Seconds | None = None


class ConfigChange(Body):
    """What to change for every process; the rest stays."""

    minimum_balance: Amount | Literal[0] | None = None
    session_timeout_seconds: Annotated[float, Field(gt=0, le=3_153_600_000, allow_inf_nan=False)] | None = (
        None
    )
    pool_size: int | None = Field(default=None, ge=0, le=1_000_000)
