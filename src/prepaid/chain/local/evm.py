"""An Ethereum chain in this process, on py-evm: Cancun's rules, and a block for every transaction at once.

Nothing here knows of JSON-RPC but the words of refusals, which are geth's: clients tell them apart by those.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from eth.abc import BlockAPI, BlockHeaderAPI, ComputationAPI, ReceiptAPI, SignedTransactionAPI, StateAPI
from eth.chains.base import MiningChain
from eth.constants import POST_MERGE_DIFFICULTY, POST_MERGE_NONCE, ZERO_ADDRESS
from eth.db.atomic import AtomicDB
from eth.db.backends.memory import MemoryDB
from eth.exceptions import Revert
from eth.vm.forks.cancun import CancunVM
from eth.vm.spoof import SpoofTransaction
from eth_typing import Address
from eth_utils.exceptions import ValidationError

from prepaid.chain.local.refused import Refused, reverted
from prepaid.chain.values import NOBODY

__all__ = ["GAS_MAX", "Asked", "Evm", "Mined"]

GAS_MAX: Final = 30_000_000
"""Of a block, and so of a transaction or a call."""

_CREATE2_DEPLOYER: Final = bytes.fromhex("4e59b44847b379578588920cA78FbF26c0B4956C")
_CREATE2_CODE: Final = bytes.fromhex(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe0"
    "3601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
)
"""The deterministic deployment proxy, which anvil has too: contracts get the same addresses on either."""

_GAS_CLOSE: Final = 1.015
_STIPEND: Final = 2_300


class _Chain(MiningChain):
    """py-evm's chain under Cancun's rules, with a gas limit that stays."""

    vm_configuration = ((0, CancunVM),)  # type: ignore[assignment]

    def create_header_from_parent(self, parent_header: BlockHeaderAPI, **params: Any) -> BlockHeaderAPI:
        return super().create_header_from_parent(parent_header, **{"gas_limit": GAS_MAX, **params})


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that nobody signed; ``to`` is empty where it creates a contract."""

    sender: bytes = bytes.fromhex(NOBODY[2:])
    to: bytes = b""
    data: bytes = b""
    value: int = 0
    gas: int = GAS_MAX


@dataclass(frozen=True, slots=True)
class Mined:
    """A block, and what its one transaction did, if it has one."""

    block: BlockAPI
    receipt: ReceiptAPI | None = None
    computation: ComputationAPI | None = None


