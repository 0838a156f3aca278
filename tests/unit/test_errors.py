"""The error tree is what it is drawn as, and every error says what, how much and what to do."""

import inspect
import itertools
import re

import pytest

from prepaid import errors
from prepaid.errors import PrepaidError

CLASSES = {
    name: member
    for name, member in vars(errors).items()
    if inspect.isclass(member) and issubclass(member, PrepaidError)
}

DRAWN_BESIDE_THEIR_PARENT = {"ModelNotPriced"}
"""A refinement of the class it is listed with; a line that names several has no room for a level more."""

ARGUMENTS = {
    "act": "make a key for model dear",
    "limits": "model cheap",
    "session_id": "s-4711",
    "chat_id": "c-4711",
    "lease_id": "l-4711",
    "key": "k-4711",
    "model": "m-4711",
    "api": "images",
    "supported": ("chat-4711",),
    "name": "title-4711",
    "what": "What 4711 is wrong.",
    "reason": "reason 4711",
    "state": "paused-4711",
    "action": "act-4711",
    "limit_name": "max_4711",
    "size": 4711,
    "limit": 4712,
    "offered": 4713,
    "price": 4714,
    "minimum": 4715,
    "needed": 4716,
    "available": 4717,
    "captured": 4719,
    "found": 4720,
    "line": 4722,
    "path": "/v1/4711",
    "allowed": ("POST", "PUT"),
    "coding": "br-4711",
    "key_id": "pp_ses_4711.2",
    "cap": 4723,
    "kind": "a session-4711",
    "required": "the operator-4711",
    "expected": "v4724",
    "ended": "revoked-4711",
    "request_id": "req-4711",
    "upstream": "up-4711",
    "failures": 4725,
    "after_seconds": 4726.5,
    "place": "https://rpc-4711",
    "why": "why 4711",
    "attempts": 4731,
    "tx_hash": "0xtx4711",
    "nonce": 4732,
    "block": 4733,
    "seconds": 4734.5,
    "address": "0xaddress4711",
    "needed_wei": 4735,
    "available_wei": 4736,
    "price_wei": 4737,
    "limit_wei": 4738,
    "content_id": "bafk4711",
    "param": "field_4711",
}
"""A recognisable value for every argument that an error must be given; the message has to name them all."""

UNNAMED = {("InsufficientFee", "what"): "what 4711", ("StatementInvalid", "line"): None}
"""Arguments that are passed in another form: a noun, and a line which the text itself speaks of."""


def drawn_tree():
    """The parent of each class as the drawing has it."""
    parents, path = {}, {}
    for line in inspect.getdoc(errors).splitlines():
        match = re.match(r"(?P<indent>[│├└─ ]*)(?P<names>[A-Z]\w+(?: · [A-Z]\w+)*)(?:$|  )", line)
        if match is None or not (match["indent"] or match["names"] == "PrepaidError"):
            continue
        depth = len(match["indent"]) // 3
        for name in match["names"].split(" · "):
            assert name not in parents, f"{name} is drawn twice"
            parents[name] = path[depth - 1] if depth else None
            path[depth] = name
    return parents


def test_the_drawing_is_the_tree():
    drawn = drawn_tree()
    assert sorted(drawn) == sorted(CLASSES)
    for name, parent in drawn.items():
        (base,) = CLASSES[name].__bases__
        if name in DRAWN_BESIDE_THEIR_PARENT and base.__name__ != parent:
            assert drawn[base.__name__] == parent
        else:
            assert base.__name__ == (parent or "Exception"), name


def test_every_error_is_public_and_listed_in_order():
    assert errors.__all__ == sorted(CLASSES)


def test_every_error_has_a_docstring_of_its_own():
    assert [
        name for name, error in CLASSES.items() if "__doc__" not in vars(error) or not error.__doc__
    ] == []


def test_codes_are_unique_and_snake_case():
    codes = [error.code for error in CLASSES.values()]
    assert len(set(codes)) == len(codes)
    assert [code for code in codes if not re.fullmatch(r"[a-z]+(_[a-z]+)*", code)] == []
    assert errors.InsufficientFunds.code == "insufficient_funds"
    assert errors.PrepaidError.code == "prepaid_error"


def arguments_of(error):
    parameters = list(inspect.signature(error.__init__).parameters.values())[1:]
    required = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    return {name: UNNAMED.get((error.__name__, name), ARGUMENTS[name]) for name in required}


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_an_error_names_its_values_and_its_remedy(name):
    given = arguments_of(CLASSES[name])
    error = CLASSES[name](**given)
    message = str(error)
    for value in itertools.chain.from_iterable(v if isinstance(v, tuple) else (v,) for v in given.values()):
        assert value is None or str(value) in message, f"{name} does not say {value!r}"
    assert message == f"{error.what} {error.remedy}".strip()
    assert isinstance(error.retryable, bool)


@pytest.mark.parametrize(
    "name", sorted(name for name, error in CLASSES.items() if not error.__subclasses__())
)
def test_an_error_that_is_raised_as_itself_has_a_remedy(name):
    """ConfigError is the one whose every use has a remedy of its own."""
    error = CLASSES[name](**arguments_of(CLASSES[name]))
    assert error.remedy or name == "ConfigError"


@pytest.mark.parametrize(
    "name", sorted(name for name in CLASSES if "remedy" in inspect.signature(CLASSES[name]).parameters)
)
def test_a_remedy_can_be_made_to_fit_the_case(name):
    error = CLASSES[name](**arguments_of(CLASSES[name]), remedy="Mend it.")
    assert str(error) == f"{error.what} Mend it."
    assert error.remedy == "Mend it."


def test_a_limit_that_can_be_set_is_named():
    error = errors.ValueTooLarge(
        "The request body", 9, 5, "values", limit_name="some_max", remedy="Send less."
    )
    assert str(error) == "The request body has 9 values; the limit is 5 (some_max). Send less."


def test_numbers_can_be_read_without_parsing_the_message():
    """Spec A9."""
    error = errors.InsufficientFunds(100, 30, held=50)
    assert (error.needed, error.available, error.held) == (100, 30, 50)
    assert "50 more are held" in str(error)
    assert "at least 70 more" in str(error)
    assert errors.InsufficientFunds(10, 30).remedy.startswith("Fund the session with at least 0 more")
    assert errors.SessionAlreadyClosed("s", 7).refunded == 7


def test_a_long_list_of_models_is_cut():
    error = errors.ModelNotSupported("m", tuple(f"model-{number}" for number in range(1_000)))
    assert "model-7" in str(error)
    assert "model-8" not in str(error)
    assert "configured here: none" in str(errors.ModelNotSupported("m"))
    assert "it supports nothing" in str(errors.ApiNotSupported("m", "tools", ()))
