"""Requests on the AI contract from Python: asked, answered, refused, expired (spec A3, A4, A10 to A17, B13)."""

from __future__ import annotations

import pytest
from eth_utils import keccak

from chain.world import (
    ADMIN,
    ALICE,
    BOB,
    MODEL,
    NODE,
    OPERATOR,
    PRICE,
    QUICK,
    USDT,
    question,
    success,
    wallet,
)
from prepaid import (
    Aggregation,
    ApiNotSupported,
    ConsensusTimeout,
    ContractReverted,
    InsufficientFee,
    InsufficientFunds,
    InvalidRequestError,
    ModelNotSupported,
    NoNodesAvailable,
    RequestNotFound,
    Routing,
    ValueTooLarge,
    model_id,
)
from prepaid.chain.ai import AiContract, Ballot
from prepaid.chain.artefacts import artefact
from prepaid.chain.contracts import Contract
from prepaid.chain.deploying import Deployer
from prepaid.chain.sending import Sender
from prepaid.chain.terms import Terms
from prepaid.chain.values import (
    Answer,
    BatchRequest,
    CallBack,
    CallType,
    ChainModel,
    DtnRequest,
    RequestOptions,
    ResponseStatus,
    as_id,
    decode_text,
    encode_prompt,
    encode_text,
)
from prepaid.routing import custom_nodes_validated_all, default_system_trust, system_validated_any

ANY = system_validated_any()


@pytest.fixture
async def session_id(alice):
    return await alice.start_user_session("10 USDT")


async def test_an_answer_is_fetched_while_it_is_pending_and_after(alice, operator, session_id):
    """Spec A14: kept on chain, because the request asks for it."""
    kept = RequestOptions(timeout_seconds=120, keep_response=True)
    made = await alice.request(session_id, MODEL, ANY, question(), options=kept)
    assert (await alice.fetch_response(made.request_id)).status is ResponseStatus.PENDING
    await operator.respond_to_request(made.encoded_terms, NODE, success("Sunny."))
    response = await alice.fetch_response(made.request_id)
    assert (response.status, decode_text(response.response)) == (ResponseStatus.SUCCESS, "Sunny.")
    settled = await alice.settled(made)
    assert settled.response == response
    with pytest.raises(RequestNotFound):
        await alice.fetch_response("0x" + "11" * 32)


async def test_the_terms_are_read_as_the_contract_packed_them(alice, session_id):
    """Everything a node must know before it works."""
    callback = CallBack.of(BOB.address, "onSuccess", "onFailure")
    routing = Routing(("system",), (NODE,), 1, 70, Aggregation.ANY)
    options = RequestOptions(timeout_seconds=90, keep_response=True)
    made = await alice.request(
        session_id,
        MODEL,
        routing,
        question("What?", "When?"),
        callback,
        user=BOB.address,
        callback_gas=123_456,
        value_wei=10**15,
        options=options,
    )
    now = await alice.contract.chain.time()
    assert made.terms == Terms(
        session_id=session_id,
        content=made.terms.content,
        user=BOB.address,
        callback_wei=10**15,
        callback=CallBack(
            keccak(text="onSuccess(bytes32)")[:4], keccak(text="onFailure(bytes32)")[:4], BOB.address
        ),
        request_fee=len(question("What?", "When?").call) * PRICE.fee_per_byte_req,
        fee_per_byte_res=PRICE.fee_per_byte_res,
        total_fee_per_res=PRICE.total_fee_per_res,
        deadline=now + 90,
        slot=1,
        serial=1,
        callback_gas=123_456,
        redundancy=1,
        quorum=1,
        aggregation=Aggregation.ANY,
        keep_response=True,
        trusted=(as_id("system"), as_id(NODE)),
    )
    assert made.asked == question("What?", "When?")
    assert made.model_id == model_id(MODEL) == alice.model_id(MODEL)
    assert await alice.find_request(made.request_id) == made
    with pytest.raises(RequestNotFound):
        await alice.find_request("0x" + "22" * 32)
    with pytest.raises(InvalidRequestError, match="no terms"):
        Terms.read(made.encoded_terms[:-1])


async def test_session_zero_is_started_from_the_deposit(alice):
    """Spec A4: and refused clearly where there is none."""
    with pytest.raises(InsufficientFunds):
        await alice.request(0, MODEL, default_system_trust(), question())
    await alice.deposit("2 USDT")
    made = await alice.request(0, MODEL, default_system_trust(), question())
    books = await alice.session_of(made.session_id)
    assert (books.owner, books.available + books.held) == (ALICE.address, 2 * USDT)


