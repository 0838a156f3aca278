"""Requests to several nodes: who is asked, who decides, and who is paid (spec A12)."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asking.desk import Slow, price_of
from prepaid import (
    Aggregation,
    ConsensusTimeout,
    InsufficientFunds,
    NodeValidationFailed,
    NoNodesAvailable,
    OfflineModel,
    ProviderError,
    Routing,
    SessionManager,
)
from prepaid.routing import SYSTEM_NAMESPACE, is_decided
from prepaid.routing import Answer as NodeAnswer

THREE = ("n0", "n1", "n2")


def among(*nodes, aggregation=Aggregation.ANY, redundancy=None, confidence=51):
    return Routing(
        trusted_nodes=nodes,
        redundancy=redundancy or len(nodes),
        aggregation=aggregation,
        confidence=confidence,
    )


async def test_the_majority_is_chosen_and_all_who_answered_are_paid(manager, session):
    for node, says in zip(THREE, ("no", "yes", "yes"), strict=True):
        manager.register_node(node, OfflineModel(script=[says]))
    response = await manager.make_ai_request(
        "ann", "agree?", routing=among(*THREE, aggregation=Aggregation.VOTE, confidence=60)
    )
    assert response.text == "yes"
    assert set(response.nodes) == {"n1", "n2"}
    assert response.cost == sum(price_of("agree?", text) for text in response.answers.values())
    assert session.account.spent == response.cost


async def test_disagreement_costs_nothing(manager, session):
    for node, says in zip(THREE, ("one", "two", "three"), strict=True):
        manager.register_node(node, OfflineModel(script=[says]))
    with pytest.raises(NodeValidationFailed):
        await manager.make_ai_request("ann", "agree?", routing=among(*THREE, aggregation=Aggregation.VOTE))
    account = session.account
    assert (account.spent, account.held, account.available) == (0, 0, 1_000_000)


async def test_a_sleeper_leaves_the_others_free(manager, session):
    """Two of three are enough; the sleeper's hold goes back."""
    for node in THREE[:2]:
        manager.register_node(node, OfflineModel(script=["same"]))
    manager.register_node("n2", Slow(60, script=["same"]))
    response = await manager.make_ai_request(
        "ann", "agree?", routing=among(*THREE, aggregation=Aggregation.VOTE)
    )
    assert set(response.answers) == {"n0", "n1"}
    assert session.account.held == 0
    assert session.account.spent == response.cost


async def test_all_must_answer_in_time(manager, session):
    manager.register_node("n0", OfflineModel())
    manager.register_node("n1", Slow(60, script=["late"]))
    with pytest.raises(ConsensusTimeout):
        await manager.make_ai_request(
            "ann", "hello", routing=among("n0", "n1", aggregation=Aggregation.ALL), timeout_seconds=0.05
        )
    assert session.account.held == session.account.spent == 0


async def test_nobody_in_time(manager, session):
    manager.register_node("late", Slow(60, script=["too late"]))
    with pytest.raises(ConsensusTimeout, match=r"0\.05"):
        await manager.make_ai_request("ann", "hello", routing=among("late"), timeout_seconds=0.05)
    assert session.account.held == session.account.spent == 0


async def test_any_takes_the_first(manager, session):
    manager.register_node("n0", Slow(60, script=["slow"]))
    manager.register_node("n1", OfflineModel(script=["fast"]))
    response = await manager.make_ai_request("ann", "hello", routing=among("n0", "n1"))
    assert (response.text, response.nodes) == ("fast", ("n1",))


async def test_a_failing_node_is_covered_by_another(manager, session):
    manager.register_node("n0", OfflineModel(script=[ProviderError("down")]))
    manager.register_node("n1", OfflineModel(script=["up"]))
    response = await manager.make_ai_request("ann", "hello", routing=among("n0", "n1"))
    assert response.text == "up"
    assert session.account.spent == price_of("hello", "up")


async def test_all_failed(manager, session):
    for node in THREE:
        manager.register_node(node, OfflineModel(script=[ProviderError(f"{node} is down")]))
    with pytest.raises(ProviderError, match="is down"):
        await manager.make_ai_request("ann", "hello", routing=among(*THREE))
    assert session.account.held == session.account.spent == 0


async def test_namespaces_are_trusted_or_not(manager, session):
    manager.register_node("ours", OfflineModel(script=["ours"]), namespace="team.blue")
    blue = Routing(trust_namespaces=("team.blue",))
    assert (await manager.make_ai_request("ann", "hello", routing=blue)).nodes == ("ours",)
    with pytest.raises(NoNodesAvailable):
        await manager.make_ai_request("ann", "hello", routing=Routing(trust_namespaces=("team.red",)))
    system = await manager.make_ai_request(
        "ann", "hello", routing=Routing(trust_namespaces=(SYSTEM_NAMESPACE,))
    )
    assert system.nodes == ("offline",)


async def test_too_few_nodes_for_the_redundancy(manager, session):
    manager.register_node("n0", OfflineModel())
    with pytest.raises(NoNodesAvailable):
        await manager.make_ai_request("ann", "hello", routing=among("n0", redundancy=2))


async def test_all_are_held_for_or_none_is_asked(manager):
    """A balance for two of three nodes: refused before any is asked."""
    asked = []

    class Watched(OfflineModel):
        async def stream(self, request):
            asked.append(request)
            async for event in super().stream(request):
                yield event

    for node in THREE:
        manager.register_node(node, Watched())
    poor = await manager.create_session("bob", 2 * price_of("count to 4", "1 2 3 4"))
    with pytest.raises(InsufficientFunds):
        await manager.make_ai_request(
            "bob",
            "count to 4",
            session_id=poor.session_id,
            max_output_tokens=4,
            routing=among(*THREE, aggregation=Aggregation.ALL),
        )
    assert not asked
    assert poor.account.held == 0


async def test_a_caller_who_leaves_holds_nothing(manager, session):
    late = Slow(60, script=["late"])
    manager.register_node("late", late)
    asking = asyncio.ensure_future(manager.make_ai_request("ann", "hello", routing=among("late")))
    await late.asked.wait()
    assert session.account.held
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert session.account.held == session.account.spent == 0


@settings(max_examples=40, deadline=None)
@given(
    says=st.lists(st.sampled_from(["a", "b", None]), min_size=1, max_size=5),
    aggregation=st.sampled_from(Aggregation),
    confidence=st.sampled_from([0, 51, 100]),
)
async def test_whatever_nodes_say_money_is_whole(tmp_path_factory, says, aggregation, confidence):
    """Either there is an answer and its nodes are paid, or nothing moved at all."""
    nodes = [f"n{number}" for number in range(len(says))]
    routing = among(*nodes, aggregation=aggregation, confidence=confidence)
    async with SessionManager(tmp_path_factory.mktemp("routing") / "x.db", auto_cleanup=False) as manager:
        session = await manager.create_session("ann", "1 USD")
        for node, text in zip(nodes, says, strict=True):
            script = [ProviderError("down")] if text is None else [text]
            manager.register_node(node, OfflineModel(script=script))
        answers = [NodeAnswer(node, text) for node, text in zip(nodes, says, strict=True) if text]
        try:
            response = await manager.make_ai_request("ann", "hello", routing=routing)
        except (ProviderError, NodeValidationFailed, ConsensusTimeout):
            assert session.account.spent == 0
        else:
            assert is_decided(answers, 0, routing)
            assert (
                session.account.spent
                == response.cost
                == sum(price_of("hello", text) for text in response.answers.values())
            )
        assert session.account.held == 0
