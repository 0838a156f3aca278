"""Spec D4: a statement verifies offline, and whatever is done to it is found, named by its line."""

from __future__ import annotations

import asyncio
import copy
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prepaid.errors import StatementInvalid
from prepaid.ledger import Ledger
from prepaid.records import Account, SessionState, Transfer
from prepaid.statements import _document, build_statement, load_statement, verify_statement
from prepaid.store.lines import first_digest, line_digest, payload_of
from prepaid.store.operations import Close, CreateSession, Settle
from prepaid.store.sqlite.store import SqliteStore

LINE_FIELDS = [
    "seq",
    "kind",
    "debit",
    "credit",
    "amount",
    "key",
    "at_ms",
    "actor",
    "chat_no",
    "model",
    "input_units",
    "output_units",
    "digest",
]
HEADER_FIELDS = [
    "format",
    "session_id",
    "owner",
    "asset",
    "decimals",
    "state",
    "funded",
    "spent",
    "refunded",
    "available",
    "held",
    "shortfall",
    "exposure",
    "line_count",
    "head",
    "lines",
]


async def spend(directory, *, closes):
    store = SqliteStore(Path(directory) / "x.db")
    ledger = Ledger(store)
    await store.submit(CreateSession("ses_1", "ann", "USD", "create", b"", 1_000))
    for number in range(5):
        await ledger.hold("ses_1", "ann", 50, key=f"k{number}")
        await ledger.settle(Settle("ses_1", f"k{number}", 30 + number * 7, f"model-{number}", 100, 20))
    await ledger.hold("ses_1", "ann", 60, key="failed", sent=True)
    await ledger.release("ses_1", "failed", loss=9)
    await ledger.fund("ses_1", "ann", 500, "more")
    await ledger.hold("ses_1", "ann", 40, key="open", sent=True)
    if closes:
        await store.submit(Close("ses_1", "ann"))
    document = build_statement(store.reads, "ses_1")
    await store.aclose()
    return load_statement(json.dumps(document))


def made(*, closes=False):
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(spend(directory, closes=closes))