async def test_what_cannot_be_paid(alice):
    """Spec A9, A10: the worst case, with the numbers."""
    session_id = await alice.start_user_session(1_000)
    with pytest.raises(InsufficientFunds) as caught:
        await alice.request(session_id, MODEL, ANY, question())
    needed = len(question().call) * PRICE.fee_per_byte_req + PRICE.total_fee_per_res
    assert (caught.value.needed, caught.value.available) == (needed, 1_000)


async def test_models_apis_and_fees(alice, session_id):
    """Spec A11."""
    with pytest.raises(ModelNotSupported, match="'gpt-5' is not offered") as unknown:
        await alice.request(session_id, "gpt-5", ANY, question())
    assert unknown.value.model == "gpt-5"
    with pytest.raises(ModelNotSupported):
        await alice.model_of("gpt-5")
    by_cid = DtnRequest(b"cid", 10, 20, 10_000, call_type=CallType.IPFS)
    with pytest.raises(ApiNotSupported, match="IPFS"):
        await alice.request(session_id, MODEL, ANY, by_cid)
    for cheap, what, offered, price in (
        (ChainModel(9, 20, 10_000), "fee per request byte", 9, 10),
        (ChainModel(10, 19, 10_000), "fee per response byte", 19, 20),
        (ChainModel(10, 20, 9_999), "total fee for the response", 9_999, 10_000),
    ):
        with pytest.raises(InsufficientFee, match=what) as caught:
            await alice.request(session_id, MODEL, ANY, question(price=cheap))
        assert (caught.value.offered, caught.value.price) == (offered, price)
    assert await alice.model_of(MODEL) == PRICE


async def test_routings_that_cannot_be(alice, session_id):
    """Spec A12."""
    with pytest.raises(NoNodesAvailable, match="0 registered nodes"):
        await alice.request(session_id, MODEL, ["nobody.knows"], question())
    routing = Routing(("system",), redundancy=2, aggregation=Aggregation.ALL)
    with pytest.raises(NoNodesAvailable, match="1 registered nodes are trusted by the routing and 2 are"):
        await alice.request(session_id, MODEL, routing, question())
    with pytest.raises(ValueTooLarge) as caught:
        await alice.request(session_id, MODEL, [f"system.node-{number}" for number in range(17)], question())
    assert (caught.value.size, caught.value.limit) == (17, 16)
    with pytest.raises(InvalidRequestError, match="timeout of 59 is not from 60 to 604800"):
        await alice.request(session_id, MODEL, ANY, question(), options=RequestOptions(59))
    with pytest.raises(InvalidRequestError, match="takes no options"):
        await alice.request(session_id, MODEL, [NODE], question(), options=RequestOptions(60))


async def test_a_request_that_nobody_answers(alice, bob, anvil, session_id):
    """Spec A17: anyone expires it, and nothing was taken."""
    made = await alice.request(session_id, MODEL, ANY, question(), options=RequestOptions(60))
    with pytest.raises(ConsensusTimeout, match="expire"):
        await alice.settled(made, timeout_seconds=0)
    with pytest.raises(ContractReverted) as early:
        await bob.expire(made.encoded_terms)
    assert early.value.reason == "DtnAi_DeadlineNotPassed"
    anvil.later(61)
    await bob.expire(made.encoded_terms)
    settled = await alice.settled(made)
    assert (settled.response.status, settled.response.message) == (ResponseStatus.TIMEOUT, "timeout")
    assert settled.cost == 0
    assert (await alice.session_of(session_id)).available == 10 * USDT
    with pytest.raises(ContractReverted, match="DtnAi_RequestSettled"):
        await bob.expire(made.encoded_terms)


async def test_a_question_that_cannot_be_answered(alice, operator, session_id):
    """Spec A16: no response fee, and the reason."""
    made = await alice.request(session_id, MODEL, ANY, question())
    await operator.respond_to_request(
        made.encoded_terms, NODE, Answer(ResponseStatus.FAILED, "no such placeholder")
    )
    settled = await alice.settled(made)
    assert (settled.response.status, settled.response.message) == (
        ResponseStatus.FAILED,
        "no such placeholder",
    )
    assert settled.cost == made.terms.request_fee


