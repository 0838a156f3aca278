"""What is encoded and read here for speed's sake, against the libraries that do it slowly."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_utils.abi import get_abi_input_types
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st
from web3 import Web3

from prepaid.chain.artefacts import artefact
from prepaid.chain.events import Event
from prepaid.chain.signing import signed
from prepaid.errors import ChainError

WORD = st.integers(0, 2**256 - 1)
ADDRESS = st.binary(min_size=20, max_size=20).map(Web3.to_checksum_address)
EVENTS = [
    (contract, abi)
    for contract in ("dtn_ai", "session_manager")
    for abi in artefact(contract).abi
    if abi["type"] == "event"
]

transactions = st.fixed_dictionaries(
    {
        "type": st.just(2),
        "chainId": st.integers(0, 2**64 - 1),
        "nonce": st.integers(0, 2**64 - 2),
        "maxPriorityFeePerGas": WORD,
        "maxFeePerGas": WORD,
        "gas": st.integers(21_000, 2**64 - 1),
        "value": WORD,
        "data": st.binary(max_size=300) | st.binary(max_size=300).map(lambda data: f"0x{data.hex()}"),
    },
    optional={"to": ADDRESS},
)


@given(key=st.binary(min_size=1, max_size=8).map(keccak), transaction=transactions)
def test_a_transaction_is_signed_byte_for_byte_as_eth_account_does(key, transaction):
    account = Account.from_key(key)
    assert signed(account, transaction) == bytes(account.sign_transaction(transaction).raw_transaction)


@given(transaction=transactions, listed=ADDRESS)
def test_what_is_not_encoded_here_is_left_to_eth_account(transaction, listed):
    account = Account.from_key(keccak(b"a key"))
    more = {**transaction, "accessList": [{"address": listed, "storageKeys": [1]}]}
    assert signed(account, more) == bytes(account.sign_transaction(more).raw_transaction)


def value_of(place):
    """Anything of the type of this place in an interface."""
    kind = place["type"]
    if kind == "tuple":
        return st.tuples(*map(value_of, place["components"]))
    if kind.startswith("uint"):
        return st.integers(0, 2 ** int(kind.removeprefix("uint")) - 1)
    if kind == "bytes32":
        return st.binary(min_size=32, max_size=32)
    return {"address": ADDRESS, "bool": st.booleans(), "string": st.text(), "bytes": st.binary()}[kind]


def log_of(abi, values):
    """The log with which a contract tells these values."""
    kinds = get_abi_input_types(abi)
    told = [each for each in zip(kinds, abi["inputs"], values, strict=True) if not each[1]["indexed"]]
    found = [each for each in zip(kinds, abi["inputs"], values, strict=True) if each[1]["indexed"]]
    return {
        "address": f"0x{'11' * 20}",
        "topics": [Event(abi, Web3().codec).topic, *(f"0x{encode([k], [v]).hex()}" for k, _, v in found)],
        "data": f"0x{encode([k for k, _, _ in told], [v for _, _, v in told]).hex()}",
        "blockNumber": 1,
        "blockHash": f"0x{'22' * 32}",
        "transactionHash": f"0x{'33' * 32}",
        "transactionIndex": 0,
        "logIndex": 0,
    }


@settings(max_examples=20)
@pytest.mark.parametrize(
    ("contract", "abi"), EVENTS, ids=lambda part: part if isinstance(part, str) else part["name"]
)
@given(data=st.data())
def test_an_event_is_read_as_web3_does(contract, abi, data):
    values = [data.draw(value_of(place)) for place in abi["inputs"]]
    log = log_of(abi, values)
    w3 = Web3()
    told = w3.eth.contract(abi=artefact(contract).abi).events[abi["name"]]().process_log(log)
    read = Event(abi, w3.codec).read(log)
    structs = {
        name: tuple(value.values()) for name, value in told["args"].items() if isinstance(value, Mapping)
    }
    assert read == dict(told["args"]) | structs
    assert list(read) == [each["name"] for each in abi["inputs"]]


def test_another_events_log_is_refused():
    told = {abi["name"]: abi for contract, abi in EVENTS if contract == "dtn_ai"}
    log = log_of(told["RequestExpired"], [bytes(32)])
    with pytest.raises(ChainError, match="no SessionFunded"):
        Event(told["SessionFunded"], Web3().codec).read(log)
