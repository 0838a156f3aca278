"""What a contract refused, as our errors: decoded from the ABI, the numbers in them.

Where the ledger has an error of the same meaning, it is raised, so that an app handles both realms in one
place (spec A9, B14). Everything else is a ``ContractReverted`` that names the contract's error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import collapse_if_tuple, function_signature_to_4byte_selector
from eth_utils.address import to_checksum_address
from web3.exceptions import BadFunctionCallOutput, ContractLogicError

from prepaid import errors
from prepaid.chain.artefacts import artefact
from prepaid.chain.values import CallType
from prepaid.errors import ChainMismatch, ContractReverted, PrepaidError
from prepaid.routing import CONFIDENCE_MAX

__all__ = ["refusal", "refusals_as_ours"]

_INTERFACES: Final = ("dtn_ai", "session_manager", "test_usd")
"""The last for the errors of tokens (ERC-6093)."""

_FEES: Final = ("fee per request byte", "fee per response byte", "total fee for the response")

_BUILT_IN: Final = {
    "Error": [{"name": "message", "type": "string"}],
    "Panic": [{"name": "code", "type": "uint256"}],
}

_OPEN_ANOTHER: Final = "Start another session."

Arguments = Mapping[str, Any]


@contextmanager
def refusals_as_ours() -> Iterator[None]:
    """Around calls through web3.

    Raises:
        PrepaidError: what the contract refused, as ``refusal`` has it.
        ChainMismatch: it is no contract, or another.
    """
    try:
        yield
    except ContractLogicError as error:
        raise refusal(error.data, error.message) from None
    except BadFunctionCallOutput as error:
        raise ChainMismatch(
            "What answers at the address", "the contract", "no contract, or another"
        ) from error


def refusal(data: object, message: str | None = None) -> PrepaidError:
    """The error that a contract's revert ``data`` means: bytes, or text in hexadecimal."""
    content = _as_bytes(data)
    known = _known_errors().get(content[:4])
    if known is None:
        return ContractReverted(f"0x{content[:36].hex()}" if content else _plain(message))
    name, inputs = known
    try:
        values = decode([collapse_if_tuple(each) for each in inputs], content[4:])
    except DecodingError:
        return ContractReverted(name)
    arguments = {
        each["name"]: _readable(each["type"], value) for each, value in zip(inputs, values, strict=True)
    }
    make = _MEANINGS.get(name.partition("_")[2] or name)
    return make(arguments) if make is not None else ContractReverted(name, arguments)


def _insufficient_funds(told: Arguments) -> PrepaidError:
    return errors.InsufficientFunds(told["needed"], told["available"])


def _nothing_deposited(told: Arguments) -> PrepaidError:
    return errors.InsufficientFunds(1, 0).reworded(
        f"Nothing is deposited for {told['owner']}.",
        f"Send fee tokens to {told['feeTarget']} first, or start with an amount.",
    )


def _model_not_supported(told: Arguments) -> PrepaidError:
    return errors.ModelNotSupported(told["modelId"]).reworded(
        f"Model {told['modelId']} is not offered by the contract.",
        "Check the name, or ask the contract's administrator to offer it.",
    )


def _api_not_supported(told: Arguments) -> PrepaidError:
    return errors.ApiNotSupported(told["modelId"], CallType(told["calltype"]).name, ())


def _insufficient_fee(told: Arguments) -> PrepaidError:
    return errors.InsufficientFee(told["offered"], told["price"], _FEES[told["fee"]])


def _no_nodes(told: Arguments) -> PrepaidError:
    return errors.NoNodesAvailable(
        f"{told['eligible']} registered nodes are trusted by the routing and {told['needed']} are needed."
    )


def _out_of_range(noun: str, value: str, least: int | None = None) -> Callable[[Arguments], PrepaidError]:
    def make(told: Arguments) -> PrepaidError:
        low = told.get("min", least)
        return errors.InvalidRequestError(
            f"{noun} {told[value]} is not from {low} to {told['max']}.", remedy="Pass one within these."
        )

    return make


def _amount_too_large(told: Arguments) -> PrepaidError:
    return errors.AmountTooLarge(
        f"{told['amount']} base units are above the contract's limit of {told['max']}."
    )


def _expired(told: Arguments) -> PrepaidError:
    return errors.SessionExpired(str(told["sessionId"])).reworded(
        f"Session {told['sessionId']} was idle for longer than {told['maxSessionAgeSeconds']} seconds.",
        "Close it, or call cleanup_old_sessions(), and create another.",
    )