STATEMENT = made()
CLOSED = made(closes=True)
COUNT = len(STATEMENT["lines"])
POSITIONS = st.integers(0, COUNT - 1)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["x" * 5_000, 2**63, "\ud800"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def changed(change, document=STATEMENT):
    altered = copy.deepcopy(document)
    change(altered)
    return altered


def refusal(document):
    with pytest.raises(StatementInvalid) as refused:
        verify_statement(document)
    return refused.value


class TestWhole:
    def test_it_says_what_happened(self):
        summary = verify_statement(STATEMENT)
        assert (summary.session_id, summary.owner, summary.asset, summary.decimals) == (
            "ses_1",
            "ann",
            "USD",
            6,
        )
        assert (summary.funded, summary.spent, summary.refunded) == (1_500, 30 + 37 + 44 + 50 + 50, 0)
        assert (summary.available, summary.held, summary.state) == (1_249, 40, "active")
        assert (summary.shortfall, summary.exposure) == (1 + 8, 9)
        assert (summary.line_count, summary.head) == (COUNT, STATEMENT["lines"][-1]["digest"])

    def test_closed(self):
        summary = verify_statement(CLOSED)
        assert (summary.state, summary.refunded, summary.available, summary.held) == ("closed", 1_249, 0, 40)

    def test_its_fields_are_these(self):
        assert list(STATEMENT) == HEADER_FIELDS
        assert all(list(line) == LINE_FIELDS for line in STATEMENT["lines"])

    def test_without_lines(self):
        empty = {
            **STATEMENT,
            **dict.fromkeys(("funded", "spent", "available", "held", "shortfall", "exposure"), 0),
        }
        empty |= {"lines": [], "line_count": 0, "head": first_digest("ses_1", "ann", "USD").hex()}
        assert verify_statement(empty).line_count == 0
        assert "head digest" in str(refusal(empty | {"owner": "eve"}))


class TestLines:
    """Any single change is found, and the first wrong line is named."""

    @given(POSITIONS, st.sampled_from(LINE_FIELDS), st.data())
    def test_altered(self, position, name, data):
        original = STATEMENT["lines"][position][name]
        alike = st.integers() | st.integers(0, 2**62) if isinstance(original, int) else st.text()
        value = data.draw(
            (alike | JSON).filter(lambda value: value != original or type(value) is not type(original))
        )
        error = refusal(changed(lambda altered: altered["lines"][position].update({name: value})))
        assert error.line == position + 1
        assert str(error).startswith(f"Line {position + 1} was altered")

    @pytest.mark.parametrize("position", range(COUNT))
    @pytest.mark.parametrize("name", LINE_FIELDS)
    def test_a_field_removed(self, position, name):
        error = refusal(changed(lambda altered: altered["lines"][position].pop(name)))
        assert (error.line, "is missing" in str(error)) == (position + 1, True)

    @given(POSITIONS, st.text(), JSON)
    def test_a_field_added(self, position, name, value):
        if name not in LINE_FIELDS:
            error = refusal(changed(lambda altered: altered["lines"][position].update({name: value})))
            assert error.line == position + 1

    @pytest.mark.parametrize("position", range(COUNT - 1))
    def test_removed(self, position):
        error = refusal(changed(lambda altered: altered["lines"].pop(position)))
        assert (error.line, error.what) == (position + 1, f"Line {position + 1} was removed.")

    @given(st.integers(0, COUNT - 2), st.integers(2, COUNT))
    def test_several_removed(self, position, length):
        error = refusal(
            changed(lambda altered: altered["lines"].__delitem__(slice(position, position + length)))
        )
        assert error.line == position + 1
        assert "was removed, and those up to" in str(error) or "end was cut off" in str(error)

    @pytest.mark.parametrize("count", range(COUNT))
    def test_cut_off(self, count):
        error = refusal(changed(lambda altered: altered["lines"].__delitem__(slice(count, None))))
        assert error.line == count + 1
        assert f"{COUNT} lines are claimed, {count} are here" in str(error)

    @given(POSITIONS, POSITIONS)
    def test_swapped(self, one, other):
        if one == other:
            return
        first, second = sorted((one, other))

        def swap(altered):
            lines = altered["lines"]
            lines[one], lines[other] = lines[other], lines[one]

        error = refusal(changed(swap))
        assert (error.line, error.what) == (
            first + 1,
            f"Line {first + 1} was reordered: it was line {second + 1}.",
        )

    @given(POSITIONS, st.integers(0, COUNT))
    def test_duplicated(self, original, position):
        altered = changed(lambda altered: altered["lines"].insert(position, altered["lines"][original]))
        error = refusal(altered)
        # A copy right before its original is as good as one right behind it.
        assert error.line == (position + 2 if position == original else position + 1)
        assert "duplicate" in str(error) or "was added" in str(error)

    @given(st.integers(0, COUNT), POSITIONS, st.sampled_from(LINE_FIELDS[1:-1]), st.integers(1, 99))
    def test_inserted(self, position, like, name, value):
        """A line made up, even one with a digest that fits what is before it."""
        lines = STATEMENT["lines"]
        previous = (
            bytes.fromhex(lines[position - 1]["digest"]) if position else first_digest("ses_1", "ann", "USD")
        )
        forged = {**lines[like], "seq": position + 1}
        forged[name] = value if isinstance(forged[name], int) else f"{forged[name]}{value}"
        line = Transfer(**{**forged, "digest": b""})
        forged["digest"] = line_digest(previous, position + 1, payload_of(line)).hex()
        error = refusal(changed(lambda altered: altered["lines"].insert(position, forged)))
        # It fits, so what comes after it does not.
        assert error.line == position + 2 or (error.line == position + 1 == COUNT + 1)

    @pytest.mark.parametrize("position", range(COUNT))
    def test_inserted_without_a_fitting_digest(self, position):
        forged = {**STATEMENT["lines"][position], "seq": position + 1, "digest": "0" * 64}
        error = refusal(changed(lambda altered: altered["lines"].insert(position, forged)))
        assert (error.line, error.what) == (position + 1, f"Line {position + 1} was inserted.")

    def test_inserted_with_an_earlier_number(self):
        forged = {**STATEMENT["lines"][0], "amount": 5}
        error = refusal(
            changed(lambda altered: altered["lines"].append(forged) or altered.update(line_count=99))
        )
        assert (error.line, error.what) == (
            COUNT + 1,
            f"Line {COUNT + 1} was inserted: it calls itself line 1.",
        )

    @given(POSITIONS, JSON)
    def test_replaced_by_anything(self, position, value):
        error = refusal(changed(lambda altered: altered["lines"].__setitem__(position, value)))
        assert error.line == position + 1

    def test_lines_of_another_session_do_not_fit(self):
        assert refusal(changed(lambda altered: altered.update(session_id="ses_2"))).line == 1

    @pytest.mark.parametrize(("name", "value"), [("owner", "eve"), ("asset", "EUR")])
    def test_nor_of_another_owner_or_currency(self, name, value):
        error = refusal(changed(lambda altered: altered.update({name: value})))
        assert error.line == 1
        assert "owner or asset above it" in str(error)


class TestHeader:
    @pytest.mark.parametrize("name", HEADER_FIELDS)
    @pytest.mark.parametrize("value", [None, True, -1, 1.5, "", "x", 2**63, [], {}, "\ud800", "a\nb"])
    def test_altered(self, name, value):
        if name == "lines" and value == []:
            return
        refusal(changed(lambda altered: altered.update({name: value})))

    @pytest.mark.parametrize("name", HEADER_FIELDS)
    def test_removed(self, name):
        error = refusal(changed(lambda altered: altered.pop(name)))
        assert f"{name} is missing" in str(error)

    def test_added(self):
        assert "a field was added" in str(refusal(changed(lambda altered: altered.update(note="trust me"))))

    @pytest.mark.parametrize(
        "name", ["funded", "spent", "refunded", "available", "held", "shortfall", "exposure"]
    )
    @pytest.mark.parametrize("by", [1, 1_000_000])
    def test_totals_that_do_not_add_up(self, name, by):
        error = refusal(changed(lambda altered: altered.update({name: altered[name] + by})))
        assert (error.line, "do not add up" in str(error)) == (None, True)

    def test_totals_that_add_up_to_something_else(self):
        """Two altered so that they cancel out are still not what the lines say."""
        error = refusal(
            changed(
                lambda altered: altered.update(spent=altered["spent"] - 5, available=altered["available"] + 5)
            )
        )
        assert "spent is 206, the lines say 211" in str(error)

    def test_the_line_count(self):
        for count in (COUNT - 1, COUNT + 1):
            assert "line count" in str(
                refusal(changed(lambda altered, count=count: altered.update(line_count=count)))
            )

    def test_the_head(self):
        assert "head digest" in str(refusal(changed(lambda altered: altered.update(head="0" * 64))))
        for text in ("0" * 63, "G" * 64):
            assert "head digest is none" in str(
                refusal(changed(lambda altered, text=text: altered.update(head=text)))
            )

    def test_the_end_cut_off_and_the_count_with_it(self):
        def cut(altered):
            del altered["lines"][-1]
            altered["line_count"] -= 1

        assert "or the end was cut off" in str(refusal(changed(cut)))

    def test_another_format(self):
        assert "prepaid-statement/1" in str(refusal(changed(lambda altered: altered.update(format="mine/1"))))

    @pytest.mark.parametrize(("asset", "decimals"), [("XYZ", 6), ("usd", 6), ("USD", 2)])
    def test_a_currency_that_is_none(self, asset, decimals):
        refusal(changed(lambda altered: altered.update(asset=asset, decimals=decimals)))

    def test_a_state_that_is_none(self):
        assert "state" in str(refusal(changed(lambda altered: altered.update(state="rich"))))

    def test_an_ended_session_has_nothing_available(self):
        error = refusal(changed(lambda altered: altered.update(held=0, available=40), CLOSED))
        assert "available after the session has ended" in str(error)


def forged(*lines):
    """A statement whose chain is right, whatever its lines say."""
    head, chained = first_digest("ses_1", "ann", "USD"), []
    totals = dict.fromkeys(("funded", "spent", "refunded", "available", "held", "shortfall", "exposure"), 0)
    for seq, (kind, debit, credit, amount) in enumerate(lines, start=1):
        line = Transfer(seq, kind, debit, credit, amount, "k", 0, "ann", 0, "", 0, 0, b"")
        head = line_digest(head, seq, payload_of(line))
        chained.append({**{name: getattr(line, name) for name in LINE_FIELDS}, "digest": head.hex()})
    return {**STATEMENT, **totals, "line_count": len(lines), "head": head.hex(), "lines": chained}


def test_losses_may_be_larger_than_any_amount():
    statement = forged(*[("shortfall", "loss", "provider", 2**62)] * 5)
    assert verify_statement(statement | {"shortfall": 5 * 2**62}).shortfall == 5 * 2**62


def test_numbers_beyond_all_lines():
    """Neighbours that call themselves the last lines there could be."""
    numbers = (2**63 - 2, 2**63 - 1, 2**64 - 1, 2**64)
    lines = [{**line, "seq": number} for line, number in zip(STATEMENT["lines"], numbers, strict=False)]
    assert refusal({**STATEMENT, "lines": lines}).line == 1


class TestWhatNoLedgerWrites:
    """A chain that is right says nothing about its lines' sense; that is checked too."""

    def test_spending_what_is_not_there(self):
        error = refusal(forged(("fund", "funding", "session", 10), ("capture", "session", "revenue", 11)))
        assert (error.line, "more than there was" in str(error)) == (2, True)

    @pytest.mark.parametrize(
        "line",
        [
            ("gift", "funding", "session", 10),
            ("fund", "revenue", "session", 10),
            ("capture", "session", "owner", 1),
            ("fund", "funding", "session", 0),
        ],
    )
    def test_lines_of_no_kind(self, line):
        error = refusal(forged(("fund", "funding", "session", 10), line))
        assert (error.line, "none that a ledger writes" in str(error)) == (2, True)


class TestHostile:
    """Nothing but StatementInvalid, whatever comes."""

    @given(JSON)
    @example([])
    @example({"lines": 1})
    def test_any_json(self, document):
        refusal(document)

    @given(st.sampled_from(HEADER_FIELDS), JSON)
    def test_any_header(self, name, value):
        try:
            verify_statement(changed(lambda altered: altered.update({name: value})))
        except StatementInvalid:
            return
        # Only how the rest divides, and the state of a session that has not ended, are not in the chain.
        assert name == "state" or value == STATEMENT[name]

    @given(st.text() | st.binary())
    @example("{" * 100_000)
    @example("[" * 100_000)
    @example('{"a": 1, "a": 1}')
    @example("NaN")
    @example('{"a": -Infinity}')
    @example("9" * 5_000)
    @example(b"\xff\xfe")
    @example("")
    def test_any_file(self, data):
        try:
            loaded = load_statement(data)
        except StatementInvalid as error:
            assert error.line is None  # noqa: PT017
            return
        refusal(loaded)

    def test_numbers_are_told_from_truth(self):
        assert refusal(changed(lambda altered: altered["lines"][0].update(seq=True))).line == 1

    def test_building_leaves_what_it_does_not_know_to_the_verifier(self):
        line = Transfer(1, "gift", "x", "y", 5, "k", 0, "ann", 0, "", 0, 0, b"")
        account = Account("s", "ann", "USD", SessionState.ACTIVE, 0, 0, 0, 0, 0, 0, 0, None, 1, b"")
        assert _document(account, [line])["exposure"] == 0
