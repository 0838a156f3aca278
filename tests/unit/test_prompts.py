"""Prompts and their typed placeholders (spec A16)."""

from __future__ import annotations

import re

import pytest
from eth_abi import encode
from eth_utils import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from prepaid.chain.prompts import (
    BYTES_MAX,
    PLACEHOLDERS_MAX,
    decode_lines,
    encode_values,
    fill,
    read_prompt,
)
from prepaid.chain.values import encode_prompt
from prepaid.errors import InvalidRequestError, ValueTooLarge

ADDRESS = "0x52908400098527886E0F7030069857D2E4169EE7"


def text_of(kind, value):
    if isinstance(value, list | tuple):
        return f"[{', '.join(text_of(kind, each) for each in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"0x{value.hex()}" if isinstance(value, bytes) else str(value)


def of(kind, values):
    return st.tuples(st.just(kind), values)


integers = st.integers(1, 32).flatmap(
    lambda size: st.one_of(
        of(f"uint{8 * size}", st.integers(0, 2 ** (8 * size) - 1)),
        of(f"int{8 * size}", st.integers(-(2 ** (8 * size - 1)), 2 ** (8 * size - 1) - 1)),
        of(f"bytes{size}", st.binary(min_size=size, max_size=size)),
    )
)
plain = st.one_of(
    integers,
    of("bool", st.booleans()),
    of("string", st.text(st.characters(exclude_categories=["Cs"]))),
    of("bytes", st.binary()),
    of("address", st.binary(min_size=20, max_size=20).map(to_checksum_address)),
)
lists = st.one_of(
    of("uint8[]", st.lists(st.integers(0, 255), max_size=5)),
    of("string[2]", st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2)),
)
typed = st.lists(st.one_of(plain, lists), min_size=1, max_size=6)


@given(typed)
def test_every_value_stands_where_its_placeholder_stood(pairs):
    """Spec A16, property: whatever the types, in whatever order they are named, more than once."""
    kinds = tuple(kind for kind, _ in pairs)
    values = [value for _, value in pairs]
    places = [f"{{{at}:{kind}}}" for at, kind in enumerate(kinds)]
    asked = "|".join([*reversed(places), *places])
    shown = [text_of(kind, value) for kind, value in pairs]
    assert fill(asked, encode_values(kinds, *values)) == "|".join([*reversed(shown), *shown])


@given(typed, st.data())
def test_other_values_than_were_asked_for_are_refused(pairs, data):
    """Spec A16, property: cut off, or with more behind, they are no match."""
    kinds = tuple(kind for kind, _ in pairs)
    asked = " ".join(f"{{{at}:{kind}}}" for at, kind in enumerate(kinds))
    good = encode_values(kinds, *(value for _, value in pairs))
    cut = data.draw(st.integers(0, len(good) - 1))
    more = data.draw(st.binary(min_size=1, max_size=64))
    for wrong in (good[:cut], good + more):
        with pytest.raises(InvalidRequestError):
            fill(asked, wrong)


@given(st.text(), st.binary(max_size=200))
def test_nothing_but_our_error_is_ever_raised(text, extra):
    try:
        fill(text, extra)
    except InvalidRequestError:
        assert extra or "{" in text


@given(st.binary(max_size=300))
def test_bytes_that_are_no_prompt(content):
    try:
        lines = decode_lines(content)
    except InvalidRequestError:
        return
    assert encode_prompt(*lines) == content


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_lines_come_back(lines):
    assert decode_lines(encode_prompt(*lines)) == tuple(lines)
    if not any(re.search(r"\{\d+:", line) for line in lines):
        assert read_prompt(encode_prompt(*lines), b"") == "\n".join(lines)


def test_the_specs_own_example():
    """Spec A16."""
    call = encode_prompt("Rate {0:uint8} of 10", "for {1:address}, that is {0:uint8}.")
    extra = encode(["uint8", "address"], [7, ADDRESS])
    assert read_prompt(call, extra) == f"Rate 7 of 10\nfor {ADDRESS}, that is 7."


def test_what_a_value_says_is_text():
    """A value cannot name another one."""
    extra = encode(["string", "uint8"], ["{1:uint8}", 5])
    assert fill("{0:string} {1:uint8}", extra) == "{1:uint8} 5"


@pytest.mark.parametrize("text", ['{"a": 1}', "{}", "{0}", "{a:uint8}", "{ 0:uint8}", "{0:UINT8}", "{{"])
def test_braces_around_anything_else_are_text(text):
    assert fill(text, b"") == text


@pytest.mark.parametrize(
    ("text", "extra", "said"),
    [
        ("Hello", encode(["uint8"], [1]), "no values"),
        ("{0:uint8}", b"", "uint8"),
        ("{0:uint8}", encode(["uint256"], [256]), "uint8"),
        ("{0:bool}", encode(["uint256"], [2]), "bool"),
        ("{1:uint8}", encode(["uint8"], [1]), "Placeholder 0 is missing"),
        ("{0:uint8} {0:uint16}", encode(["uint8"], [1]), "as uint8 and as uint16"),
        ("{0:uint7}", encode(["uint8"], [1]), "uint7"),
        ("{0:bytes33}", encode(["bytes"], [b""]), "bytes33"),
        ("{0:float}", b"", "float"),
        ("{0:uint8[0]}", b"", "cannot be filled in"),
        ("{0:uint8[999999999]}", b"", "cannot be filled in"),
        ("{0:string}", encode(["bytes"], [b"\xff\xfe"]), "string"),
    ],
)
def test_a_mismatch_says_what_was_expected(text, extra, said):
    """Spec A16, B14."""
    with pytest.raises(InvalidRequestError, match=said.replace("[", r"\[")):
        fill(text, extra)


def test_values_and_placeholders_are_limited():
    with pytest.raises(ValueTooLarge, match=str(BYTES_MAX)):
        fill("{0:bytes}", bytes(BYTES_MAX + 1))
    with pytest.raises(ValueTooLarge, match=str(BYTES_MAX)):
        decode_lines(bytes(BYTES_MAX + 1))
    many = "".join(f"{{{at}:uint8}}" for at in range(PLACEHOLDERS_MAX + 1))
    with pytest.raises(ValueTooLarge, match=str(PLACEHOLDERS_MAX)):
        fill(many, bytes(32 * (PLACEHOLDERS_MAX + 1)))


def test_values_of_another_type_cannot_be_encoded():
    with pytest.raises(InvalidRequestError, match="uint8"):
        encode_values(("uint8",), 256)
