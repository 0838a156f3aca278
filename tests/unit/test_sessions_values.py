"""Whatever a user hands in: kept as it is, or refused by an error of ours; never anything else (issue 2, point 9)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone, tzinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managers import START_MS
from prepaid import (
    InvalidRequestError,
    NotJson,
    PrepaidError,
    ValueTooLarge,
)
from prepaid.sessions.values import (
    JSON_DEPTH_MAX,
    as_expiry,
    as_milliseconds,
    as_time,
    check_count,
    check_flag,
    check_id,
    check_name,
    check_tags,
    check_text,
    check_user,
    from_json,
    shown,
    to_json,
)

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters()),
    st.binary(),
    st.lists(st.text()),
    st.dictionaries(st.one_of(st.text(), st.integers()), st.one_of(st.floats(), st.text(st.characters()))),
    st.datetimes(timezones=st.one_of(st.none(), st.just(UTC))),
    st.timedeltas(),
    st.just(10**5_000),
    st.just(object()),
)
CHECKS = [
    check_user,
    check_tags,
    check_id,
    lambda value: check_name(value, "name"),
    lambda value: check_text(value, "text"),
    lambda value: check_flag(value, "flag"),
    lambda value: check_count(value, "count", 0, 10),
    lambda value: to_json(value, "metadata"),
    lambda value: as_milliseconds(value, "span"),
    lambda value: as_expiry(value, START_MS),
]


class Hostile:
    def __repr__(self):
        raise RuntimeError


class Nowhere(tzinfo):
    """A zone that does not say where it is."""

    def utcoffset(self, when):
        return None


@pytest.mark.parametrize("check", CHECKS)
@given(value=ANYTHING)
def test_accepted_or_refused_and_nothing_else(check, value):
    try:
        check(value)
    except PrepaidError as refused:
        message = str(refused)
    else:
        message = ""
    assert len(message) < 600, "a message names a value, it does not repeat it"


@pytest.mark.parametrize("check", CHECKS[:1] + CHECKS[3:])
def test_what_cannot_even_be_shown(check):
    with pytest.raises(InvalidRequestError):
        check(Hostile())


class TestNames:
    @pytest.mark.parametrize("user", ["ann", "ünïcödé", "名前", "a b", "x" * 256, "ann@example.com"])
    def test_users(self, user):
        assert check_user(user) == user

    @pytest.mark.parametrize(
        "user", ["", "a\nb", "a\0", "a\x7f", "\u2028", "\ud800", "a\u200b", None, 5, b"ann"]
    )
    def test_no_users(self, user):
        with pytest.raises(InvalidRequestError):
            check_user(user)

    @pytest.mark.parametrize("name", ["", "👩‍💻 and 🏳️‍🌈", "non\u00a0breaking", "x" * 256, "שלום"])
    def test_names(self, name):
        assert check_name(name, "name") == name

    @pytest.mark.parametrize("name", ["a\nb", "a\rb", "\t", "\x1b[31m", "\u2029", "\udfff", None, 5])
    def test_no_names(self, name):
        with pytest.raises(InvalidRequestError):
            check_name(name, "name")

    def test_too_long(self):
        for check in (check_user, lambda name: check_name(name, "session_name")):
            with pytest.raises(ValueTooLarge) as refused:
                check("x" * 257)
            assert (refused.value.size, refused.value.limit) == (257, 256)

    def test_tags(self):
        assert check_tags(iter(["b", "a", "b"])) == ("b", "a")
        assert check_tags(()) == ()

    @pytest.mark.parametrize(
        "tags",
        ["work", b"work", 5, None, [""], [None], [["a"]], ["x" * 65], ["a\n"], [str(n) for n in range(33)]],
    )
    def test_no_tags(self, tags):
        with pytest.raises(InvalidRequestError):
            check_tags(tags)

    def test_tags_without_end(self):
        def without_end():
            number = 0
            while True:
                yield str(number := number + 1)

        with pytest.raises(ValueTooLarge):
            check_tags(without_end())


class TestJson:
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=20,
        )
    )
    def test_it_comes_back_as_it_was(self, value):
        assert json.loads(to_json({"key": value}, "metadata")) == {"key": value}

    @pytest.mark.parametrize(
        "value",
        [
            {1: "a"},
            {True: 1},
            {None: 1},
            {"a": {2: 1}},
            {"a": [{"b": ({3: 1},)}]},
            {"a": float("nan")},
            {"a": object()},
            {"a": {1, 2}},
            {"a": b"x"},
            {"a": "\ud800"},
            {"a": 10**5_000},
            ["a"],
            "a",
            5,
        ],
        ids=lambda value: shown(value)[:20].encode("ascii", "replace").decode(),
    )
    def test_it_cannot_be_kept(self, value):
        with pytest.raises(NotJson):
            to_json(value, "metadata")

    def test_a_circle(self):
        circle = {}
        circle["self"] = circle
        with pytest.raises(NotJson):
            to_json(circle, "metadata")

    def test_too_large(self):
        with pytest.raises(ValueTooLarge):
            to_json({"a": "x" * 65_536}, "metadata")

    @pytest.mark.parametrize(
        "nest", [lambda inner: [inner], lambda inner: {"a": inner}, lambda inner: (inner,)]
    )
    def test_too_deep(self, nest):
        """What can be kept can be told: what writes JSON for lists of sessions gives up at some depth."""
        value = "x"
        for _ in range(JSON_DEPTH_MAX - 1):
            value = nest(value)
        assert json.loads(to_json({"a": value}, "metadata")) == json.loads(json.dumps({"a": value}))
        for _ in range(2):
            value = nest(value)
            with pytest.raises(ValueTooLarge, match="levels"):
                to_json({"a": value}, "metadata")

    @given(st.integers(0, 3_000), st.booleans())
    def test_what_was_kept_deeper_is_told_as_far_as_it_may_be(self, depth, is_list):
        opened, closed = ("[", "]") if is_list else ('{"a":', "}")
        kept = f'{{"b":"x","a":{opened * depth}1{closed * depth}}}'
        told = from_json(kept)
        if depth < JSON_DEPTH_MAX:
            assert told == json.loads(kept)
        elif told:
            assert told["b"] == "x"
            assert to_json(told, "metadata").count(opened) == JSON_DEPTH_MAX - 1


class TestTimes:
    def test_to_the_millisecond(self):
        for ms in (START_MS, START_MS + 1, START_MS + 999, 253_402_300_799_999):
            assert as_expiry(as_time(ms), 0) == ms

    def test_in_any_zone(self):
        noon = datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
        assert as_expiry(noon, 0) == as_expiry(noon.astimezone(UTC), 0)
        assert as_expiry(timedelta(seconds=1), START_MS) == START_MS + 1_000
        assert as_expiry(None, 0) is None

    @pytest.mark.parametrize(
        "when",
        [
            datetime(2100, 1, 1),  # noqa: DTZ001 -- whose midnight?
            datetime(2100, 1, 1, tzinfo=Nowhere()),
            datetime(2000, 1, 1, tzinfo=UTC),
            as_time(START_MS),
            timedelta(0),
            timedelta(days=-1),
            timedelta.max,
            3_600,
            "2100-01-01",
            datetime.max.replace(tzinfo=timezone(-timedelta(hours=14))),
            datetime.max.replace(tzinfo=timezone(-timedelta(minutes=1))),
        ],
        ids=str,
    )
    def test_no_expiry(self, when):
        with pytest.raises(InvalidRequestError):
            as_expiry(when, START_MS)

    def test_until_the_last_that_can_be_told(self):
        """Many write "never" so. What was kept of later ones is told as that."""
        last = datetime.max.replace(tzinfo=UTC)
        kept = as_expiry(last, START_MS)
        assert as_time(kept) == last.replace(microsecond=999_000)
        assert as_time(kept + 14 * 3_600_000) == as_time(kept)

    @pytest.mark.parametrize(
        ("span", "ms"), [(1, 1_000), (0.001, 1), (timedelta(days=1), 86_400_000), (1.9999, 1_999)]
    )
    def test_spans(self, span, ms):
        assert as_milliseconds(span, "span") == ms

    @pytest.mark.parametrize(
        "span",
        [
            0,
            -1,
            0.0001,
            True,
            False,
            None,
            "1",
            float("nan"),
            float("-inf"),
            1e308,
            10**5_000,
            timedelta.max,
            timedelta(0),
        ],
        ids=shown,
    )
    def test_no_spans(self, span):
        with pytest.raises(InvalidRequestError):
            as_milliseconds(span, "span")