class Evm:
    """The chain. Not for several threads at once."""

    def __init__(self, chain_id: int) -> None:
        self.chain_id = chain_id
        self.mined: list[Mined] = []
        self._ahead_seconds = 0
        made: Any = _Chain.configure(chain_id=chain_id)  # of which py-evm's own types know too little
        self._chain = made.from_genesis(AtomicDB(MemoryDB()), _genesis(), _accounts())
        self.mined.append(Mined(self._chain.get_canonical_block_by_number(0)))

    @property
    def head(self) -> int:
        """The newest block's number."""
        return len(self.mined) - 1

    def state_at(self, number: int) -> StateAPI:
        """Balances, codes and storage after a block."""
        state: StateAPI = self._chain.get_vm(self.mined[number].block.header).state
        return state

    def send(self, raw: bytes) -> bytes:
        """Put a signed transaction into a block of its own; its hash.

        Raises:
            Refused: it is in no block, and never will be as it is.
        """
        try:
            transaction = self._chain.get_vm().get_transaction_builder().decode(raw)
            sender = transaction.sender
        except Exception as error:  # noqa: BLE001 -- by what is wrong, it fails in many ways
            raise Refused(f"failed to decode signed transaction: {error}") from None
        self._check(transaction, sender)
        self._mine([transaction])
        return bytes(transaction.hash)

    def mine(self) -> None:
        """A block with nothing in it."""
        self._mine([])

    def later(self, seconds: int) -> int:
        """Let the next block be at least this much later; how far it is ahead of the clock then."""
        ahead = self.mined[-1].block.header.timestamp - int(time.time())
        self._ahead_seconds = max(self._ahead_seconds, ahead) + seconds
        return self._ahead_seconds

    def set_balance(self, address: bytes, wei: int) -> None:
        """Let an account have this much ether, and make a block of it."""
        state = self._chain.get_vm(self._next_header()).state
        state.set_balance(Address(address), wei)
        state.persist()
        self._chain.header = self._chain.header.copy(state_root=state.state_root)
        self.mine()

    def call(self, asked: Asked, number: int) -> bytes:
        """What a call would return after a block.

        Raises:
            Refused: the contract did, or it ran out of gas.
        """
        done, _ = self._tried(asked, self.mined[number].block.header)
        _raise_failure(done)
        return bytes(done.output)

    def estimate(self, asked: Asked) -> int:
        """Enough gas for a transaction in the next block, and at most a few hundredths too much.

        Raises:
            Refused: it would fail with any.
        """
        header = self._next_header()
        done, used = self._tried(asked, header)
        _raise_failure(done)
        low, high = used - 1, asked.gas
        guess = min((used + _STIPEND) * 64 // 63, high)  # a caller keeps a 64th from whom it calls (EIP-150)
        while high > low * _GAS_CLOSE + 1:
            done, _ = self._tried(replace(asked, gas=guess), header)
            low, high = (guess, high) if done.is_error else (low, guess)
            guess = min((low + high) // 2, low * 2)
        return high

    def _tried(self, asked: Asked, header: BlockHeaderAPI) -> tuple[ComputationAPI, int]:
        """Run it, and forget what it did; and the gas that it took before refunds."""
        vm = self._chain.get_vm(header.copy(base_fee_per_gas=0))
        state = vm.state
        draft = vm.get_transaction_builder().new_unsigned_dynamic_fee_transaction(
            chain_id=self.chain_id,
            nonce=state.get_nonce(Address(asked.sender)),
            max_priority_fee_per_gas=0,
            max_fee_per_gas=0,
            gas=asked.gas,
            to=asked.to,
            value=asked.value,
            data=asked.data,
            access_list=(),
        )
        if draft.intrinsic_gas > asked.gas:
            raise Refused(f"intrinsic gas too low: {draft.intrinsic_gas} wanted")
        if state.get_balance(Address(asked.sender)) < asked.value:
            raise Refused("insufficient funds for gas * price + value")
        spoofed: Any = SpoofTransaction(draft, from_=Address(asked.sender))
        done = state.apply_transaction(spoofed)
        return done, draft.intrinsic_gas + done.get_gas_used()

    def _check(self, transaction: SignedTransactionAPI, sender: Address) -> None:
        state, header = self.state_at(self.head), self._next_header()
        nonce = state.get_nonce(sender)
        cost = transaction.gas * transaction.max_fee_per_gas + transaction.value
        why = {
            "invalid chain id for signer": transaction.chain_id not in {None, self.chain_id},
            "nonce too low": transaction.nonce < nonce,
            f"nonce too high: the next is {nonce}, and this chain keeps none waiting": transaction.nonce
            > nonce,
            "max fee per gas less than block base fee": transaction.max_fee_per_gas < header.base_fee_per_gas,
            "insufficient funds for gas * price + value": state.get_balance(sender) < cost,
            "exceeds block gas limit": transaction.gas > GAS_MAX,
        }
        for said, is_so in why.items():
            if is_so:
                raise Refused(said)
        try:
            transaction.validate()
        except ValidationError as error:
            raise Refused(str(error)) from None
        if transaction.intrinsic_gas > transaction.gas:
            raise Refused("intrinsic gas too low")

    def _next_header(self) -> Any:
        """What the next block will say of itself."""
        parent = self.mined[-1].block.header
        now = max(parent.timestamp + 1, int(time.time()) + self._ahead_seconds)
        return self._chain.header.copy(timestamp=now)

    def _mine(self, transactions: Sequence[SignedTransactionAPI]) -> None:
        self._chain.header = self._next_header()
        result, receipts, computations = self._chain.mine_all(transactions, mix_hash=os.urandom(32))
        done = (receipts[0], computations[0]) if transactions else ()
        self.mined.append(Mined(result.imported_block, *done))


def _raise_failure(done: ComputationAPI) -> None:
    if not done.is_error:
        return
    if isinstance(done.error, Revert):
        raise reverted(bytes(done.output))
    raise Refused(f"{type(done.error).__name__}: {done.error}")


def _genesis() -> dict[str, Any]:
    return {
        "difficulty": POST_MERGE_DIFFICULTY,
        "nonce": POST_MERGE_NONCE,
        "gas_limit": GAS_MAX,
        "timestamp": int(time.time()),
        "coinbase": ZERO_ADDRESS,
        "extra_data": b"",
    }


def _accounts() -> dict[Address, Any]:
    return {
        Address(_CREATE2_DEPLOYER): {"balance": 0, "nonce": 1, "code": _CREATE2_CODE, "storage": {}},
    }
