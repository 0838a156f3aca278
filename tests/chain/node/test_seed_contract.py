"""The contract of seed 000, as it stands in the document, used as its JavaScript does, with a node that runs.

Deployed on a real chain, and answered by a node in a process of its own (spec B1 to B15). Tokens of 18 decimals, which
the contract takes for granted.
"""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from chain.anvil import CONTRACTS
from chain.forging import link_packages, tools
from chain.node.desk import deliveries, ended
from chain.world import ADMIN, ALICE, BOB, MODEL, QUICK
from prepaid.chain.ai import AiContract
from prepaid.chain.artefacts import Artefact, copy_sdk
from prepaid.chain.contracts import Contract
from prepaid.chain.deploying import Deployer
from prepaid.chain.sending import Sender
from prepaid.chain.values import CallType, ChainModel, ResponseStatus, as_id, decode_text
from prepaid.errors import ContractReverted
from prepaid.routing import default_system_trust

NAME = "AdvancedSessionManager"
SEED = CONTRACTS / "test" / "seed" / "seed-000.txt"
PROJECT = """[profile.default]
src = "src"
evm_version = "cancun"
auto_detect_remappings = false
remappings = [
    "@deeptrust/contracts/=lib/deeptrust/",
    "@openzeppelin/contracts/=node_modules/openzeppelin-4/",
]
"""
USDT = 10**18
"""As the document has it."""

PRICE = ChainModel(10**15, 10**15, 10**18, frozenset({CallType.DIRECT}))
TEXT = "Hello from the fake provider."
PROMPTS = ("What is AI?", "Explain blockchain", "How does DTN work?")
ROUTING = [as_id(name) for name in default_system_trust()]


