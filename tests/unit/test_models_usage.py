"""What providers tell of an answer's usage is read tolerantly, and charged where it can be true."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepaid.models import usage as usage_module
from prepaid.models.usage import (
    CHAT_USAGE,
    RESPONSES_USAGE,
    USAGE_TOKENS_MAX,
    UsageFields,
    least_output_tokens,
    read_usage,
    reasoning_tokens,
    told_cost_micros,
)
from prepaid.records import Usage

EMBEDDINGS_USAGE = UsageFields("prompt_tokens", None, "prompt_tokens_details")
COUNTED = Usage(12, 500, input_bytes=48, output_bytes=2_000)
FLOOR = least_output_tokens(2_000)

NAMES = st.sampled_from(
    [
        "prompt_tokens",
        "completion_tokens",
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "cached_tokens",
        "cache_write_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "prompt_tokens_details",
        "input_tokens_details",
        "cache_creation",
        "cache_creation_token_details",
        "ephemeral_1h_input_tokens",
        "ephemeral_5m_input_tokens",
        "server_tool_use",
        "web_search_requests",
        "num_search_queries",
        "cost",
        "cost_details",
        "total_cost",
        "is_byok",
        "upstream_inference_cost",
        "cost_in_usd_ticks",
    ]
)
NUMBERS = st.integers(-5, 2_000) | st.integers() | st.floats() | st.just(10**300)
TEXTS = st.text(max_size=50) | NUMBERS.map(str)
TEXTS |= st.sampled_from(
    ["1e999999999999999999999", "1e-99999999", "sNaN", "-0", "4_0", "٤٠", " 40 ", "Infinity"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=8)
    ),
    max_leaves=30,
)
FIELDS = st.sampled_from([CHAT_USAGE, RESPONSES_USAGE, EMBEDDINGS_USAGE])
COUNTS = st.builds(Usage, st.integers(0, 1_000), st.integers(0, 1_000))


@given(VALUES, FIELDS, COUNTS, st.integers(0, 20), st.none() | st.integers(0, 1_000))
def test_any_json_is_read_and_gives_counts_that_can_be(told, names, counted, floor, output_max):
    """Spec P5: never an error after delivery, never free where something was delivered."""
    read = read_usage(told, names, counted, floor_output_tokens=floor, output_tokens_max=output_max)
    usage = read.usage
    assert all(0 <= count <= 2 * USAGE_TOKENS_MAX for count in _counts(usage))
    assert all(type(count) is int for count in _counts(usage))
    assert usage.cache_read_tokens + usage.cache_write_tokens <= usage.input_tokens
    assert usage.cache_write_1h_tokens <= usage.cache_write_tokens
    assert bool(usage.input_tokens) or not counted.input_tokens
    if names.output:
        assert bool(usage.output_tokens) or not counted.output_tokens
        assert usage.output_tokens >= min(floor, counted.output_tokens)
    if not read.is_told:
        assert read.repaired
        assert (usage.input_tokens, usage.output_tokens if names.output else 0) == (
            counted.input_tokens,
            counted.output_tokens if names.output else 0,
        )
    assert len(read.repaired) < 3_000


def _counts(usage):
    return [getattr(usage, name) for name in Usage.__slots__]


@given(
    st.integers(1, 10**6),
    st.integers(1, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.sampled_from([int, float, str, lambda n: f"{n}.0", lambda n: f" {n} ", lambda n: f"{n}e0"]),
    st.booleans(),
)
def test_what_is_told_and_can_be_is_what_is_charged(given_in, given_out, cached, written, write, has_total):
    """Spec P3, P5: whatever the type of the numbers, and whatever we would have counted."""
    told = {
        "prompt_tokens": write(given_in),
        "completion_tokens": write(given_out),
        "prompt_tokens_details": {"cached_tokens": write(cached), "cache_write_tokens": write(written)},
    }
    if has_total:
        told["total_tokens"] = write(given_in + given_out)
    read = read_usage(json.loads(json.dumps(told)), CHAT_USAGE, COUNTED)
    assert (read.usage.input_tokens, read.usage.output_tokens) == (given_in, given_out)
    assert read.is_told
    assert bool(read.repaired) is (cached + written > given_in)
    assert read.usage.cache_read_tokens == min(cached, given_in)


@given(st.integers(1, 500), st.integers(1, 500), st.integers(0, 3))
def test_a_part_that_is_missing_follows_from_the_others(given_in, given_out, which):
    total = given_in + given_out
    whole = {"prompt_tokens": given_in, "completion_tokens": given_out, "total_tokens": total}
    left_out = [None, "prompt_tokens", "completion_tokens", "total_tokens"][which]
    told = {name: count for name, count in whole.items() if name != left_out}
    usage = read_usage(told, CHAT_USAGE, COUNTED).usage
    assert (usage.input_tokens, usage.output_tokens) == (given_in, given_out)


ODD = [
    None,
    True,
    False,
    -1,
    -0.5,
    "x",
    "",
    "NaN",
    float("nan"),
    float("inf"),
    10**9,
    "1e9",
    [],
    {},
    [40],
    "1,000",
]


@pytest.mark.parametrize("odd", [*ODD, 0, 0.4, "0"])
def test_a_part_that_cannot_be_is_our_own_count(odd):
    """Spec P5."""
    read = read_usage({"prompt_tokens": 10, "completion_tokens": odd}, CHAT_USAGE, COUNTED)
    assert (read.usage.input_tokens, read.usage.output_tokens) == (10, 500)
    assert "completion_tokens" in read.repaired
    read = read_usage({"prompt_tokens": odd, "completion_tokens": 400}, CHAT_USAGE, COUNTED)
    assert (read.usage.input_tokens, read.usage.output_tokens) == (12, 400)
    assert "prompt_tokens" in read.repaired
    assert read.is_told
    read = read_usage({"prompt_tokens": odd, "completion_tokens": odd}, CHAT_USAGE, COUNTED)
    assert (read.usage, read.is_told) == (COUNTED, False)
    read = read_usage({"prompt_tokens": odd, "total_tokens": odd}, EMBEDDINGS_USAGE, COUNTED)
    assert (read.usage.input_tokens, read.is_told) == (12, False)


def test_a_number_of_thousands_of_digits_is_read():
    """Python refuses to write such a number in decimals, and an error message must not try."""
    told = {"prompt_tokens": 10**5_000, "completion_tokens": "9" * 10**5, "cost": 10**5_000}
    read = read_usage(told, CHAT_USAGE, COUNTED)
    assert (read.usage, read.is_told) == (COUNTED, False)
    assert len(read.repaired) < 300
    assert told_cost_micros(told) is None


@pytest.mark.parametrize("told", [None, [], "usage", 7, True, {}, {"prompt_tokens_details": {}}])
def test_no_usage_is_our_own_count(told):
    """Spec P5; gateway case 30."""
    read = read_usage(told, CHAT_USAGE, COUNTED)
    assert (read.usage, read.is_told) == (COUNTED, False)
    assert read.repaired


def test_nothing_is_odd_about_zero_where_there_was_nothing():
    read = read_usage({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, CHAT_USAGE, Usage())
    assert (read.usage, read.repaired, read.is_told) == (Usage(), "", True)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 400, "total_tokens": 5}, (10, 400)),
        (
            {"prompt_tokens": 10, "completion_tokens": 400, "total_tokens": 911},
            (10, 901),
        ),  # reasoning is output
        (
            {"prompt_tokens": 10, "completion_tokens": 400, "total_tokens": 10**7},
            (10, 400),
        ),  # beyond the limit
        ({"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 410}, (10, 400)),
        ({"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 10}, (10, 500)),
        ({"prompt_tokens": 10, "total_tokens": 11}, (10, 500)),  # one token of 2,000 bytes
        ({"completion_tokens": 400, "total_tokens": 400}, (12, 400)),
        ({"total_tokens": 510}, (12, 498)),  # our own count of the smaller side; the rest is the other
        ({"total_tokens": 500}, (12, 488)),
        ({"total_tokens": 5_000}, (12, 4_988)),  # far more than was shown
        ({"prompt_tokens": 10, "completion_tokens": 15}, (10, 500)),
        ({"prompt_tokens": 10, "completion_tokens": 16}, (10, 16)),
        ({"prompt_tokens": 10, "completion_tokens": 2_200}, (10, 2_200)),
        ({"prompt_tokens": 10, "total_tokens": 1_011}, (10, 500)),
        ({"input_tokens": 10, "output_tokens": 400}, (10, 400)),
    ],
)
def test_totals_floors_and_limits(told, expected):
    """A token has 128 bytes at most; more output than the limit is not read out of a total."""
    read = read_usage(told, CHAT_USAGE, COUNTED, floor_output_tokens=FLOOR, output_tokens_max=1_000)
    assert (read.usage.input_tokens, read.usage.output_tokens) == expected
    assert (read.usage.input_bytes, read.usage.output_bytes) == (48, 2_000)


@pytest.mark.parametrize(
    ("counted", "total", "expected"),
    [
        (Usage(500, 12), 510, (498, 12)),
        (Usage(500, 12), 400, (388, 12)),
        (Usage(500, 12), 5_000, (500, 4_500)),  # far more than was shown: output
        (Usage(500, 12), 5, (500, 12)),  # less than either can be
        (Usage(0, 0), 30, (30, 0)),
    ],
)
def test_where_only_a_sum_is_told_the_smaller_side_is_our_own_count(counted, total, expected):
    usage = read_usage({"total_tokens": total}, CHAT_USAGE, counted).usage
    assert (usage.input_tokens, usage.output_tokens) == expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"total_tokens": 100}, 100),
        ({"prompt_tokens": 100, "total_tokens": 150}, 100),
        ({"prompt_tokens": 0, "total_tokens": 100}, 100),
        ({"prompt_tokens": 0, "total_tokens": 0}, 12),
    ],
)
def test_an_embedding_is_all_input(told, expected):
    """Gateway case 34."""
    assert read_usage(told, EMBEDDINGS_USAGE, COUNTED).usage.input_tokens == expected


CACHED = {
    "OpenAI": {"prompt_tokens_details": {"cached_tokens": 9_000}},
    "OpenAI's responses": {"input_tokens_details": {"cached_tokens": 9_000}},
    "Moonshot": {"cached_tokens": 9_000},
    "Moonshot, in other types": {"cached_tokens": "9000.0", "prompt_tokens_details": {"cached_tokens": None}},
    "DeepSeek": {"prompt_cache_hit_tokens": 9_000, "prompt_cache_miss_tokens": 1_000},
    "LiteLLM": {"cache_read_input_tokens": 9_000, "prompt_tokens_details": {"cached_tokens": 9_000}},
    "Anthropic": {"cache_read_input_tokens": 9_000, "prompt_tokens_details": None},
    "Perplexity": {"input_tokens_details": {"cache_read_input_tokens": 9_000}},
    "both, one of them zero": {"cached_tokens": 9_000, "prompt_tokens_details": {"cached_tokens": 0}},
}


@pytest.mark.parametrize("form", CACHED)
def test_cached_tokens_are_found_in_every_form(form):
    """Gateway case 51, and its kind."""
    for names in (CHAT_USAGE, RESPONSES_USAGE):
        told = {names.input: 10_000, names.output: 10, "total_tokens": 10_010, **CACHED[form]}
        read = read_usage(told, names, COUNTED)
        assert read.usage == Usage(10_000, 10, 9_000, input_bytes=48, output_bytes=2_000)
        assert read.repaired == ""


WRITTEN = {
    "OpenRouter": ({"prompt_tokens_details": {"cache_write_tokens": 100}}, 0),
    "LiteLLM": (
        {
            "cache_creation_input_tokens": 100,
            "prompt_tokens_details": {
                "cache_creation_tokens": 100,
                "cache_creation_token_details": {
                    "ephemeral_5m_input_tokens": 40,
                    "ephemeral_1h_input_tokens": 60,
                },
            },
        },
        60,
    ),
    "Anthropic": (
        {
            "cache_creation_input_tokens": 100,
            "cache_creation": {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 60},
        },
        60,
    ),
    "durations only": (
        {"cache_creation": {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": "60"}},
        60,
    ),
    "more for an hour than at all": (
        {"cache_creation_input_tokens": 100, "cache_creation": {"ephemeral_1h_input_tokens": 160}},
        100,
    ),
}


@pytest.mark.parametrize("form", WRITTEN)
def test_cache_writes_are_told_by_duration(form):
    """Spec P11."""
    more, hour = WRITTEN[form]
    usage = read_usage({"prompt_tokens": 1_000, "completion_tokens": 10, **more}, CHAT_USAGE, COUNTED).usage
    assert (usage.cache_write_tokens, usage.cache_write_1h_tokens) == (100, hour)


@pytest.mark.parametrize(
    ("cached", "written", "expected"), [(11, 0, (10, 0)), (8, 8, (8, 2)), (0, 99, (0, 10)), (99, 99, (10, 0))]
)
def test_more_cached_than_sent_is_cut_to_what_was_sent(cached, written, expected):
    details = {"cached_tokens": cached, "cache_write_tokens": written}
    told = {"prompt_tokens": 10, "completion_tokens": 400, "prompt_tokens_details": details}
    read = read_usage(told, CHAT_USAGE, COUNTED)
    assert (read.usage.cache_read_tokens, read.usage.cache_write_tokens) == expected
    assert "of 10 input tokens" in read.repaired


def test_cached_tokens_beside_the_input_are_input_where_the_total_says_so():
    """Anthropic's own form, with a total: what is beside the input is never taken for output."""
    told = {"input_tokens": 10, "output_tokens": 400, "cache_read_input_tokens": 9_000, "total_tokens": 9_410}
    assert read_usage(told, CHAT_USAGE, COUNTED).usage == Usage(
        9_010, 400, 9_000, input_bytes=48, output_bytes=2_000
    )


