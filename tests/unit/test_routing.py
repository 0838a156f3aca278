"""Spec A12: who may answer, and how their answers become one."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepaid.errors import (
    ConsensusTimeout,
    InvalidRequestError,
    NodeValidationFailed,
    NoNodesAvailable,
    RoutingError,
)
from prepaid.routing import (
    REDUNDANCY_MAX,
    SYSTEM_NAMESPACE,
    Aggregation,
    Answer,
    Node,
    Routing,
    aggregate,
    agreement,
    answers_needed,
    custom_nodes_validated_all,
    custom_nodes_validated_any,
    default_system_trust,
    is_decided,
    routing_from_ids,
    select_nodes,
    system_validated_any,
)

CHAT = frozenset({"chat"})
words = st.text("ab", min_size=1, max_size=2)


def node(node_id, namespace=SYSTEM_NAMESPACE, models=("m",), apis=CHAT):
    return Node(node_id, namespace, frozenset(models), frozenset(apis))


def said(*contents):
    return [Answer(f"n{place}", content) for place, content in enumerate(contents)]


def routing(aggregation, redundancy=1, confidence=51):
    return Routing(("ns",), (), redundancy, confidence, aggregation)


nodes = st.builds(
    Node,
    st.sampled_from([f"n{number}" for number in range(12)]),
    st.sampled_from(["a", "b", "c"]),
    st.frozensets(st.sampled_from(["m", "other"])),
    st.frozensets(st.sampled_from(["chat", "tools"])),
)
node_lists = st.lists(nodes, max_size=12, unique_by=lambda one: one.node_id)
routings = st.builds(
    Routing,
    st.just(("ns",)),
    st.just(()),
    st.integers(1, REDUNDANCY_MAX),
    st.integers(0, 100),
    st.sampled_from(Aggregation),
)


# --- routing ---------------------------------------------------------------------------------


def test_the_aggregations_have_the_numbers_of_the_contracts():
    assert [(one.name, one.value) for one in Aggregation] == [
        ("ANY", 0),
        ("ALL", 1),
        ("SELECT_BEST", 2),
        ("VOTE", 3),
        ("RANK", 4),
    ]


def test_the_defaults_mirror_those_of_the_contracts():
    assert default_system_trust() == (SYSTEM_NAMESPACE,)
    assert system_validated_any() == Routing((SYSTEM_NAMESPACE,), (), 1, 51, Aggregation.ANY)
    assert custom_nodes_validated_any(["a", "b", "a"]) == Routing((), ("a", "b"), 1, 51, Aggregation.ANY)
    assert custom_nodes_validated_all(["a", "b", "a"]) == Routing((), ("a", "b"), 2, 51, Aggregation.ALL)
    assert routing_from_ids(default_system_trust()).trusts(node("x"))
    assert routing_from_ids(["x"]).trusts(node("x", "elsewhere"))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"redundancy": 0}, ["Redundancy 0", "from 1 to 7", "within 1 and 7"]),
        ({"redundancy": 8}, ["Redundancy 8", "from 1 to 7"]),
        ({"redundancy": True}, ["Redundancy True"]),
        ({"redundancy": 2.0}, ["Redundancy 2.0"]),
        ({"redundancy": "3"}, ["Redundancy '3'"]),
        ({"confidence": 101}, ["Confidence 101", "from 0 to 100", "within 0 and 100"]),
        ({"confidence": -1}, ["Confidence -1"]),
        ({"aggregation": 3}, ["Aggregation 3", "ANY, ALL, SELECT_BEST, VOTE, RANK"]),
        ({"trust_namespaces": ()}, ["0 namespaces and 0 nodes", "at least 1", SYSTEM_NAMESPACE]),
        ({"trust_namespaces": "ns"}, ["trust_namespaces is 'ns', a str", "tuple of names"]),
        ({"trusted_nodes": ["n"]}, ["trusted_nodes is \"['n']\", a list"]),
        ({"trusted_nodes": ("",)}, ["trusted_nodes", "none empty"]),
        ({"trusted_nodes": (1,)}, ["trusted_nodes"]),
    ],
)
def test_a_bad_routing_is_refused_with_value_limit_and_remedy(fields, named):
    with pytest.raises(InvalidRequestError) as refused:
        Routing(**{"trust_namespaces": ("ns",), **fields})
    assert refused.value.remedy
    for part in named:
        assert part in str(refused.value)


def test_nobody_and_too_many_and_a_bare_string_are_no_nodes():
    with pytest.raises(InvalidRequestError, match="trusts nobody"):
        custom_nodes_validated_all([])
    with pytest.raises(InvalidRequestError, match="trusts nobody"):
        custom_nodes_validated_any([])
    with pytest.raises(InvalidRequestError, match="Redundancy 8"):
        custom_nodes_validated_all(f"n{number}" for number in range(8))
    with pytest.raises(InvalidRequestError, match="a str; it must be a tuple"):
        custom_nodes_validated_any("node-1")


# --- selection -------------------------------------------------------------------------------


@given(
    node_lists,
    st.randoms(use_true_random=False),
    st.text(),
    st.integers(1, 3),
    st.sets(st.sampled_from(["chat", "tools"])),
)
def test_selected_nodes_are_eligible_distinct_and_the_same_in_any_order(
    listed, random, seed, redundancy, apis
):
    trust = Routing(("a",), ("n0", "n1"), redundancy)
    eligible = {
        one.node_id
        for one in listed
        if (one.namespace == "a" or one.node_id in ("n0", "n1")) and "m" in one.models and apis <= one.apis
    }
    shuffled = random.sample(listed, len(listed))
    if len(eligible) < redundancy:
        with pytest.raises(NoNodesAvailable):
            select_nodes(listed, trust, "m", apis, seed=seed)
        return
    chosen = select_nodes(listed, trust, "m", apis, seed=seed)
    assert len({one.node_id for one in chosen}) == redundancy
    assert {one.node_id for one in chosen} <= eligible
    assert select_nodes(shuffled, trust, "m", apis, seed=seed) == chosen


@given(st.text(), st.integers(0, 9))
def test_a_node_that_leaves_moves_only_its_own_requests(seed, leaving):
    listed = [node(f"n{number}") for number in range(10)]
    (chosen,) = select_nodes(listed, system_validated_any(), "m", seed=seed)
    left = [one for one in listed if one.node_id != f"n{leaving}"]
    (after,) = select_nodes(left, system_validated_any(), "m", seed=seed)
    assert after == chosen or chosen.node_id == f"n{leaving}"


def test_the_load_spreads_evenly():
    listed = [node(f"n{number}") for number in range(8)]
    trust = Routing((SYSTEM_NAMESPACE,), redundancy=2)
    load = Counter(
        one.node_id
        for request in range(4_000)
        for one in select_nodes(listed, trust, "m", seed=f"request-{request}")
    )
    assert len(load) == 8
    assert all(900 < asked < 1_100 for asked in load.values())


def test_named_nodes_and_namespaces_are_both_trusted_and_nobody_else():
    listed = [node("a", "x"), node("b", "y"), node("c", "z"), node("ab", "xy")]
    trust = Routing(("x",), ("b",), redundancy=2)
    assert {one.node_id for one in select_nodes(listed, trust, "m", seed="s")} == {"a", "b"}


def test_no_nodes_says_what_was_asked_and_how_many_there_were():
    listed = [node("a"), node("b", "elsewhere"), node("c", models=["other"]), node("d", apis=())]
    trust = Routing((SYSTEM_NAMESPACE,), tuple(f"n{number}" for number in range(10)), redundancy=3)
    with pytest.raises(NoNodesAvailable) as refused:
        select_nodes(listed, trust, "m", ["chat"], seed="s")
    message = str(refused.value)
    assert "1 of 4 known nodes are eligible and 3 are needed for model 'm' with [chat]" in message
    assert f"[{SYSTEM_NAMESPACE}]" in message
    assert "n7 and 2 more]" in message
    assert message.endswith(NoNodesAvailable.remedy)
    with pytest.raises(NoNodesAvailable, match="0 of 0 known nodes are eligible and 1 are needed"):
        select_nodes([], system_validated_any(), "x" * 10_000, seed="s")


# --- aggregation -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("aggregation", "redundancy", "confidence", "needed"),
    [
        (Aggregation.ANY, 7, 100, 1),
        (Aggregation.ALL, 7, 0, 7),
        (Aggregation.VOTE, 1, 0, 1),
        (Aggregation.VOTE, 2, 0, 2),
        (Aggregation.VOTE, 3, 51, 2),
        (Aggregation.VOTE, 3, 67, 3),
        (Aggregation.VOTE, 7, 51, 4),
        (Aggregation.VOTE, 7, 80, 6),
        (Aggregation.VOTE, 7, 100, 7),
        (Aggregation.SELECT_BEST, 7, 0, 1),
        (Aggregation.SELECT_BEST, 7, 51, 4),
        (Aggregation.RANK, 4, 50, 2),
        (Aggregation.RANK, 4, 100, 4),
    ],
)
def test_how_many_answers_it_takes(aggregation, redundancy, confidence, needed):
    assert answers_needed(routing(aggregation, redundancy, confidence)) == needed


def attempt(answers, trust):
    """What is chosen, or the error that says why nothing is."""
    try:
        return aggregate(answers, trust)
    except RoutingError as refused:
        return refused


def outcome(answers, trust):
    """The content of *the* answer, or ``None`` where there is none."""
    chosen = attempt(answers, trust)
    return None if isinstance(chosen, RoutingError) else chosen[0].content


@given(routings, st.lists(words, max_size=7))
def test_what_is_chosen_was_answered_and_what_is_not_decided_says_why(trust, contents):
    answers = said(*contents)
    chosen = attempt(answers, trust)
    if isinstance(chosen, RoutingError):
        assert type(chosen) is ConsensusTimeout or trust.aggregation is Aggregation.VOTE
        assert f"{trust.aggregation.name} with confidence {trust.confidence}" in chosen.what
        assert chosen.what.endswith(f"needs {answers_needed(trust)}.")
        return
    counted = answers[: trust.redundancy]
    assert set(chosen) <= set(counted)
    if trust.aggregation is Aggregation.ANY:
        assert chosen == (answers[0],)
    elif trust.aggregation is Aggregation.ALL:
        assert list(chosen) == counted
        assert len(chosen) == trust.redundancy
    elif trust.aggregation is Aggregation.RANK:
        assert sorted(chosen, key=answers.index) == counted
    elif trust.aggregation is Aggregation.SELECT_BEST:
        ranked = aggregate(
            answers, Routing(("ns",), (), trust.redundancy, trust.confidence, Aggregation.RANK)
        )
        assert chosen == ranked[:1]
    else:
        assert len(chosen) * 2 > trust.redundancy
        assert len(chosen) * 100 >= trust.confidence * trust.redundancy
        assert [one for one in counted if one.content == chosen[0].content] == list(chosen)


def moments(aggregation):
    """Every state a runner can be in with up to 4 nodes and 3 different contents, and every way it can end."""
    for redundancy, confidence in itertools.product(range(1, 5), (0, 51, 75, 100)):
        trust = routing(aggregation, redundancy, confidence)
        for answered in range(redundancy + 1):
            for contents in itertools.product("abc", repeat=answered):
                for outstanding in range(redundancy - answered + 1):
                    ends = [
                        outcome(said(*contents, *further), trust)
                        for more in range(outstanding + 1)
                        for further in itertools.product("abc", repeat=more)
                    ]
                    yield trust, contents, outstanding, ends


@pytest.mark.parametrize("aggregation", [Aggregation.ANY, Aggregation.ALL, Aggregation.VOTE])
def test_it_is_decided_exactly_when_every_way_to_end_is_the_same(aggregation):
    for trust, contents, outstanding, ends in moments(aggregation):
        assert is_decided(said(*contents), outstanding, trust) == (len(set(ends)) == 1), (
            trust,
            contents,
            outstanding,
        )


@pytest.mark.parametrize("aggregation", [Aggregation.SELECT_BEST, Aggregation.RANK])
def test_a_choice_by_score_waits_for_all_that_may_come_unless_too_few_can(aggregation):
    for trust, contents, outstanding, ends in moments(aggregation):
        certain = outstanding == 0 or not any(ends)
        assert is_decided(said(*contents), outstanding, trust) == certain, (trust, contents, outstanding)


@given(routings, st.lists(words, min_size=1, max_size=7))
def test_a_node_counts_once_however_often_it_answers(trust, contents):
    once = said(*contents)
    stuffed = [*once, *(Answer(once[0].node_id, "again") for _ in range(9)), *once]
    assert outcome(stuffed, trust) == outcome(once, trust)
    assert is_decided(stuffed, 7, trust) == is_decided(once, 7, trust)


def test_any_takes_the_first_to_complete_and_stops_there():
    trust = routing(Aggregation.ANY, 3)
    assert not is_decided([], 3, trust)
    assert is_decided([], 0, trust)
    assert is_decided(said("late", "later")[:1], 2, trust)
    assert aggregate(said("first", "second"), trust) == (Answer("n0", "first"),)
    with pytest.raises(ConsensusTimeout, match=r"0 answers came in time; ANY .* needs 1"):
        aggregate([], trust)


def test_all_lists_every_answer_and_fails_as_soon_as_one_cannot_come():
    trust = custom_nodes_validated_all(["a", "b", "c"])
    assert aggregate(said("x", "y", "z"), trust) == tuple(said("x", "y", "z"))
    assert not is_decided(said("x", "y"), 1, trust)
    assert is_decided(said("x"), 1, trust)
    with pytest.raises(ConsensusTimeout, match=r"2 answers came in time; ALL .* needs 3") as refused:
        aggregate(said("x", "y"), trust)
    assert refused.value.retryable


def test_a_vote_is_won_by_the_majority_and_stops_when_it_is_certain():
    trust = routing(Aggregation.VOTE, 5)
    votes = said("Paris", "Rome", "  paris ", "PARIS\n")
    assert not is_decided(votes[:3], 2, trust)
    assert is_decided(votes, 1, trust)
    assert aggregate(votes, trust) == (votes[0], votes[2], votes[3])


def test_votes_that_disagree_differ_from_votes_that_are_missing():
    trust = routing(Aggregation.VOTE, 3, 67)
    with pytest.raises(
        NodeValidationFailed, match=r"1 of 2 answers agree; VOTE with confidence 67 .* needs 3"
    ):
        aggregate(said("a", "b"), trust)
    assert is_decided(said("a", "b"), 1, trust)
    with pytest.raises(ConsensusTimeout, match=r"2 equal answers came in time; VOTE .* needs 3"):
        aggregate(said("a", "a"), trust)
    with pytest.raises(ConsensusTimeout, match="0 equal answers"):
        aggregate([], trust)


def test_composed_and_decomposed_letters_are_one_vote_and_a_superscript_is_another():
    trust = routing(Aggregation.VOTE, 2)
    assert len(aggregate(said("Cafe\u0301", "café"), trust)) == 2
    with pytest.raises(NodeValidationFailed):
        aggregate(said("x²", "x2"), trust)


def test_the_best_is_the_one_that_agrees_most_with_the_others():
    answers = said(
        "Bananas are yellow.",
        "The capital of France is Paris.",
        "Paris is the capital of France.",
        "The capital of France is Paris!",
    )
    assert aggregate(answers, routing(Aggregation.SELECT_BEST, 4)) == (answers[1],)
    ranked = aggregate(answers, routing(Aggregation.RANK, 4))
    assert ranked[0] == answers[1]
    assert ranked[-1] == answers[0]


def test_a_given_scorer_decides_and_equal_scores_fall_to_the_earlier():
    answers = said("a", "ccc", "bbb")
    trust = routing(Aggregation.RANK, 3)
    ranked = aggregate(answers, trust, scorer=lambda scored: [len(one.content) for one in scored])
    assert [one.content for one in ranked] == ["ccc", "bbb", "a"]


@pytest.mark.parametrize("scores", [[1.0], [1.0, float("nan")], [1.0, 2.0, 3.0]])
def test_a_scorer_that_does_not_score_is_refused(scores):
    with pytest.raises(InvalidRequestError, match="for 2 answers") as refused:
        aggregate(said("a", "b"), routing(Aggregation.SELECT_BEST, 2), scorer=lambda _: scores)
    assert str(refused.value).endswith("none that is NaN.")


@given(st.lists(st.text(max_size=20), max_size=7))
def test_agreement_lies_between_none_and_all(contents):
    scores = agreement(said(*contents))
    assert len(scores) == len(contents)
    assert all(0 <= score <= 1 for score in scores)
    if len(set(contents)) <= 1:
        assert all(score == 1 for score in scores)


def test_a_long_answer_does_not_stall_the_choice():
    """There is no clock here: an edit distance over these would not end within the test run."""
    assert len(agreement(said("ab" * 100_000, "ba" * 100_000, "c" * 200_000))) == 3