def _balance_too_low(told: Arguments) -> PrepaidError:
    return errors.BalanceTooLow(told["balance"], told["min"]).reworded(
        f"A session needs at least {told['min']} base units; {told['balance']} were offered.",
        f"Offer {told['min']} or more.",
    )


def _pool_full(told: Arguments) -> PrepaidError:
    return errors.PoolFull(told["max"])


def _pool_empty(_: Arguments) -> PrepaidError:
    return errors.PoolEmpty(0).reworded(
        "No session waits in the pool.", "Add one with add_to_pool(), or wait until a lease ends."
    )


def _lease_cap(told: Arguments) -> PrepaidError:
    return errors.LeaseCapReached("cap", told["room"])


def _no_lease(told: Arguments) -> PrepaidError:
    return errors.LeaseNotFound(str(told["sessionId"]))


def _lacks_tokens(told: Arguments) -> PrepaidError:
    return errors.InsufficientFunds(told["needed"], told["balance"]).reworded(
        f"{told['sender']} has {told['balance']} base units of the token; {told['needed']} are needed.",
        "Get more of it, or pass a smaller amount.",
    )


_MEANINGS: Final[dict[str, Callable[[Arguments], PrepaidError]]] = {
    "SessionNotFound": lambda told: errors.SessionNotFound(str(told["sessionId"])),
    "SessionAlreadyClosed": lambda told: errors.SessionAlreadyClosed(str(told["sessionId"])).reworded(
        f"Session {told['sessionId']} is already closed.", _OPEN_ANOTHER
    ),
    "InsufficientFunds": _insufficient_funds,
    "NothingDeposited": _nothing_deposited,
    "AmountZero": lambda _: errors.AmountNotPositive("0 is not above zero."),
    "AmountTooLarge": _amount_too_large,
    "ModelNotSupported": _model_not_supported,
    "ApiNotSupported": _api_not_supported,
    "InsufficientFee": _insufficient_fee,
    "NoNodesAvailable": _no_nodes,
    "RedundancyOutOfRange": _out_of_range("Redundancy", "redundancy", 1),
    "ConfidenceOutOfRange": lambda told: _out_of_range("Confidence", "confidenceLevel", 0)(
        {"max": CONFIDENCE_MAX, **told}
    ),
    "TimeoutOutOfRange": _out_of_range("A timeout of", "timeoutSeconds"),
    "RoutingTooLong": lambda told: errors.ValueTooLarge("routing", told["ids"], told["max"], "ids"),
    "RequestNotFound": lambda told: errors.RequestNotFound(told["requestId"]),
    "SessionExpired": _expired,
    "BalanceTooLow": _balance_too_low,
    "AlreadyPooled": lambda told: errors.AlreadyPooled(str(told["sessionId"])),
    "PoolFull": _pool_full,
    "PoolEmpty": _pool_empty,
    "LeaseCapReached": _lease_cap,
    "NotLeased": _no_lease,
    "LeaseOver": _no_lease,
    "ERC20InsufficientBalance": _lacks_tokens,
}
"""By the contract's name without its prefix: the AI contract and the session manager mean the same."""


@cache
def _known_errors() -> dict[bytes, tuple[str, list[dict[str, Any]]]]:
    """Every error by its selector."""
    listed = {name: list(inputs) for name, inputs in _BUILT_IN.items()}
    for interface in _INTERFACES:
        listed |= {
            each["name"]: each["inputs"] for each in artefact(interface).abi if each["type"] == "error"
        }
    known = {}
    for name, inputs in listed.items():
        signature = f"{name}({','.join(collapse_if_tuple(each) for each in inputs)})"
        known[function_signature_to_4byte_selector(signature)] = (name, inputs)
    return known


def _as_bytes(data: object) -> bytes:
    if isinstance(data, bytes):
        return data
    if isinstance(data, str) and data.startswith("0x"):
        try:
            return bytes.fromhex(data[2:])
        except ValueError:
            return b""
    return b""


def _readable(kind: str, value: Any) -> Any:
    if kind == "address":
        return to_checksum_address(value)
    return f"0x{value.hex()}" if isinstance(value, bytes) else value


def _plain(message: str | None) -> str:
    return (message or "it gave no reason").removeprefix("execution reverted: ")[:200]