@pytest.mark.parametrize(
    "told",
    [
        {"server_tool_use": {"web_search_requests": 3}},
        {"server_tool_use_details": {"web_search_requests": 3}},
        {"server_side_tool_usage_details": {"web_search_calls": 3}},
        {"tool_calls_details": {"search_web": {"invocation": 3}}},
        {"num_search_queries": "3"},
        {"web_search_requests": 3.0},
        {"server_tool_use": 7, "prompt_tokens_details": {"web_search_requests": 3}},
    ],
)
def test_searches_are_told_in_many_forms(told):
    """Spec P11."""
    both = {"prompt_tokens": 10, "completion_tokens": 400}
    assert read_usage({**both, **told}, CHAT_USAGE, COUNTED).usage.searches == 3
    assert read_usage(both, CHAT_USAGE, COUNTED).usage.searches == 0
    mad = read_usage({**both, "num_search_queries": 10**6}, CHAT_USAGE, Usage(1, 1, searches=2))
    assert mad.usage.searches == 2
    assert "num_search_queries" in mad.repaired


@given(VALUES)
def test_any_json_has_a_cost_or_none(told):
    cost = told_cost_micros(told)
    assert cost is None or (type(cost) is int and 0 <= cost <= 2 * 10**12)


@given(st.decimals(0, 10**5, places=9, allow_nan=False))
def test_a_cost_that_is_told_is_read_exactly_and_rounded_up(dollars):
    """Spec P2: no float on the way."""
    exact = -(-int(dollars * 10**9) // 1_000)
    assert told_cost_micros({"cost": str(dollars)}) == exact
    as_float = told_cost_micros({"cost": float(dollars)})
    assert abs(as_float - exact) <= 1


@pytest.mark.parametrize(
    ("told", "micros"),
    [
        ({"cost": 0.95}, 950_000),
        ({"cost": 0.1}, 100_000),
        ({"cost": 0}, 0),
        ({"cost": 1e-9}, 1),
        ({"cost": "0.0000015"}, 2),
        ({"cost": {"total_cost": 0.006}}, 6_000),
        ({"estimated_cost": 0.5}, 500_000),
        ({"cost_in_usd_ticks": 37_756_000}, 3_776),
        ({"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": 1}}, 1_050_000),
        ({"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": "?"}}, 50_000),
        ({"cost": 0.05, "is_byok": False, "cost_details": {"upstream_inference_cost": 1}}, 50_000),
        ({"cost": -1}, None),
        ({"cost": True}, None),
        ({"cost": 10**7}, None),
        ({"cost": "NaN"}, None),
        ({}, None),
        (None, None),
        ([1], None),
    ],
)
def test_the_providers_own_cost(told, micros):
    assert told_cost_micros(told) == micros


