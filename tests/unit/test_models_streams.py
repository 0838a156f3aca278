"""How providers' streams are read: whatever split, field or index they choose (spec P3, P6)."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepaid.errors import ProviderResponseInvalid
from prepaid.models.codecs.chat_stream import ChatStream, whole_text
from prepaid.models.codecs.output import output_of, strings_in
from prepaid.models.codecs.responses_stream import ResponsesStream
from prepaid.models.events import EventBytes, event_json
from prepaid.models.measure import likely_tokens, text_bytes

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=20,
)
EVENTS = st.lists(st.text("abc: é😀", min_size=1, max_size=12), min_size=1, max_size=8)


@given(
    events=EVENTS,
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    cuts=st.lists(st.integers(0, 200)),
    bom=st.booleans(),
)
def test_events_are_the_same_however_the_stream_is_split(events, end, cuts, bom):
    """Spec P6: each event once, and its bytes as they came."""
    stream = b"".join(f"data: {text}{end}{end}".encode() for text in events)
    stream = (b"\xef\xbb\xbf" if bom else b"") + stream
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    reader = EventBytes("up")
    found = [each for at, to in pairwise(places) for each in reader.feed(stream[at:to])]
    found += reader.end()
    assert b"".join(event for event, _ in found) == stream
    assert [data.decode() for _, data in found if data] == events


def test_an_event_that_never_ends_is_searched_once():
    """The bytes that were searched are not searched again: what is left of them is shorter than a line end."""
    reader = EventBytes("up", event_bytes_max=1_000_000)
    for _ in range(1_000):
        assert list(reader.feed(b"x" * 100)) == []
        assert len(reader._rest) - reader._searched <= 4
    with pytest.raises(ProviderResponseInvalid):
        list(reader.feed(b"x" * 1_000_000))


def test_half_letters_are_read_and_become_whole():
    """Spec P6: half a surrogate pair in an escape, and half a letter in bytes."""
    answer = ChatStream()
    for data in (
        rb'{"choices":[{"delta":{"content":"a\ud83d"}}]}',
        rb'{"choices":[{"delta":{"content":"\ude00b"}}]}',
    ):
        answer.see(event_json("up", data))
    assert answer.text == "a\N{GRINNING FACE}b"
    assert event_json("up", b'{"a": "\xf0\x9f"}') == {"a": "�"}
    assert event_json("up", b'\xef\xbb\xbf{"a": NaN}')["a"] != 0
    assert whole_text("\ude00") == "�"


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b'{"a"', b"[" * 5_000, b"\xff\xfe"])
def test_what_is_no_object_is_told_as_that(data):
    with pytest.raises(ProviderResponseInvalid):
        event_json("up", data)


@pytest.mark.parametrize(
    ("delta", "output"),
    [
        ({"role": "assistant", "content": "abc"}, "abc"),
        ({"content": "", "refusal": "no"}, "no"),
        (
            {"content": [{"type": "text", "text": "ab"}, {"type": "thinking", "thinking": [{"text": "cd"}]}]},
            "abcd",
        ),
        ({"reasoning_content": "hm"}, "hm"),
        (
            {
                "reasoning": "hm",
                "reasoning_details": [{"type": "reasoning.text", "text": "hm", "format": "x"}],
            },
            "hm",
        ),
        (
            {"content": "a", "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "xyz"}]},
            "ahm",
        ),
        ({"function_call": {"name": "f", "arguments": "{}"}}, "f{}"),
        (
            {
                "tool_calls": [
                    {"index": 0, "id": "x", "type": "custom", "custom": {"name": "f", "input": "in"}}
                ]
            },
            "fin",
        ),
        (
            {"tool_calls": [{"function": {"name": "f", "arguments": "1"}}, {"function": {"arguments": "2"}}]},
            "f12",
        ),
        ({"something_new": {"deep": [{"text": "words"}]}}, "words"),
        ({"role": "assistant", "annotations": [{"url_citation": {"title": "t"}}], "content": None}, ""),
        ({"reasoning_details": [{"type": "reasoning.encrypted", "data": "AAAA"}]}, ""),
    ],
)
def test_output_counts_in_whatever_field_it_stands(delta, output):
    """Spec P3; the same words told twice in a delta count once."""
    assert output_of(delta) == output


@given(JSON)
def test_no_delta_makes_the_reader_crash(value):
    answer = ChatStream()
    output_of({"x": value})
    list(strings_in(value))
    answer.see(
        {
            "choices": [
                value,
                {"delta": value},
                {"index": value, "delta": {"content": value, "tool_calls": value}},
            ]
        }
    )
    assert isinstance(answer.text, str)
    assert isinstance(answer.calls, tuple)
    responses = ResponsesStream()
    for kind in ("response.output_text.delta", "response.output_item.done", "response.completed", value):
        responses.see({"type": kind, "delta": value, "item": value, "response": value, "output_index": value})
        responses.see({"type": kind, "response": {"output": value, "usage": value}})


def test_choices_without_an_index_are_told_apart_by_their_place():
    answer = ChatStream(choices=2)
    for _ in range(2):
        answer.see({"choices": [{"index": None, "delta": {"content": "a"}}, {"delta": {"content": "b"}}]})
    assert answer.text == "aa"
    answer.see({"choices": [{"finish_reason": "stop"}, {"finish_reason": "length"}]})
    assert answer.is_ended
    assert answer.reason == "stop"


def part(name="", arguments="", **more):
    return {**more, "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("chunks", "calls"),
    [
        ([[part("f", "1", index=0, id="a")], [part("", "2", index=0)]], [("a", "f", "12")]),
        ([[part("f", "1", id="a"), part("g", "2", id="b")]], [("a", "f", "1"), ("b", "g", "2")]),
        (
            [[part("f", "1", id="a")], [part("", "2")], [part("g", "3", id="b")]],
            [("a", "f", "12"), ("b", "g", "3")],
        ),
        (
            [[part("f", "1", index=0, id="a"), part("g", "2", index=0, id="b")]],
            [("a", "f", "1"), ("b", "g", "2")],
        ),
        (
            [[part("f", "1", index=None)], [part("", "2", index=None)], [part("g", "3")]],
            [("", "f", "12"), ("", "g", "3")],
        ),
        (
            [[part("f", "1", index=1, id="b")], [part("g", "2", index=0, id="a")]],
            [("b", "f", "1"), ("a", "g", "2")],
        ),
        ([[part("f", "1", index=0, id="a")], [part("f", "2", index=0, id="a")]], [("a", "f", "12")]),
    ],
)
def test_tool_calls_are_told_apart_by_id_or_index(chunks, calls):
    """Spec P6: some providers send no index, some the same one for all."""
    answer = ChatStream()
    for parts in chunks:
        answer.see({"choices": [{"index": 0, "delta": {"tool_calls": parts}}]})
    assert [(call.id, call.name, call.arguments) for call in answer.calls] == calls


def text_delta(text, **more):
    return {
        "type": "response.output_text.delta",
        "delta": text,
        "output_index": 0,
        "content_index": 0,
        **more,
    }


MESSAGE = {
    "type": "message",
    "id": "m",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "abcd"}],
}


@pytest.mark.parametrize("told", [0, 1, 2, 3, 4])
def test_what_several_events_of_a_response_tell_counts_once(told):
    """Spec P3: deltas, `*.done` and the end repeat each other; whatever comes first counts, and nothing twice."""
    at = {"output_index": 0, "content_index": 0, "item_id": "m"}
    events = [
        *(text_delta(letter) for letter in "abcd"[:told]),
        {"type": "response.output_text.done", "text": "abcd", **at},
        {"type": "response.content_part.done", "part": {"type": "output_text", "text": "abcd"}, **at},
        {"type": "response.output_item.done", "output_index": 0, "item": MESSAGE},
        {"type": "response.completed", "response": {"output": [MESSAGE], "usage": {"input_tokens": 1}}},
    ]
    answer = ResponsesStream()
    assert "".join(answer.see(event) for event in events) == "abcd"
    assert answer.is_ended
    assert answer.usage == {"input_tokens": 1}
    assert "".join(answer.said) == "abcd"


def test_a_response_that_tells_all_at_its_end_counts():
    answer = ResponsesStream()
    assert (
        answer.see({"type": "response.completed", "response": {"output": [MESSAGE], "model": "m2"}}) == "abcd"
    )
    assert answer.models == ["m2"]


def test_a_tool_s_input_and_its_name_count():
    answer = ResponsesStream()
    item = {
        "type": "custom_tool_call",
        "id": "i",
        "call_id": "c",
        "name": "f",
        "input": "in",
        "status": "completed",
    }
    seen = answer.see({"type": "response.custom_tool_call_input.delta", "delta": "in", "output_index": 1})
    seen += answer.see({"type": "response.custom_tool_call_input.done", "input": "in", "output_index": 1})
    seen += answer.see({"type": "response.output_item.done", "output_index": 1, "item": item})
    assert len(seen) == len("fin")


def test_an_error_of_a_choice_is_the_answer_s():
    """OpenRouter puts it there; what came with it counts."""
    answer = ChatStream()
    assert answer.see({"choices": [{"delta": {"content": "a"}, "error": {"message": "no"}}]}) == "a"
    assert answer.error == {"message": "no"}


def test_reasoning_is_known_to_be_hidden():
    chat, response = ChatStream(), ResponsesStream()
    chat.see({"choices": [{"delta": {"role": "assistant", "content": "a"}}]})
    assert not chat.hides_output
    chat.see({"choices": [{"delta": {"content": "", "reasoning_details": [{"data": "AAAA"}]}}]})
    assert chat.hides_output
    response.see({"type": "response.output_item.added", "item": {"type": "message"}})
    assert not response.hides_output
    response.see({"type": "response.output_item.added", "item": {"type": "reasoning"}})
    assert response.hides_output


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("word " * 100, 101),
        ("", 0),
        ("tokn" * 4, 2),
        ("नमस्ते", 3),
        ("Привет, мир " * 10, 43),
        ("-" * 640, 10),
        ("今天天气", 3),
        ("x = {1: [2, 3]}", 4),
        ("12345678", 2),
    ],
)
def test_our_own_count_is_near_and_never_above_a_token_in_four_bytes(text, tokens):
    """Spec P3: who pays by our count pays no tenth above the truth in plain English."""
    assert likely_tokens(text) == tokens


@given(st.text())
def test_our_own_count_is_bounded_and_counts_something(text):
    assert bool(text) <= likely_tokens(text) <= -(-text_bytes(text) // 4)


@given(
    st.sampled_from(["word ", "नमस्ते ", "x = {1: 2}\n", "The quick brown fox. "]), st.integers(20_000, 40_000)
)
def test_a_long_text_is_counted_by_pieces(text, times):
    """Nobody waits for 32 MB: what is counted of it is as much as what is not."""
    whole = sum(likely_tokens(text * 1_000) for _ in range(times // 1_000)) + likely_tokens(
        text * (times % 1_000)
    )
    assert abs(likely_tokens(text * times) - whole) <= whole // 20


@given(st.text(), st.text())
def test_more_text_is_never_fewer_tokens(text, more):
    assert likely_tokens(text + more) + 2 >= likely_tokens(text)


def test_json_of_events_keeps_large_numbers_and_order():
    assert list(json.loads(json.dumps(event_json("up", b'{"b": 1, "a": 2}')))) == ["b", "a"]


def seen(chunks, choices=1):
    answer = ChatStream(choices)
    return answer, "".join(answer.see(chunk) for chunk in chunks)


WORDS = [f"word{number} " * 4 for number in range(20)]


@pytest.mark.parametrize("field", ["content", "reasoning_content", "refusal"])
def test_text_that_is_told_again_with_each_chunk_counts_once(field):
    """Spec P3, P6: some providers send all of it so far."""
    chunks = [{"choices": [{"delta": {field: "".join(WORDS[: count + 1])}}]} for count in range(20)]
    answer, output = seen(chunks)
    assert output == "".join(WORDS)
    assert answer.least_characters == len(output)
    if field == "content":
        assert answer.text == output


def test_arguments_that_are_told_again_count_once():
    calls = [[part("f", "".join(WORDS[: count + 1]), index=0, id="a")] for count in range(20)]
    answer, _ = seen([{"choices": [{"delta": {"tool_calls": each}}]} for each in calls])
    assert [call.arguments for call in answer.calls] == ["".join(WORDS)]


def test_a_whole_message_behind_its_deltas_counts_once():
    whole = {"choices": [{"message": {"content": "abcd"}, "finish_reason": "stop"}]}
    answer, output = seen([*({"choices": [{"delta": {"content": each}}]} for each in "abcd"), whole])
    assert (answer.text, output) == ("abcd", "abcd")


def test_words_that_come_twice_are_two():
    answer, output = seen([{"choices": [{"delta": {"content": "ha "}}]}] * 50)
    assert answer.text == output == "ha " * 50


@pytest.mark.parametrize(
    "field",
    [
        {"extra_content": {"google": {"thought_signature": "x" * 4_000}}},
        {"provider_specific_fields": {"thought_signatures": ["x" * 4_000]}},
        {"reasoning_signature": "x" * 4_000},
        {"provider_specific_fields": {"citations": [{"cited_text": "x" * 4_000}]}},
        {"provider": "acme"},
    ],
)
def test_marks_are_no_output(field):
    """What signs, names or cites is not generated, and is no floor for what was."""
    answer, output = seen([{"choices": [{"delta": {"content": "hi", **field}}]}])
    assert output == "hi"
    assert answer.least_characters == 2


def test_an_unknown_field_is_counted_but_is_no_floor():
    answer, output = seen([{"choices": [{"delta": {"thoughts": "some words"}}]}])
    assert output == "some words"
    assert answer.least_characters == 0


@pytest.mark.parametrize(
    "behind", [{"usage": {}}, {"usage": {"prompt_tokens": 0, "completion_tokens": 0}}, {"choices": []}]
)
@pytest.mark.parametrize(
    "telling",
    [
        {"usage": {"prompt_tokens": 3}},
        {"choices": [{"delta": {}, "usage": {"prompt_tokens": 3}}]},
        {"x_groq": {"usage": {"prompt_tokens": 3}}},
    ],
)
def test_a_usage_that_says_something_is_kept(telling, behind):
    """Spec P5: wherever it stands, and whatever comes behind it."""
    answer, _ = seen([telling, behind])
    assert answer.usage == {"prompt_tokens": 3}


def test_every_model_that_is_named_is_known():
    """Azure's first chunk names none; some change in mid-stream."""
    answer, _ = seen([{"model": ""}, {"model": "a"}, {"model": "b"}, {"model": "a"}, {"model": 7}])
    assert answer.models == ["a", "b"]


def test_an_empty_reason_ends_nothing():
    answer, _ = seen([{"choices": [{"delta": {"content": "a"}, "finish_reason": ""}]}])
    assert not answer.is_ended


def test_an_item_is_one_by_its_index_or_its_id():
    item = {"id": "m", "type": "message", "content": [{"type": "output_text", "text": "abcd"}]}
    answer = ResponsesStream()
    at = {"item_id": "m", "content_index": 0}
    output = "".join(
        answer.see({"type": "response.output_text.delta", "delta": each, **at}) for each in "abcd"
    )
    output += answer.see({"type": "response.output_item.done", "output_index": 0, "item": item})
    output += answer.see({"type": "response.output_item.done", "output_index": 0, "item": item})
    assert output == "abcd"