async def test_only_its_operator_answers_as_a_node_and_only_once(alice, bob, operator, session_id):
    """Spec A12."""
    made = await alice.request(session_id, MODEL, ANY, question())
    with pytest.raises(ContractReverted, match="DtnAi_NotOperator"):
        await bob.respond_to_request(made.encoded_terms, NODE, success())
    await operator.respond_to_request(made.encoded_terms, NODE, success())
    with pytest.raises(ContractReverted) as twice:
        await operator.respond_to_request(made.encoded_terms, NODE, success())
    assert twice.value.reason == "DtnAi_RequestSettled"
    assert twice.value.arguments == {"requestId": made.request_id, "status": 1}


async def test_a_batch(alice):
    """Spec B13: in one transaction, each made or refused on its own, with its own error."""
    hold = len(question().call) * PRICE.fee_per_byte_req + PRICE.total_fee_per_res
    session_id = await alice.start_user_session(2 * hold)
    batch = [
        BatchRequest(MODEL, question(), ANY),
        BatchRequest("gpt-5", question(), ANY),
        BatchRequest(MODEL, question(), ANY, callback_wei=10**9),
        BatchRequest(MODEL, question(), ANY),
        BatchRequest(MODEL, question(price=ChainModel(1, 1, 1)), ANY),
    ]
    first, second, third, fourth, fifth = await alice.request_batch(session_id, batch)
    assert isinstance(second, ModelNotSupported)
    assert second.model == model_id("gpt-5")
    assert (fourth.needed, fourth.available) == (hold, 0)
    assert isinstance(fifth, InsufficientFee)
    assert (first.terms.callback_wei, third.terms.callback_wei) == (0, 10**9)
    assert first.tx_hash == third.tx_hash
    assert (await alice.session_of(session_id)).held == 2 * hold


async def test_a_callback_and_its_gas(alice, operator, chain, world, session_id):
    """Spec A13: the contract that is told, with ETH that pays for it; what is left goes back to the user."""
    deployer = Deployer(chain, ADMIN, QUICK)
    asker = await deployer.deploy(artefact("test_asker"), world.ai)
    reader = Contract(chain, artefact("test_asker"), asker, Sender(chain, ADMIN, QUICK))
    await reader.send("setMood", 1)  # fetch the response
    callback = CallBack.of(asker, "onSuccess", "onFailure")
    user = wallet("somebody else").address
    made = await alice.request(
        session_id, MODEL, ANY, question(), callback, user=user, callback_gas=500_000, value_wei=10**16
    )
    await operator.respond_to_request(made.encoded_terms, NODE, success("Sunny."))
    assert decode_text(await reader.call("response")) == "Sunny."
    assert 0 < await chain.w3.eth.get_balance(user) < 10**16


