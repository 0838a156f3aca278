"""No prompt is in the log, however a provider repeats it; and what it says besides is (spec P12)."""

from __future__ import annotations

import html
import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prepaid.models.echoes import ASKED_BYTES_MAX, without_echoes

PROMPTS = [
    "PIN\n8421\nIBAN\nDE89 3704\nblood\ntype AB-",
    'my "pw" is "tr0ub" and "4dor" ok',
    "Müller\t4711\tHIV+\tKöln",
    "the secret plan is to buy all of the company on Monday",
    "我的密码是四二一八",
    "C:\\new\\table\\4711",
]
NEEDLES = re.compile(
    r"8421|DE89|blood|tr0ub|4dor|HIV|4711|M.{0,6}ller|K.{0,6}ln|secret|company|Monday|密码|四二|table",
    re.IGNORECASE,
)
QUOTES = {
    "plain": str,
    "upper": str.upper,
    "json": json.dumps,
    "json twice": lambda text: json.dumps(json.dumps(text)),
    "letters": lambda text: json.dumps(text, ensure_ascii=False),
    "repr": repr,
    "html": html.escape,
    "one line": lambda text: " ".join(text.split()),
    "no blanks": lambda text: "".join(text.split()),
    "beginning": lambda text: text[: len(text) * 2 // 3],
    "end": lambda text: text[len(text) // 3 :],
}


def asked(prompt, **more):
    return json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}]} | more).encode()


@pytest.mark.parametrize("quote", QUOTES.values(), ids=QUOTES)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_prompt_goes_however_it_is_quoted(prompt, quote):
    for words in (
        f"cannot process: {quote(prompt)}",
        f"{'The upstream host is overloaded. ' * 6}{quote(prompt)}",
    ):
        assert NEEDLES.search(without_echoes(words, asked(prompt))) is None


@given(
    st.lists(st.text("bcdfghjklmnpqrstvwxz0123456789é", min_size=4, max_size=12), min_size=1, max_size=8),
    st.sampled_from(list(QUOTES)),
    st.sampled_from([" ", "\n", "\t", '"', "\\", ", ", "</"]),
)
@example(["8421"], "plain", " ")
def test_no_word_of_a_prompt_is_left(words, quote, between):
    prompt = between.join(words)
    told = without_echoes(f"The server failed at {QUOTES[quote](prompt)}", asked(prompt)).casefold()
    assert [word for word in words if word in told] == []


@pytest.mark.parametrize(
    "words",
    [
        "The model gpt-4o does not exist or you do not have access to it",
        "Host gpu-box-7 of org-Xyz123 is overloaded",
        "Your credit balance is too low to access the API",
        "This model's maximum context length is 8192 tokens",
    ],
)
def test_what_the_request_has_nothing_to_do_with_stays(words):
    assert without_echoes(words, asked("Is the model too long? I have a message to you about it.")) == words


def test_where_most_of_it_is_repeated_nothing_is_left():
    told = without_echoes(
        "cannot process: buckle my shoe, knock at doors", asked("buckle my shoe, knock at doors")
    )
    assert told == "(46 characters, which repeat the request)"


def test_a_long_run_goes_though_errors_are_made_of_its_words():
    run = "you should not use the model if the request failed"
    assert run not in without_echoes(
        f"Overloaded host gpu-box-7 in region north-west-9 says: {run}", asked(run)
    )


def test_tool_calls_and_names_of_properties_are_of_the_request_too():
    more = {"tools": [{"function": {"parameters": {"properties": {"diagnosis42": {}}}}}]}
    assert "diagnosis42" not in without_echoes("overloaded server at host: diagnosis42", asked("x", **more))


def test_a_request_that_is_too_long_to_be_looked_at():
    assert without_echoes("words", asked("x" * ASKED_BYTES_MAX)) == "(5 characters about a long request)"


@given(st.text(max_size=400), st.binary(max_size=200))
def test_nothing_makes_it_crash(words, raw):
    without_echoes(words, raw)
    without_echoes(words, json.dumps(words).encode())