@pytest.fixture(scope="module")
def made(tmp_path_factory, started):
    """The document's contract, compiled as it is, with the SDK of the package; ``started`` brought npm's packages."""
    folder = tmp_path_factory.mktemp("seed")
    (folder / "src").mkdir()
    content = re.search(r"```solidity\n(.*?)```", SEED.read_text(encoding="utf-8"), re.DOTALL)[1]
    (folder / "src" / f"{NAME}.sol").write_text(content, encoding="utf-8")
    (folder / "foundry.toml").write_text(PROJECT, encoding="utf-8")
    copy_sdk(folder / "lib" / "deeptrust")
    link_packages(folder)
    done = subprocess.run(
        ["forge", "build"], cwd=folder, env=tools(), capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((folder / "out" / f"{NAME}.sol" / f"{NAME}.json").read_bytes())
    return Artefact(NAME, NAME, "", tuple(told["abi"]), told["bytecode"]["object"])


@pytest.fixture
async def ai(chain, world):
    admin = await AiContract.at(chain, world.signed_ai, ADMIN, QUICK)
    await admin.set_model(MODEL, PRICE)
    return await AiContract.at(chain, world.signed_ai, ALICE, QUICK)


@pytest.fixture
async def node(desk, world):
    """A node in a process of its own, on the contract whose token has 18 decimals."""
    process = desk.start(desk.environment(world, chain={"ai_contract": world.signed_ai}))
    await desk.said("following")
    yield desk
    process.terminate()
    assert await ended(process) == 0


@pytest.fixture
async def address(made, chain, ai):
    """``ethers.getContractFactory(…).deploy(aiAddress)``"""
    return await Deployer(chain, ALICE, QUICK).deploy(made, ai.address)


@pytest.fixture
def contract(made, chain, address):
    return Contract(chain, made, address, Sender(chain, ALICE, QUICK))


@pytest.fixture
def bobs(made, chain, address):
    return Contract(chain, made, address, Sender(chain, BOB, QUICK))


async def create(contract, ai, units):
    await ai.token.approve(contract.address, units)
    receipt = await contract.send("createSession", units)
    (told,) = contract.events(receipt, "SessionCreated")
    return told["sessionId"]


async def asked(contract, ai, prompt):
    """``contract.makeAIRequest(prompt, model, routing, {value: parseEther("0.1")})``"""
    receipt = await contract.send("makeAIRequest", prompt, MODEL, ROUTING, value_wei=10**17)
    (request,) = ai.requests_in(receipt)
    return request


async def called_back(contract, event):
    """What its callbacks told, in order."""
    query = {"address": contract.address, "topics": [contract.topic(event)], "fromBlock": 0}
    return [contract.decode(event, log) for log in await contract.chain.w3.eth.get_logs(query)]


async def test_creating_using_and_batching(contract, ai, node):
    """Spec B1 to B3, B13, B15: each answered once, the callback told, and the session pays for what was used."""
    session_id = await create(contract, ai, 50 * USDT)
    ether = await contract.chain.w3.eth.get_balance(contract.address)
    made = [await asked(contract, ai, "What is the weather like?")]
    settled = [await ai.settled(made[0])]
    made += [await asked(contract, ai, prompt) for prompt in PROMPTS]
    settled += [await ai.settled(request) for request in made[1:]]
    assert {request.session_id for request in made} == {session_id}
    assert {decode_text(each.response.response) for each in settled} == {TEXT}
    told = await called_back(contract, "AIResponseReceived")
    ids = sorted(request.request_id for request in made)
    assert sorted(f"0x{each['requestId'].hex()}" for each in told) == ids == sorted(await deliveries(ai))
    assert {(each["status"], each["message"]) for each in told} == {(ResponseStatus.SUCCESS, "")}
    assert node.fake.served == len(made)
    books = await ai.session_of(session_id)
    assert (books.available, books.held) == (50 * USDT - sum(each.cost for each in settled), 0)
    owner, _, _, is_active, count = await contract.call("getSessionStats", session_id)
    assert (owner, is_active, count) == (ALICE.address, True, len(made))
    assert await contract.chain.w3.eth.get_balance(contract.address) == ether


async def test_a_request_that_fails(contract, ai, node):
    """Spec A16, B15: the node cannot read what is asked, says so, and the contract is told."""
    await create(contract, ai, 50 * USDT)
    request = await asked(contract, ai, "{0:uint8}")
    settled = await ai.settled(request)
    assert settled.response.status is ResponseStatus.FAILED
    (told,) = await called_back(contract, "AIRequestFailed")
    assert (f"0x{told['requestId'].hex()}", told["error"]) == (request.request_id, settled.response.message)
    assert node.fake.served == 0


async def test_pool_renewal_statistics_and_configuration(contract, bobs, ai, node):
    """Spec B4, B6 to B8, B10, B11: a session that went through other hands, and has more money, is answered."""
    session_id = await create(contract, ai, 50 * USDT)
    await contract.send("getOrCreateSession")
    await contract.send("addToPool", session_id)
    assert await contract.call("getPoolStatus") == [1, 5]
    with pytest.raises(ContractReverted, match="Already pooled"):
        await contract.send("addToPool", session_id)
    assert await bobs.call("getFromPool") == session_id
    await bobs.send("getFromPool")
    with pytest.raises(ContractReverted, match="Pool empty"):
        await bobs.send("getFromPool")

    await ai.token.approve(contract.address, 25 * USDT)
    (renewed,) = contract.events(await contract.send("renewSession", session_id, 25 * USDT), "SessionRenewed")
    assert (renewed["sessionId"], renewed["newBalance"]) == (session_id, 75 * USDT)
    target = await ai.fee_target_of(contract.address)
    assert await ai.token.balance_of(target) == 25 * USDT  # it serves when the session runs dry

    settled = await ai.settled(await asked(contract, ai, "What is the weather like?"))
    owner, balance, _, is_active, count = await contract.call("getSessionStats", session_id)
    assert (owner, balance, is_active, count) == (ALICE.address, 75 * USDT, True, 3)
    assert await contract.call("getUserSessionCount", ALICE.address) == 1
    assert (await ai.session_of(session_id)).available == 50 * USDT - settled.cost

    await contract.send("updateConfig", 20 * USDT, 12 * 60 * 60, 10)
    assert await contract.call("getPoolStatus") == [0, 10]
    with pytest.raises(ContractReverted, match="Balance too low"):
        await contract.send("createSession", 19 * USDT)


async def test_cleaning_up_and_closing(contract, bobs, ai, node, anvil):
    """Spec B5, B9: what is left of each session is in the contract, to the last unit."""
    old = await create(contract, ai, 20 * USDT)
    settled = await ai.settled(await asked(contract, ai, "What is the weather like?"))
    anvil.later(86_401)
    young = await create(contract, ai, 30 * USDT)
    closed = contract.events(await bobs.send("cleanupOldSessions"), "SessionClosed")
    assert [(each["sessionId"], each["owner"]) for each in closed] == [(old, ALICE.address)]
    assert await ai.token.balance_of(contract.address) == 20 * USDT - settled.cost

    with pytest.raises(ContractReverted, match="Not session owner"):
        await bobs.send("closeSession", young)
    closed = contract.events(await contract.send("closeAllSessions"), "SessionClosed")
    assert [each["sessionId"] for each in closed] == [young]
    assert await ai.token.balance_of(contract.address) == 50 * USDT - settled.cost
    assert not any([(await ai.session_of(each)).is_open for each in (old, young)])
    assert node.fake.served == 1