class TestSeveralNodes:
    """Spec A12: answers that several nodes sign, handed in by one who relays."""

    @pytest.fixture
    async def nodes(self, chain, world):
        """Three nodes with their operators, in ascending order of their ids."""
        admin = await AiContract.at(chain, world.ai, ADMIN, QUICK)
        made = []
        for number in range(3):
            operator = wallet(f"operator {number}")
            await admin.register_node("system", f"panel-{number}", operator.address)
            client = await AiContract.at(chain, world.ai, operator, QUICK)
            made.append((f"system.panel-{number}", client))
        return sorted(made, key=lambda node: as_id(node[0]))

    async def test_all_of_three(self, alice, bob, nodes, session_id):
        routing = custom_nodes_validated_all([name for name, _ in nodes])
        made = await alice.request(session_id, MODEL, routing, question())
        seals = [await client.seal(made.request_id, name, success()) for name, client in nodes]
        with pytest.raises(ContractReverted, match="DtnAi_QuorumNotMet"):
            await bob.relay_answer(made.encoded_terms, success(), seals[:2])
        await bob.relay_answer(made.encoded_terms, success(), seals[::-1])
        settled = await alice.settled(made)
        assert settled.cost == 3 * await bob.earned(nodes[0][0])

    async def test_a_vote_that_a_liar_loses(self, alice, bob, nodes, session_id):
        routing = Routing(("system",), redundancy=3, aggregation=Aggregation.VOTE)
        made = await alice.request(session_id, MODEL, routing, question())
        names = [name for name, _ in nodes]
        seals = [await client.seal(made.request_id, name, success()) for name, client in nodes[:2]]
        lie = await nodes[2][1].seal(made.request_id, names[2], success("Rain."))
        with pytest.raises(ContractReverted, match="DtnAi_SignatureInvalid"):
            await bob.relay_answer(made.encoded_terms, success(), [*seals, lie])
        await bob.relay_answer(made.encoded_terms, success(), seals)
        assert [await bob.earned(name) > 0 for name in names] == [True, True, False]

    @pytest.mark.parametrize("kind", [Aggregation.SELECT_BEST, Aggregation.RANK])
    async def test_ballots(self, alice, bob, nodes, session_id, kind):
        """All prefer the second node's candidate, but itself; of RANK, the third's comes next."""
        routing = Routing(("system",), redundancy=3, aggregation=kind)
        made = await alice.request(session_id, MODEL, routing, question())
        texts = [encode_text(text) for text in ("Rain.", "Sunny.", "Snow.")]
        candidates = [
            (as_id(name), "0x" + keccak(text).hex()) for (name, _), text in zip(nodes, texts, strict=True)
        ]
        preference = 1 if kind is Aggregation.SELECT_BEST else 0x021
        ballots = [
            await client.ballot(made.request_id, candidates, name, preference) for name, client in nodes
        ]
        assert all(isinstance(ballot, Ballot) for ballot in ballots)
        responses = [texts[1]] if kind is Aggregation.SELECT_BEST else texts
        await bob.relay_ballots(made.encoded_terms, responses, ballots)
        response = (await alice.settled(made)).response
        assert response.status is ResponseStatus.SUCCESS
        if kind is Aggregation.SELECT_BEST:
            assert decode_text(response.response) == "Sunny."
        else:
            ranked = alice.contract.chain.w3.codec.decode(["bytes[]"], response.response)[0]
            assert [decode_text(each) for each in ranked] == ["Sunny.", "Snow.", "Rain."]


class TestNames:
    """Spec A12: anyone registers nodes under a name they own; the system's are the administrator's."""

    async def test_a_namespace_of_ones_own(self, alice, bob):
        namespace_id = await alice.register_namespace("alices-nodes")
        assert await alice.register_node("alices-nodes", "one") == as_id("alices-nodes.one")
        namespace = await bob.namespace_of("alices-nodes")
        assert (namespace.namespace_id, namespace.owner, namespace.nodes) == (namespace_id, ALICE.address, 1)
        assert await bob.namespace_of("nobodys") is None
        node = await bob.node_of("alices-nodes.one")
        assert (node.operator, node.namespace_id) == (ALICE.address, namespace_id)
        with pytest.raises(ContractReverted, match="DtnAi_NotNamespaceOwner"):
            await bob.register_node("alices-nodes", "two")
        with pytest.raises(ContractReverted, match="DtnAi_NameTaken"):
            await bob.register_namespace("alices-nodes")
        with pytest.raises(ContractReverted, match="DtnAi_NameInvalid"):
            await bob.register_namespace("Bob's")

    async def test_what_is_given_away_and_what_is_retired(self, alice, bob):
        await alice.register_namespace("alices-nodes")
        await alice.register_node("alices-nodes", "one")
        await alice.transfer_node("alices-nodes.one", BOB.address)
        await alice.transfer_namespace("alices-nodes", BOB.address)
        await bob.retire_node("alices-nodes.one")
        node = await alice.node_of("alices-nodes.one")
        assert (node.operator, node.namespace_id) == (BOB.address, None)
        with pytest.raises(NoNodesAvailable, match=r"No node 'alices-nodes\.two'"):
            await alice.node_of("alices-nodes.two")

    async def test_the_administrators(self, alice, operator):
        assert await alice.administrator() == ADMIN.address
        with pytest.raises(ContractReverted, match="DtnAi_NotNamespaceOwner"):
            await alice.set_model("mine", PRICE)
        with pytest.raises(ContractReverted, match="DtnAi_NothingEarned"):
            await operator.withdraw(NODE)
        assert (await alice.node_of(NODE)).operator == OPERATOR.address


def test_ids_of_names():
    """Spec A11: keccak256 of the name; what is an id already stays one; the ledger's system is the chain's."""
    assert as_id("system") == as_id(*default_system_trust()) == "0x" + keccak(text="system").hex()
    assert as_id(as_id("system")) == as_id("system")
    with pytest.raises(InvalidRequestError, match="no ABI-encoded text"):
        decode_text(b"\xff" * 40)
    with pytest.raises(InvalidRequestError, match="not lines of text"):
        encode_prompt(1)