def test_the_least_tokens_of_a_text():
    assert [least_output_tokens(size) for size in (0, 1, 128, 129)] == [0, 1, 1, 2]
    assert Decimal(least_output_tokens(10**9)) == Decimal(10**9) / 128


COUNTS = st.integers(-1, 3_000) | st.none() | st.just(True) | st.just(USAGE_TOKENS_MAX + 1)


@given(
    told=st.fixed_dictionaries(
        {"prompt_tokens": COUNTS, "completion_tokens": COUNTS},
        optional={
            "total_tokens": COUNTS,
            "prompt_tokens_details": st.none()
            | st.just([])
            | st.fixed_dictionaries(
                {}, optional={"cached_tokens": COUNTS, "cache_write_tokens": COUNTS, "audio_tokens": COUNTS}
            ),
            "completion_tokens_details": st.just({"reasoning_tokens": 7}),
            "cached_tokens": COUNTS,
        },
    ),
    is_whole=st.booleans(),
    floor=st.integers(0, 100),
)
def test_the_short_way_is_the_long_way(told, is_whole, floor):
    """What nothing is odd about is read in a tenth of the time, and means the same."""
    if is_whole and type(told["prompt_tokens"]) is int and type(told["completion_tokens"]) is int:
        told["total_tokens"] = told["prompt_tokens"] + told["completion_tokens"]
    plain = usage_module._plain(told, CHAT_USAGE, COUNTED, floor)
    if plain is not None:
        reader = usage_module._Reader(told, CHAT_USAGE, COUNTED, floor, None)
        assert (plain, reader.odd) == (reader.usage(), [])


@pytest.mark.parametrize("details", ["completion_tokens_details", "output_tokens_details"])
def test_reasoning_is_read_where_it_is_told(details):
    assert reasoning_tokens({details: {"reasoning_tokens": 7}}) == 7
    assert reasoning_tokens({details: {"reasoning_tokens": -7}}) == 0


def test_cached_tokens_beside_the_input_are_input_too():
    """Anthropic's names say that they are not part of it."""
    told = {"prompt_tokens": 2, "completion_tokens": 5, "cache_read_input_tokens": 10}
    usage = read_usage(told, CHAT_USAGE, COUNTED).usage
    assert (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens) == (12, 10, 5)
